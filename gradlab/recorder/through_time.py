"""time.csv of any model: the recurrent calls of a recorded step, its records, and their rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from gradlab.recorder.ledger import Key, row_name
from gradlab.recorder.passes import ForwardPass
from gradlab.recorder.recurrent import Series, Where, measured
from gradlab.recorder.recurrent_call import RECURRENT, RecurrentCall, initial_states, sequences, weights_of
from gradlab.recorder.unrolled import Weights
from gradlab.tables.table import Table
from gradlab.tables.time import TIME
from gradlab.theory.recurrent import carried, step_factors, through_time

Array = NDArray[np.float64]
RowKey = tuple[Key, str]
"""A module's call, and the suffix of one of its layers."""
OfPasses = dict[RowKey, list[tuple[Series, float]]]
"""The series of each pass, with what turns its gradients into one sample's own."""


class ThroughTime:
    """Watches the recurrent modules of a model in the recorded steps. A model without any costs nothing."""

    def __init__(self, seeds: Sequence[int]) -> None:
        self.seeds = tuple(seeds)
        self.records: list[tuple[int, dict[RowKey, _Row]]] = []
        self._waiting: list[tuple[int, OfPasses, Tensor | None]] = []
        self._handles: list[RemovableHandle] = []
        self._random: dict[nn.Module, Tensor] = {}  # the generator's state before a call that draws
        self.sharded = False  # whether weights are whole while their module runs alone
        self._stacks: dict[nn.Module, list[list[Weights]]] = {}  # copies of such weights

    # -- the recorded step -----------------------------------------------------------------------------------

    def before(self, module: nn.Module) -> None:
        """Before a call of a recurrent module: dropout between its layers draws on the CPU what can be drawn again."""
        draws = getattr(module, "dropout", 0.0) and module.training and module.num_layers > 1  # type: ignore[operator]
        if draws and next(module.parameters()).device.type == "cpu":
            self._random[module] = torch.random.get_rng_state()
        if self.sharded and (stack := weights_of(module)) is not None:
            copies = [[[None if w is None else w.clone() for w in each] for each in row] for row in stack]
            self._stacks[module] = [[Weights(*each) for each in row] for row in copies]  # type: ignore[arg-type]

    def call(
        self, forward: ForwardPass, name: str, module: nn.Module, args: Any, kwargs: Any, output: Any
    ) -> None:
        """After a call of a recurrent module in a forward pass with gradients."""
        number = forward.counts[name]
        random = self._random.pop(module, None)
        with torch.no_grad():
            found = RecurrentCall.of(module, args, kwargs, output, number, random)
        if found is None:
            return
        found.stack = self._stacks.pop(module, found.stack)
        calls = forward.recurrent.setdefault(name, [])
        if (
            calls
            and calls[-1].sizes is None
            and found.sizes is None
            and calls[-1].begins_with(initial_states(args, kwargs))
        ):
            one_way = found.stack is not None and len(found.stack[0]) == 1
            found.follows = calls[-1] if one_way else None
        calls.append(found)
        for place, tensor in enumerate(_outputs(output)):
            if tensor.requires_grad:
                hook = partial(_gradient, forward, found, place)
                self._handles.append(tensor.register_hook(hook))  # type: ignore[no-untyped-call]

    def release(self) -> None:
        """Take the hooks off the step's tensors."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._random, self._stacks = {}, {}

    def of_passes(
        self, passes: Sequence[ForwardPass], samples: Callable[[ForwardPass, int], float]
    ) -> OfPasses:
        """What is measured of a step's forward passes.

        samples: what turns the gradients of a pass into one sample's own, given the samples of all passes
        """
        found: OfPasses = {}
        if not any(forward.recurrent for forward in passes):
            return found
        used = [forward for forward in passes if forward.backward] or passes
        whole = sum(forward.batch or 0 for forward in used)
        for forward in used:
            for name, calls in forward.recurrent.items():
                for sequence in sequences(calls):
                    for where, series in measured(sequence).items():
                        suffix = "" if sequence[0].cell else _suffix(where)
                        key = (name, 1 if sequence[0].cell else sequence[0].number), suffix
                        found.setdefault(key, []).append((series, samples(forward, whole)))
        return found

    def commit(self, found: OfPasses, step: int, scale: Tensor | None) -> None:
        """Take the record of a step: the samples of its forward passes together. scale: what the loss was multiplied
        by"""
        if found:
            self._waiting.append((step, found, None if scale is None else scale.detach().clone()))
        if all(_is_here(series.delta) for each in found.values() for series, _ in each):
            self.settle()  # elsewhere the host would have to wait for the numbers

    # -- the table -------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Move what waits to the host."""
        for step, found, scale in self._waiting:
            divisor = 1.0 if scale is None else float(scale)
            rows = {key: _row(parts, divisor) for key, parts in found.items()}
            self.records.append((step, {key: row for key, row in rows.items() if row is not None}))
        self._waiting = []

    def table(self, order: Sequence[Key]) -> Table:
        """The rows by seed, step, layer and time. order: the keys of layers.csv; a layer has the number of its own."""
        self.settle()
        number = {key: place for place, key in enumerate(order, start=1)}
        parts: dict[str, list[Any]] = {name: [] for name in TIME.every}
        for seed in self.seeds:
            for step, rows in self.records:
                for key, suffix in sorted(rows, key=lambda each: (number.get(each[0], 0), each[1])):
                    row = rows[key, suffix]
                    length = len(row.columns["delta_rms"])
                    parts["seed"].append(np.full(length, seed, dtype=np.int64))
                    parts["step"].append(np.full(length, step, dtype=np.int64))
                    parts["layer"].append(np.full(length, number.get(key, 0), dtype=np.int64))
                    parts["name"].append(np.full(length, row_name(key) + suffix, dtype=object))
                    parts["time"].append(np.arange(1, length + 1, dtype=np.int64))
                    for name, values in row.columns.items():
                        parts[name].append(values)
        kinds: dict[str, Any] = {"int": np.int64, "str": object, "float": np.float64}
        columns = {
            name: np.concatenate(found) if found else np.empty(0, dtype=kinds[TIME.kinds[name]])
            for name, found in parts.items()
        }
        empty = [column.name for column in TIME.columns if column.empty]
        return Table(columns, {name: ~np.isnan(columns[name]) for name in empty}, TIME.kinds)


