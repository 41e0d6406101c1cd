"""What is measured at a tap: the batch's own step, and the probe. Reductions only, nothing is synchronised.

Both keep numbers of shape [replica]; a model that is no stack has one replica.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import hypot, inf, isfinite, sqrt
from time import perf_counter
from warnings import warn

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from gradlab.nn import statistics as st
from gradlab.nn.workspace import EXACT_COUNT, EXACT_SUMS, Workspace
from gradlab.recorder.ledger import Finish, Key, Record, Scaled, Share
from gradlab.recorder.passes import Call, Pass
from gradlab.recorder.torch_activations import Shape, in_flats
from gradlab.recorder.units import by_unit, dense_values, real
from gradlab.sensors.layers import LOW_ACTIVITY_BELOW, SATURATED_BELOW

Reduction = str | float


class View:
    """How a tensor of the model becomes [replica, ...] and [replica, batch, unit].

    stacked: the model is a stack, whose tensors carry the replica axis themselves
    """

    def __init__(self, stacked: bool) -> None:
        self.stacked = stacked

    def whole(self, x: Tensor) -> Tensor:
        x = x.detach()
        return x if self.stacked else x.reshape(1, -1)

    def on_host(self, x: Tensor) -> bool:
        """Whether a reduction to one number may become a number at once: it is one, and nothing waits for it."""
        return not self.stacked and x.device.type == "cpu"

    def units(self, x: Tensor, call: Call) -> Tensor:
        if self.stacked:
            return x
        return by_unit(x, call.axis if x.dim() == call.axes else x.dim() - 1)


class BatchMeter:
    """Measures the forward and backward pass of a recorded training step.

    reduction, accumulation: how the loss combines the samples (see `Recorder`)
    """

    def __init__(self, view: View, reduction: Reduction, accumulation: int) -> None:
        self.view, self.reduction, self.accumulation = view, reduction, accumulation
        self._workspace = Workspace()
        self.seconds = 0.0
        self._handles: list[RemovableHandle] = []
        self._warned = False

    def output(self, forward: Pass, call: Call, outputs: list[Tensor]) -> None:
        z = dense_values(outputs[0].detach())
        if not (self.view.on_host(z) and isfinite(abs(z.sum().item()))):
            call.kept.nonfinite = st.nonfinite(self.view.whole(z))
        self.recomputed(forward, call, outputs)

    def recomputed(self, forward: Pass, call: Call, outputs: list[Tensor]) -> None:
        for place, tensor in enumerate(outputs):
            if tensor.requires_grad:
                hook = partial(self._delta, forward, call, place)
                self._handles.append(tensor.register_hook(hook))  # type: ignore[no-untyped-call]
                base = tensor._base
                if base is not None and base.numel() == tensor.numel() and base.grad_fn is not None:
                    # such as a linear map of [batch, time, feature]
                    hook = partial(self._beneath, forward, call, place, tensor.detach(), tensor._version)
                    self._handles.append(base.register_hook(hook))  # type: ignore[no-untyped-call]

    def _beneath(
        self, forward: Pass, call: Call, place: int, mark: Tensor, version: int, gradient: Tensor | None
    ) -> None:
        """An operation in place on a view gives the view a new past, and the hook on it hears nothing of the old one:
        then the same numbers come from the tensor beneath, which the view covers. `mark` shares their version."""
        if mark._version != version:
            call.kept.place = None
            if call.kept.final == torch._C._current_graph_task_id():
                call.kept.final = None
            self._delta(forward, call, place, gradient)

    def _delta(self, forward: Pass, call: Call, place: int, gradient: Tensor | None) -> None:
        """Keep the gradient's norm: of the first output that the loss depends on (a recurrent layer's last state,
        where its outputs are not used), from the last backward pass."""
        kept = call.kept
        known = place if kept.place is None else kept.place
        if gradient is None or gradient.numel() == 0 or place > known:
            return
        started = perf_counter()
        task = torch._C._current_graph_task_id()
        learning = forward.learning(task)
        if learning is False:
            self.seconds += perf_counter() - started
            return
        forward.backward |= bool(learning)
        with_graph = (
            torch.is_grad_enabled()
        )  # for a gradient penalty: the training loss's pass comes after it
        if place < known or kept.final is None:
            gradient = real(gradient.detach())
            if self.view.on_host(gradient):
                kept.delta = norm = self._workspace.length(gradient)
                finite = isfinite(norm)
            else:
                kept.delta, finite = st.norm(self.view.whole(gradient)), False
            kept.delta_entries = gradient[0].numel() if self.view.stacked else gradient.numel()
            kept.delta_nonfinite = None if finite else st.nonfinite(self.view.whole(gradient))
            kept.place, kept.final = place, None if with_graph else task
        elif not with_graph and kept.final != task:
            kept.several = True
        self.seconds += perf_counter() - started

    def before(self, call: Call, z: Tensor, shape: Shape, phi: Callable[[Tensor], Tensor]) -> None:
        if z.numel() == 0:  # an expert that no token was sent to
            return
        # where phi rectifies, its output says which units are flat
        call.kept.rectified = shape.rectifies and self.view.on_host(z)
        if not call.kept.rectified:
            call.kept.dead = self._dead(call, z.detach(), shape)
        if shape.alpha is not None:
            call.kept.alpha = st.mean(self.view.whole(shape.alpha))

    def _dead(self, call: Call, z: Tensor, shape: Shape) -> Tensor:
        """Units in a flat part on every sample, [replica, unit]. One comparison a unit where phi is flat below."""
        if shape.alpha is None and len(shape.flats) == 1 and shape.flats[0][0] == -inf:
            return self.view.units(z, call).amax(dim=1) <= shape.flats[0][1]
        return self.view.units(in_flats(shape, z), call).all(dim=1)

    def after(self, call: Call, h: Tensor) -> None:
        if h.numel() == 0:
            return
        kept = call.kept
        kept.h_entries = h[0].numel() if self.view.stacked else h.numel()
        if kept.rectified and h.dtype in EXACT_SUMS and h.numel() < EXACT_COUNT:
            kept.active = self.view.units(self._workspace.active(h.detach()), call).sum(dim=1)
            return
        if kept.rectified:
            kept.dead = self.view.units(h.detach() == 0, call).all(dim=1)
        h = self.view.whole(h).flatten(1)
        nonzeros = self._workspace.nonzeros(h)
        kept.nonzeros = nonzeros if self.view.stacked or h.device.type != "cpu" else nonzeros.item()

    def rest(self) -> None:
        """Give back the memory that is kept from record to record."""
        self._workspace.clear()

    def release(self) -> None:
        """Take the hooks off the step's tensors."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def commit(self, passes: list[Pass], record: Record, scale: Tensor | None) -> None:
        """Put the step's numbers into the record: the samples of its forward passes taken together.

        scale: what the loss was multiplied by before the backward pass. A forward pass that no backward pass went
        through, such as an evaluation with gradients enabled, is left out unless there are only such.
        """
        used = [forward for forward in passes if forward.backward] or passes
        whole = sum(forward.batch or 0 for forward in used)
        calls: dict[Key, list[tuple[Pass, Call]]] = {}
        for forward in used:
            record.saw([*forward.calls])
            for key, call in forward.calls.items():
                calls.setdefault(key, []).append((forward, call))
        deltas: dict[Key, float] = {}
        dead: dict[torch.Size, list[tuple[Key, Tensor]]] = {}
        rectified: dict[tuple[torch.Size, torch.dtype, int], list[tuple[Key, Tensor]]] = {}
        for key, parts in calls.items():
            record.batch[key] = sum(forward.batch or 0 for forward, _ in parts)
            delta = self._commit_delta(key, parts, record, whole, scale)
            if delta is not None:
                deltas[key] = delta
            kept = [call.kept for _, call in parts]
            for count in (count for each in kept for count in (each.nonfinite, each.delta_nonfinite)):
                if count is not None:
                    record.put(key, "nonfinite", count)
            active = [each.active for each in kept if each.active is not None]
            entries = sum(each.h_entries for each in kept)
            if active and all(each.shape == active[0].shape for each in active):
                total = active[0] if len(active) == 1 else torch.stack(active).sum(dim=0)
                rectified.setdefault((total.shape, total.dtype, entries), []).append((key, total))
            counts = [each.nonzeros for each in kept if each.nonzeros is not None]
            if counts:
                _put_zeros(record, key, counts, entries)
            flat = [each.dead for each in kept if each.dead is not None]
            if flat and all(each.shape == flat[0].shape for each in flat):
                everywhere = flat[0] if len(flat) == 1 else torch.stack(flat).all(dim=0)
                dead.setdefault(everywhere.shape, []).append((key, everywhere))
            alphas = [each.alpha for each in kept if each.alpha is not None]
            if alphas:
                record.put(key, "alpha", alphas[0])
        record.know([*calls], "nonfinite", 0.0)
        record.know([*deltas], "delta_rms", [*deltas.values()])
        for shape, found in dead.items():
            units = torch.stack([each for _, each in found]).sum(dim=-1)
            record.put_all([key for key, _ in found], "batch_dead_fraction", units, Share(shape[-1]))
        for (shape, _, entries), counted in rectified.items():  # the units' numbers of entries above 0
            keys, whole_counts = [key for key, _ in counted], torch.stack([each for _, each in counted])
            record.put_all(
                keys,
                "zero_fraction",
                whole_counts.sum(dim=-1, dtype=torch.float64),
                Share(entries, rest=True),
            )
            record.put_all(keys, "batch_dead_fraction", (whole_counts == 0).sum(dim=-1), Share(shape[-1]))

    def _commit_delta(
        self, key: Key, parts: list[tuple[Pass, Call]], record: Record, whole: int,
        scale: Tensor | None,
    ) -> float | None:  # fmt: skip
        """sqrt(mean of delta^2) over the samples and units of all passes, one sample's own error each: what is on the
        host already is returned, the rest put."""
        if any(call.kept.several for _, call in parts):
            if not self._warned:
                warn(
                    f"several backward passes went through {key[0]!r}: their deltas do not add up, "
                    "delta_rms is left empty",
                    stacklevel=4,
                )
            self._warned = True
            return None
        taken = [
            (self._samples(forward, whole), call.kept.delta)
            for forward, call in parts
            if call.kept.delta is not None
        ]
        if not taken:
            return None
        entries = sum(call.kept.delta_entries for _, call in parts)
        on_host = [samples * norm for samples, norm in taken if not isinstance(norm, Tensor)]
        if len(on_host) == len(taken):
            return hypot(*on_host) / (1.0 if scale is None else float(scale)) / sqrt(entries)
        first, norm = taken[0][0], torch.as_tensor(taken[0][1])
        for samples, other in taken[1:]:
            norm = torch.hypot(norm, torch.as_tensor(other) * (samples / first))
        norm = norm if scale is None else norm / scale.to(norm.device)
        record.put(key, "delta_rms", norm, Scaled(first / sqrt(entries)))
        return None

    def _samples(self, forward: Pass, whole: int) -> float:
        """What turns autograd's gradient of the loss into one sample's own."""
        if self.reduction == "mean":
            return (whole if forward.replica else forward.batch or 1) * self.accumulation
        return 1.0 if self.reduction == "sum" else float(self.reduction)


