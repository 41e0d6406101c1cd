"""By what factor weights, activations and norms change the gradient on its way down, in any model.

A row's gains lead from the delta of the row that takes its output to its own delta: through that row's weights (or
norm), then whatever lies between, the activation, and whatever else the row's z goes into. They are given together
where the graph of the forward pass says that the one row takes the other's output, or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import sqrt
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from gradlab.nn import statistics as st
from gradlab.nn.statistics import Numbers
from gradlab.nn.workspace import Workspace
from gradlab.recorder.ledger import Key, Record
from gradlab.recorder.passes import Call, ForwardPass
from gradlab.recorder.units import real
from gradlab.recorder.way_down import (
    Operand,
    Point,
    Share,
    Way,
    is_from,
    operands_at,
    part_of,
    place_of,
    watch,
)
from gradlab.sensors import metrics as mt

Gradients = Sequence[Tensor | None]
Parts = Mapping[Key, Sequence[tuple[ForwardPass, Call]]]
"""Each row's calls in the passes of a step."""


class GainMeter:
    """Measures the gradient at the points between rows.

    space: what reduces; handles: where the hooks' handles go; told: called with the seconds that each hook takes
    """

    def __init__(
        self, space: Workspace, handles: list[RemovableHandle], told: Callable[[float], None]
    ) -> None:
        self.space, self.handles, self.told = space, handles, told

    def takes(self, forward: ForwardPass, call: Call, z: Tensor, module: nn.Module, args: Any) -> None:
        """A module has made z of its arguments: watch what it gives them, if they come from the row before."""
        before, call.before = call.before, None
        if forward.replica:  # its graph goes on in other threads, where nodes have the same numbers
            return
        call.way.end = place_of(z)
        if before is None or before.key not in forward.calls or not (part := part_of(module)):
            return
        if call.way.end is None or before.way.end is None:
            return
        x = args[0] if args else None
        taken = place_of(x) if isinstance(x, Tensor) else None
        if x is None or taken is None or not (taken == before.way.end or is_from(x, before.way.end)):
            return
        if operands := operands_at(z.grad_fn, taken):
            before.way.taker, before.way.part, before.way.activated = call.key, part, before.activated
            self._watch(forward, operands, before.way.by_map)

    def activates(self, call: Call, h: Tensor) -> None:
        """The call's activation has made h of the tensor at `way.of_phi`."""
        way, forward = call.way, None if call.forward is None else call.forward()
        if forward is None or forward.replica:
            return
        way.end, node = place_of(h), h.grad_fn
        operands = operands_at(node, way.of_phi) if way.end and way.of_phi else []
        if len(operands) == 1 and operands[0][0] is node:  # one hook sees both
            hook = partial(self._through, forward, way, h.output_nr, operands[0][1])
            self.handles.append(node.register_hook(hook))
        elif operands:
            self._watch(forward, operands, way.by_phi)
            whole = partial(self._measure, forward, way.by_h)
            self.handles.append(h.register_hook(whole))  # type: ignore[no-untyped-call]

    def _watch(self, forward: ForwardPass, operands: Sequence[Operand], share: Share) -> None:
        self.handles += watch(operands, partial(self._measure, forward, share))

    def _through(
        self,
        forward: ForwardPass,
        way: Way,
        output: int,
        operand: int,
        of_operands: Gradients,
        of_outputs: Gradients,
    ) -> None:
        """A node has taken the gradient of its output to that of its operand."""
        started = perf_counter()
        if (task := self._task(forward, way.by_phi)) is not None:
            above, below = of_outputs[output], of_operands[operand]
            if above is not None and below is not None:
                self._put(forward, way.by_h, above, task)
                self._put(forward, way.by_phi, below, task)
        self.told(perf_counter() - started)

    def _measure(self, forward: ForwardPass, share: Share, gradient: Tensor) -> None:
        started = perf_counter()
        if (task := self._task(forward, share)) is not None:
            self._put(forward, share, gradient, task)
        self.told(perf_counter() - started)

    @staticmethod
    def _task(forward: ForwardPass, share: Share) -> int | None:
        """The backward pass that goes on, 0 for one with a graph; None where delta is not taken from it."""
        if share.task:
            return None
        task = torch._C._current_graph_task_id()
        if forward.learning(task) is False:
            return None
        return 0 if torch.is_grad_enabled() else task + 1

    def _put(self, forward: ForwardPass, share: Share, gradient: Tensor, task: int) -> None:
        """Keep a gradient's norm."""
        gradient = real(gradient.detach() if gradient.requires_grad else gradient)
        share.point, share.task = (self.norm(forward, gradient), self.space.entries(gradient)), task

    def norm(self, forward: ForwardPass, gradient: Tensor) -> Numbers:
        """L2 norm of a gradient, which often is the very one that was measured just before."""
        if forward.measured is None or not _same(*forward.measured[:2], gradient):
            forward.measured = gradient, gradient._version, self.space.norm(gradient)
        return forward.measured[2]


