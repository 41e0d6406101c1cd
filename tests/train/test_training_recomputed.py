"""Whole runs, recomputed by hand-written back-propagation and textbook updates in NumPy: every column, every record."""

import numpy as np
import pytest
import torch
from reference import stacks
from reference import training as reference

from gradlab import activations
from gradlab.config.plan import Stack
from gradlab.store.stack_result import StackResult
from gradlab.tables.steps import STEPS
from gradlab.train.loop import build_stack, train_stack

ELEMENTWISE = [
    *(name for name in activations.names() if name != "softmax"),
    "leaky_relu:negative_slope=0.3",
    "leaky_relu:negative_slope=0",
    "prelu:per=unit",
    "prelu:init=0.1",
    "prelu:init=-1.5:per=unit",
    "elu:alpha=1.7",
    "celu:alpha=0.4",
    "thresholded_relu:theta=0.3",
]
CENTRED = ("z_mean", "z_std", "h_mean", "weight_grad_p05", "weight_grad_p95", "alpha")


def check(stack: Stack, rtol: float, replicas: tuple[int, ...] = (0, 1)) -> StackResult:
    """Train the stack and compare every number of every record with the NumPy run. Returns the engine's records.

    A mean or a percentile may cancel to almost 0: those get `rtol` times the size of what they average as well.
    """
    data = stack.cell.dataset()
    result = train_stack(stack, data)
    activation = activations.get(stack.cell.network.activation)
    mlp = build_stack(stack, data)
    epsilon = float(torch.finfo(mlp.readout.weight.dtype).eps)
    for replica in replicas:
        records = reference.train(
            stacks.replica_of(mlp, replica),
            activation,
            stack.cell.training,
            data,
            stacks.batches_of(stack, data, replica),
            stack.bound.recording.probe.of(data.features),
        )
        assert [record.step for record in records] == result.steps.tolist()
        for t, record in enumerate(records):
            for layer, expected in enumerate(record.layers):
                applies = {
                    name
                    for place, name in enumerate(result.layers.columns)
                    if result.layers.applies[t, layer, place]
                }
                assert applies == set(expected) & set(result.layers.columns)
                sizes = {
                    "z": np.hypot(expected["z_std"], expected["z_mean"]),
                    "h": expected.get("h_rms"),
                    "a": 1.0,
                }
                sizes["w"] = expected["weight_grad_mean_abs"]
                for name in applies:
                    got = result.layers.column(name)[replica, t, layer]
                    atol = rtol * sizes[name[0]] if name in CENTRED else 0.0
                    if name in ("update_ratio", "update_mean_abs"):  # the weight after is W + update, rounded
                        atol = epsilon * (1.0 if name == "update_ratio" else expected["weight_norm"])
                    np.testing.assert_allclose(
                        got, expected[name], rtol=rtol, atol=atol, err_msg=f"{name} {t=} {layer=}"
                    )
            for place, name in enumerate(STEPS.recorded):
                assert result.blocks["steps"].applies[t, place] == (name in record.scalars)
                if name in record.scalars:
                    np.testing.assert_allclose(
                        stacks.scalars(result)[t, replica, place],
                        record.scalars[name],
                        rtol=rtol,
                        err_msg=f"{name} {t=}",
                    )
    return result


@pytest.mark.parametrize("depth", [1, 3, 12])
@pytest.mark.parametrize("text", ELEMENTWISE)
def test_every_metric_of_every_activation(text: str, depth: int) -> None:
    """Rounding grows with depth: 12 layers amplify 1e-16 by some hundreds at most, far below 1e-9."""
    check(stacks.make_stack(activation=text, depth=depth, lr=0.3, metrics="full", steps=1), rtol=1e-9)


def test_units_die_and_come_back_in_these_runs() -> None:
    """Else the columns deaths and revivals would be compared with zeros only."""
    result = check(
        stacks.make_stack(activation="relu", lr=0.5, optimizer="momentum", steps=12, metrics="full"), 1e-9
    )
    for name in ("deaths", "revivals", "dead_fraction", "low_activity_fraction", "batch_dead_fraction"):
        assert np.nansum(stacks.column(result, name)) > 0, name
    dead, deaths, revivals = (stacks.column(result, n) for n in ("dead_fraction", "deaths", "revivals"))
    np.testing.assert_allclose(np.diff(dead, axis=0) * 5, (deaths - revivals)[1:], atol=1e-12)


