"""The engine's side of a comparison: a stack from flags, its initial numbers, its batches, its records by name."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from reference.backprop import Net

from gradlab.activations.modules import StackedPReLU
from gradlab.config import plan, resolve
from gradlab.config.plan import Stack
from gradlab.data import Dataset, load
from gradlab.nn.mlp import StackedMLP
from gradlab.store.stack_result import StackResult
from gradlab.train.batches import BatchStream
from gradlab.train.loop import train_stack

SMALL = "gaussian:features=6:classes=3:samples=60"


def make_stack(**flags: object) -> Stack:
    """The first stack of a small run in float64; `flags` as on the command line, with `sets` for --set."""
    sets = flags.pop("sets", ())
    small = {
        "activation": "tanh",
        "depth": 3,
        "width": 5,
        "data": SMALL,
        "batch_size": 8,
        "steps": 2,
        "seeds": 2,
        "dtype": "float64",
        "record": "all",
        "probe": "16",
    }
    request = resolve(flags={**small, **flags}, sets=sets)  # type: ignore[arg-type]
    return plan.make(request).stacks()[0]


@lru_cache
def small_data(name: str = SMALL) -> Dataset:
    return load(name)


def train(**flags: object) -> StackResult:
    """Train what `make_stack` makes."""
    stack = make_stack(**flags)
    return train_stack(stack, stack.cell.dataset())


def replica_of(mlp: StackedMLP, replica: int) -> Net:
    """One replica of a plain stack (no norm, no residual) as float64 arrays, copied."""

    def array(tensor: object) -> NDArray[np.float64]:
        return tensor.detach().double().numpy()[replica].copy()  # type: ignore[attr-defined, no-any-return]

    modules = [layer.activation for layer in mlp.layers]
    return Net(
        weights=[array(linear.weight) for linear in mlp.linears],
        biases=[array(linear.bias)[0] for linear in mlp.linears],
        alphas=[array(m.alpha)[0] if isinstance(m, StackedPReLU) else None for m in modules],
    )


def batches_of(stack: Stack, data: Dataset, replica: int) -> list[NDArray[np.int64]]:
    """The rows of each step of a run, for the last record's batch too."""
    training = stack.cell.training
    stream = BatchStream(len(data.y_train), training.batch_size, [stack.seeds[replica]])
    return [stream.next()[0].numpy() for _ in range(training.steps + 1)]


def column(result: StackResult, name: str) -> NDArray[np.float64]:
    """One column of layers.csv: float64 [record, layer, replica]; NaN also where it does not apply."""
    place = result.layers.columns.index(name)
    values = layers(result)[..., place].copy()
    values[~result.layers.applies[..., place]] = np.nan
    return values


def layers(result: StackResult) -> NDArray[np.float64]:
    """All of layers.csv: float64 [record, layer, replica, column]."""
    return result.layers.values.transpose(1, 2, 0, 3)


def scalars(result: StackResult) -> NDArray[np.float64]:
    """All of steps.csv: float64 [record, replica, column]."""
    return result.blocks["steps"].values.transpose(1, 0, 2)