def _is_here(values: Tensor | Array) -> bool:
    return not isinstance(values, Tensor) or values.device.type == "cpu"


@dataclass(frozen=True)
class _Row:
    """One layer in one record: columns of the table, [time]."""

    columns: Mapping[str, Array]


def _row(parts: Sequence[tuple[Series, float]], scale: float) -> _Row | None:
    """The series of several forward passes as one; None where none gave what its module gave."""
    sound = [(on_host(series), samples / scale) for series, samples in parts if bool(series.sound)]
    if not sound:
        return None
    first = sound[0][0]
    length = max(len(series.samples) for series, _ in sound)

    def mean(values: Sequence[Array | None], weights: Sequence[Array]) -> Array:
        """Over the samples of the passes, [time]."""
        total, count = np.zeros(length), np.zeros(length)
        for value, weight in zip(values, weights, strict=True):
            if value is not None:
                total[: len(value)] += value * weight
                count[: len(value)] += weight
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(total / count)

    def rms(norms: Sequence[tuple[Array | None, float]], entries: int) -> Array:
        """Root mean square of one sample's own gradient; hypot, so that squares do not underflow."""
        total = np.zeros(length)
        for norm, samples in norms:
            if norm is None:
                return np.full(length, np.nan)
            total[: len(norm)] = np.hypot(total[: len(norm)], norm * samples)
        return np.asarray(total / np.sqrt(count * entries))

    numbers = [np.asarray(series.samples) for series, _ in sound]
    count = np.zeros(length)
    for each in numbers:
        count[: len(each)] += each
    columns = {
        "delta_rms": rms([(series.delta, samples) for series, samples in sound], first.units),
        "cell_delta_rms": rms([(series.cell, samples) for series, samples in sound], first.cells),
        "carried": _carried(sound, length),
        "forget_gate": mean([series.keep for series, _ in sound], numbers),
    }
    outside = rms([(series.direct, samples) for series, samples in sound], first.units)
    z_sq = mean([series.z_sq for series, _ in sound], numbers)
    return _Row(columns | _predicted(first, count, outside, z_sq, columns["carried"]))