OPTIMIZERS = [
    {"optimizer": "sgd", "weight_decay": 0.1, "clip": 0.2, "schedule": "linear:warmup=4", "lr": 0.3},
    {"optimizer": "momentum", "weight_decay": 0.02, "clip": 0.3, "lr": 0.1},
    {"optimizer": "momentum", "momentum": 0.5, "schedule": "cosine", "lr": 0.1, "batch_size": 1},
    {"optimizer": "nesterov", "weight_decay": 0.02, "schedule": "cosine:warmup=3", "lr": 0.1},
    {"optimizer": "nesterov", "lr": 0.02, "batch_size": 1, "schedule": "constant:warmup=5"},
    {"optimizer": "adam", "weight_decay": 0.1, "lr": 0.02},
    {"optimizer": "adamw", "weight_decay": 0.1, "lr": 0.02, "clip": 0.1},
    {"optimizer": "rmsprop", "weight_decay": 0.02, "lr": 0.01},
    {"optimizer": "rmsprop", "momentum": 0.8, "lr": 0.01, "schedule": "linear"},
]


@pytest.mark.parametrize("training", OPTIMIZERS, ids=lambda t: "-".join(map(str, t.values())))
def test_twenty_updates(training: dict[str, object]) -> None:
    """20 updates amplify rounding more than one does; adam divides by sqrt(square) that starts near 0."""
    check(stacks.make_stack(activation="prelu:per=unit", depth=2, steps=20, **training), rtol=1e-8)


@pytest.mark.parametrize("loss", ["mse", "binary_cross_entropy", "cross_entropy"])
def test_losses(loss: str) -> None:
    data = "gaussian:features=4:classes=2:samples=50"
    result = check(stacks.make_stack(loss=loss, data=data, steps=10, lr=0.1, metrics="full"), rtol=1e-9)
    assert result.layers.places["fan_out"][-1] == (1 if loss == "binary_cross_entropy" else 2)


@pytest.mark.parametrize("init", ["torch", "gaussian:sigma_w=1.5:sigma_b=0.3", "he_uniform:bias=0.2"])
def test_softmax_and_inits_with_biases(init: str) -> None:
    check(stacks.make_stack(activation="softmax", init=init, steps=3, metrics="full"), rtol=1e-9)


@pytest.mark.parametrize("text", ["sigmoid", "relu", "tanh", "prelu"])
def test_float32_follows_to_its_own_precision(text: str) -> None:
    """One update at depth 3: some tens of roundings of 6e-8."""
    check(stacks.make_stack(activation=text, dtype="float32", steps=1, metrics="full"), rtol=3e-5)


def test_seeds_beyond_one_stack_are_the_same_runs() -> None:
    stack = stacks.make_stack(seeds=3, sets=["training.stack_size=2"], first_seed=7)
    assert stack.seeds == (7, 8)
    check(stack, 1e-9)


@pytest.mark.parametrize(
    "shape", [{"depth": 1}, {"width": 1}, {"batch_size": 1}, {"depth": 1, "width": 1, "seeds": 1}]
)
def test_small_shapes(shape: dict[str, object]) -> None:
    stack = stacks.make_stack(activation="softplus", metrics="full", steps=3, **shape)
    check(stack, 1e-9, replicas=tuple(range(len(stack.seeds))))


def test_no_update_at_all() -> None:
    result = check(stacks.make_stack(steps=0, metrics="full"), 1e-9)
    assert result.steps.tolist() == [0]
    assert np.isnan(stacks.column(result, "update_ratio")).all()


def test_validation_in_pieces_is_the_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last piece is shorter than the others: 12 rows in pieces of 5."""
    from gradlab.train import loop

    whole = stacks.train(steps=2)
    monkeypatch.setattr(loop, "EVALUATION_ROWS", 5)
    np.testing.assert_allclose(stacks.scalars(stacks.train(steps=2)), stacks.scalars(whole), rtol=1e-13)