def put_gains(calls: Parts, record: Record, samples: Callable[[ForwardPass], float]) -> None:
    """Put the gains of the rows whose parts are all known into the record, those of alike rows together.

    samples: what turns a pass's gradient into one sample's own
    """
    alike: dict[tuple[str, ...], list[tuple[Key, list[Numbers]]]] = {}
    for key, parts in calls.items():
        above = calls.get(parts[0][1].way.taker, ())  # type: ignore[arg-type]
        if len(above) != len(parts):
            continue
        ways = [_points(call, taker) for (_, call), (_, taker) in zip(parts, above, strict=True)]
        columns = ways[0][0]
        if columns and all(each == columns for each, _ in ways):
            if len(ways) == 1:  # what makes the gradient one sample's is the same at every point
                numbers = [_over_root(norm, entries) for norm, entries in ways[0][1]]
            else:
                factors = [samples(forward) for forward, _ in parts]
                points = zip(*(points for _, points in ways), strict=True)
                numbers = [_of_passes(point, factors) for point in points]
            alike.setdefault(columns, []).append((key, numbers))
    for columns, rows in alike.items():
        start, *behind = map(_joined, zip(*(numbers for _, numbers in rows), strict=True))
        record.put([key for key, _ in rows], mt.gains(start, list(zip(columns, behind, strict=True))))


def _points(call: Call, above: Call) -> tuple[tuple[str, ...], list[Point]]:
    """The columns of what lies between two calls' z, top down, and the gradient above it and behind each: nothing where
    `above` does not take what `call` gives, or a gradient is not known."""
    way, applied = call.way, bool(call.activation)
    if way.taker != above.key or way.activated != applied:
        return (), []
    columns = (way.part, "other_gain", "slope_gain", "other_gain") if applied else (way.part, "other_gain")
    between = (way.by_map.point, way.by_h.point, way.by_phi.point) if applied else (way.by_map.point,)
    points = [_delta(above), *between, _delta(call)]
    return (columns, points) if all(norm is not None for norm, _ in points) else ((), [])


def _same(one: Tensor, version: int, other: Tensor) -> bool:
    """Whether a tensor has the very entries in memory that another had at some version of it, in whatever shape."""
    if one is other:
        return one._version == version
    if one.data_ptr() != other.data_ptr():
        return False
    laid = one.stride() == other.stride() or (one.is_contiguous() and other.is_contiguous())
    return laid and one._version == version and one.numel() == other.numel() and one.dtype == other.dtype


def _delta(call: Call) -> Point:
    """Of the call's first output; nothing where another one's is recorded, or that of several backward passes."""
    numbers = call.numbers
    norm = None if numbers.delta_of != 0 or numbers.several else numbers.delta_norm
    return [norm] if isinstance(norm, float) else norm, numbers.delta_entries


def _over_root(norm: Numbers | None, entries: int) -> Numbers:
    """Root mean square of the gradient at one point."""
    assert norm is not None
    root = sqrt(entries)
    return (
        [norm[0] / root] if isinstance(norm, list) and len(norm) == 1 else st.each(lambda x: x / root, norm)
    )


def _of_passes(points: Sequence[Point], factors: Sequence[float]) -> Numbers:
    """The same of several passes; factors: what makes the gradient of each one sample's own."""
    norms = [norm if isinstance(norm, Tensor) else norm[0] for norm, _ in points if norm is not None]
    return mt.delta_of_passes(norms, factors, sum(entries for _, entries in points), None)["delta_rms"]


def _joined(numbers: Sequence[Numbers]) -> Numbers:
    """[row * replica]"""
    lists = [each for each in numbers if isinstance(each, list)]
    if len(lists) == len(numbers):
        return [number for each in lists for number in each]
    return torch.cat([st.as_tensor(each).reshape(-1) for each in numbers])