def _put_zeros(record: Record, key: Key, nonzeros: Sequence[Tensor | float], entries: int) -> None:
    """What is left of `entries` beside the counts, each on the host or on a device, as a share."""
    on_host = [float(count) for count in nonzeros if not isinstance(count, Tensor)]
    if len(on_host) == len(nonzeros):
        record.know((key,), "zero_fraction", (entries - sum(on_host)) / entries)
    else:
        total = torch.stack([torch.as_tensor(count) for count in nonzeros]).sum(dim=0)
        record.put(key, "zero_fraction", total, Share(entries, rest=True))


class ProbeMeter:
    """Measures a forward pass of the probe in eval mode. `dead` is kept from record to record."""

    def __init__(self, view: View, full: bool) -> None:
        self.view, self.full = view, full
        self.dead: dict[Key, Tensor] = {}
        self.record: Record | None = None
        self._workspace = Workspace()
        # samples, on how many a unit is active or not [replica, unit], which of the two, line
        self._units: list[tuple[Key, int, Tensor, bool, bool]] = []
        self.columns: dict[str, dict[Key, float]] = {}  # numbers that are on the host already
        self.forget()

    def output(self, forward: Pass, call: Call, outputs: list[Tensor]) -> None:
        z = self.view.whole(outputs[0])
        if z.numel() == 0:
            return
        if z.is_complex():
            self._put(call, "z_std", st.rms((z - z.mean(dim=1, keepdim=True)).abs()))
            return
        if self.view.on_host(z) and (found := self._workspace.mean_std(z)) is not None:
            self.columns["z_mean"][call.key], self.columns["z_std"][call.key] = found
            return
        mean, std = st.mean_std(z)
        self._put(call, "z_mean", mean)
        self._put(call, "z_std", std)

    def recomputed(self, forward: Pass, call: Call, outputs: list[Tensor]) -> None:
        """A model may differentiate itself in its forward pass: no part of the probe's signals."""

    def before(self, call: Call, z: Tensor, shape: Shape, phi: Callable[[Tensor], Tensor]) -> None:
        z = z.detach()
        if z.numel() == 0:
            return
        call.kept.rectified = shape.rectifies and self.view.on_host(z) and z.dtype in EXACT_SUMS
        if not call.kept.rectified:
            flat = self.view.units(in_flats(shape, z), call)
            self._units.append((call.key, flat.shape[1], st.samples(flat), False, shape.line))
        if not shape.line:
            slope = self.view.whole(_slope(phi, z))
            self._put(call, "slope_sq", st.rms(slope).square())
            edge = SATURATED_BELOW * shape.slope_sup
            if isinstance(edge, Tensor):
                edge = self.view.whole(edge.expand_as(z))
            self._put(call, "saturated_fraction", st.share(slope.abs() < edge))

    def after(self, call: Call, h: Tensor) -> None:
        if h.numel() == 0:
            return
        if call.kept.rectified:  # its zeros are its flat part; NaN is no zero
            active = self.view.units(self._workspace.active(h.detach()), call)
            exact = None if active.shape[1] < EXACT_COUNT else torch.float64
            self._units.append((call.key, active.shape[1], active.sum(dim=1, dtype=exact), True, True))
        whole = self.view.whole(h)
        mean = h.detach().sum().item() / h.numel() if self.view.on_host(h) else inf
        if isfinite(mean) and h.dtype in EXACT_SUMS:
            self.columns["h_mean"][call.key] = mean
            self.columns["h_rms"][call.key] = self._workspace.length(h.detach()) / sqrt(h.numel())
        else:
            self._put(call, "h_mean", st.mean(whole))
            self._put(call, "h_rms", st.rms(whole))
        if self.full:
            self._put(call, "h_p95_abs", st.percentile(whole.abs(), 0.95))

    def finish(self) -> None:
        """What is counted by unit, of calls of one shape together, once the probe went through."""
        record = self.record
        assert record is not None
        alike: dict[object, list[tuple[Key, Tensor]]] = {}
        for key, samples, counts, of_active, line in self._units:
            group = (samples, of_active, line, counts.shape, counts.dtype, counts.device)
            alike.setdefault(group, []).append((key, counts))
        kinds = {key: (samples, of_active, line) for key, samples, _, of_active, line in self._units}
        for found in alike.values():
            keys, inactive = tuple(key for key, _ in found), torch.stack([each for _, each in found])
            (samples, of_active, line), units = kinds[keys[0]], inactive.shape[-1]
            if of_active:
                inactive = samples - inactive.to(st.wide_dtype(inactive))  # sums over units go beyond 2^24
            if line:
                total, entries = inactive.sum(dim=-1), samples * units
                record.put_all(keys, "slope_sq", total, Share(entries, rest=True))
                record.put_all(keys, "saturated_fraction", total, Share(entries))
            dead = inactive == samples
            record.put_all(keys, "dead_fraction", dead.sum(dim=-1), Share(units))
            rarely = samples - inactive < LOW_ACTIVITY_BELOW * samples
            record.put_all(keys, "low_activity_fraction", rarely.sum(dim=-1), Share(units))
            self._changes(record, keys, dead)
        for column, values in self.columns.items():
            record.know([*values], column, [*values.values()])
        self.forget()

    def _changes(self, record: Record, keys: Sequence[Key], dead: Tensor) -> None:
        """Units that died and revived since the last record."""
        shape = dead.shape[1:]
        known = [
            place
            for place, key in enumerate(keys)
            if (before := self.dead.get(key)) is not None and before.shape == shape
        ]
        if known:
            same = len(known) == len(keys)
            now, these = (dead, keys) if same else (dead[known], tuple(keys[place] for place in known))
            before = torch.stack([self.dead[key] for key in these])
            record.put_all(these, "deaths", (now & ~before).sum(dim=-1))
            record.put_all(these, "revivals", (before & ~now).sum(dim=-1))
        self.dead.update(zip(keys, dead.unbind(), strict=True))

    def forget(self) -> None:
        self._units, self.columns = [], {name: {} for name in ("z_mean", "z_std", "h_mean", "h_rms")}
        self._workspace.clear()

    def _put(self, call: Call, column: str, numbers: Tensor, finish: Finish = None) -> None:
        assert self.record is not None
        self.record.put(call.key, column, numbers, finish)


def _slope(phi: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    """phi'(z) by phi's own backward pass; the copy lets phi work in place."""
    with torch.enable_grad():
        z = z.detach().requires_grad_(True)
        return torch.autograd.grad(phi(z.clone()).sum(), z)[0]