def _carried(passes: Sequence[tuple[Any, float]], length: int) -> Array:
    """The column `carried` of several passes: what is left of the gradients that came to the last step of each, one
    sample's own, over these."""
    largest = max((abs(series.begins * samples) for series, samples in passes), default=1.0) or 1.0
    left, count, began, last = np.zeros(length), np.zeros(length), 0.0, 0.0
    for series, samples in passes:
        known = np.flatnonzero(~np.isnan(series.carried))
        if not len(known):
            return np.full(length, np.nan)
        at_last = float(series.samples[known[0 if series.reverse else -1]])
        # in a packed batch the samples that have the last step, or as many of them as have this one
        counted = np.minimum(np.asarray(series.samples, dtype=np.float64), at_last)
        square = float(series.begins * samples / largest) ** 2
        left[: len(counted)] += square * np.square(series.carried) * counted
        count[: len(counted)] += counted
        began, last = began + square * at_last, last + at_last
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.sqrt(left / count / (began / last)))


def on_host(series: Series) -> Any:
    """The same with arrays for tensors."""
    values = vars(series).items()
    return replace(
        series,
        **{name: each.double().cpu().numpy() for name, each in values if isinstance(each, Tensor)},  # type: ignore[arg-type]
    )


def _predicted(series: Any, count: Array, outside: Array, z_sq: Array, known: Array) -> dict[str, Array]:
    """The theory's numbers for a plain RNN at the measured variance, NaN for the others and where z is not finite."""
    unknown = np.full(len(count), np.nan)
    if not np.isfinite(z_sq).all():
        return {"delta_rms_predicted": unknown, "carried_predicted": unknown}
    turn = slice(None, None, -1 if series.reverse else 1)
    activation = series.kind.removeprefix("RNN_").lower()
    chi = step_factors(activation, float(series.gain), z_sq)[turn]
    samples = count[turn]
    share = np.minimum(np.append(samples[1:], 0.0), samples) / samples
    largest = outside.max() or 1.0  # squares of a gradient far below 1 would underflow
    delta = largest * np.sqrt(through_time(chi, np.square(outside[turn] / largest), share))
    last = np.flatnonzero(~np.isnan(known[turn]))
    back = np.full(len(chi), np.nan)
    if len(last):
        back[: last[-1] + 1] = carried(chi[: last[-1] + 1])
    return {"delta_rms_predicted": delta[turn], "carried_predicted": back[turn]}


def _suffix(where: Where) -> str:
    return f".l{where[0]}" + ("_reverse" if where[1] else "")


def _gradient(forward: ForwardPass, call: RecurrentCall, place: int, gradient: Tensor | None) -> None:
    """Keep the gradient that comes to an output of a recurrent module, of the passes that bring gradients."""
    task = torch._C._current_graph_task_id()
    if gradient is None or forward.learning(task) is False:
        return
    call.gradients.setdefault(task, {})[place] = gradient.detach()
    if torch.is_grad_enabled():
        call.graphs.add(task)


def _outputs(output: Any) -> list[Tensor]:
    """The tensors of what a recurrent module returned, in the order of `RecurrentCall.made`."""
    if isinstance(output, Tensor):
        return [output]
    if hasattr(output, "batch_sizes"):
        return [output.data]
    return [tensor for part in output for tensor in _outputs(part)]


def recurrent(modules: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """Those of torch's recurrent modules, by path; not one of a class of the user's that computes something else."""
    passes = {kind.forward for kind in RECURRENT}
    return {
        name: module
        for name, module in modules.items()
        if isinstance(module, RECURRENT) and type(module).forward in passes
    }
