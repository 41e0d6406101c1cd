"""What is measured at a tap: the batch's own step, and the probe. Reductions only, nothing is synchronised.

The numbers are those of `sensors.metrics`, [replica]; a model that is no stack has one replica.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import isfinite
from time import perf_counter
from typing import Any
from warnings import warn

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from gradlab.activations.kernels import Kernels
from gradlab.activations.modules import slope_of
from gradlab.nn import statistics as st
from gradlab.nn.statistics import Numbers
from gradlab.nn.workspace import OneModel, Workspace
from gradlab.recorder.foretold import h_predicted, signal_of
from gradlab.recorder.gains import GainMeter, put_gains
from gradlab.recorder.ledger import Key, Record
from gradlab.recorder.passes import Call, CallNumbers, ForwardPass
from gradlab.recorder.torch_activations import Shape
from gradlab.recorder.units import dense_values, real
from gradlab.recorder.way_down import place_of
from gradlab.sensors import metrics as mt
from gradlab.sensors.own_columns import Metrics
from gradlab.theory.forward import Signal

Reduction = str | float

MEASURED_AT_ONCE = 1 << 16
"""Entries of a part of h: with so many, to copy it and put it beside others takes longer than to measure it alone."""


class View:
    """Which axes of the model's tensors are which, and what reduces them.

    stacked: the model is a stack, whose tensors carry the replica axis themselves: [replica, sample, unit]
    """

    def __init__(self, stacked: bool, batch_dim: int = 0) -> None:
        self.stacked, self.batch_dim = stacked, batch_dim
        self.space = Workspace() if stacked else OneModel()

    def by_unit(self, x: Tensor, call: Call) -> Tensor:
        """x as [replica, sample, unit], where each position in time or space is a sample."""
        if self.stacked:
            return x
        x, unit = self._unit_axis(x, call)
        return x.movedim(unit, -1).reshape(1, -1, x.shape[unit])

    def by_sample(self, h: Tensor) -> Tensor:
        """h as [replica, sample, ...]."""
        if self.stacked:
            return h
        return (h.movedim(self.batch_dim, 0) if h.dim() > self.batch_dim else h.reshape(1, -1)).unsqueeze(0)

    def by_position(self, h: Tensor, call: Call) -> Tensor | None:
        """h as [sample, position, unit], where it has these three axes and the units are the last."""
        if self.stacked or h.dim() != 3 or call.axis != 2 or call.axes != 3 or self.batch_dim > 1:
            return None
        return h.movedim(self.batch_dim, 0) if h.shape[1 - self.batch_dim] > 1 and h.numel() else None

    def inactive(self, z: Tensor, shape: Shape, call: Call) -> tuple[Tensor, int]:
        """On how many samples phi is flat for each unit, [unit] or [replica, unit], and how many samples there are."""
        z, unit = self._unit_axis(z, call)
        axes = (1,) if self.stacked else tuple(axis for axis in range(z.dim()) if axis != unit)
        samples = self.space.entries(z) // z.shape[unit]
        if shape.alpha is None:
            return mt.samples_inside(shape.flats, z, self.space, axes), samples
        slope = shape.alpha.expand_as(z)
        for axis in reversed(axes):  # the same on every sample
            slope = slope.select(axis, 0)
        return mt.samples_inside(mt.BELOW_ZERO, z, self.space, axes) * (slope == 0), samples

    @staticmethod
    def _unit_axis(x: Tensor, call: Call) -> tuple[Tensor, int]:
        """x with a sample axis, if it has none, and the axis of its units."""
        if x.dim() < 2:
            return x.reshape(1, -1), 1
        return x, call.axis if x.dim() == call.axes else x.dim() - 1


class BatchMeter:
    """Measures the forward and backward pass of a recorded training step.

    reduction, accumulation: how the loss combines the samples (see `Recorder`)
    """

    def __init__(self, stacked: bool, reduction: Reduction, accumulation: int) -> None:
        self.view, self.reduction, self.accumulation = View(stacked), reduction, accumulation
        self.seconds = 0.0
        self._handles: list[RemovableHandle] = []
        self._gains = GainMeter(self.view.space, self._handles, self._took)
        self._warned = False

    def output(
        self, forward: ForwardPass, call: Call, outputs: list[Tensor], module: nn.Module, args: Any
    ) -> None:
        call.numbers.nonfinite = mt.nonfinite(dense_values(outputs[0].detach()), self.view.space)
        self.recomputed(forward, call, outputs)
        self._gains.takes(forward, call, outputs[0], module, args)

    def recomputed(self, forward: ForwardPass, call: Call, outputs: list[Tensor]) -> None:
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
        self,
        forward: ForwardPass,
        call: Call,
        place: int,
        mark: Tensor,
        version: int,
        gradient: Tensor | None,
    ) -> None:
        """The gradient of the tensor that an output is a view of, where an operation has changed the output in place.

        Autograd gives a view that is changed in place a new history, so that the hook on it no longer gets the gradient
        of what it was. The tensor beneath has the same entries, and its own hook does. mark: the output; version: its
        version when it was made, which it shares with the tensor beneath
        """
        if mark._version != version:
            call.numbers.delta_of = None
            if call.numbers.delta_from == torch._C._current_graph_task_id():
                call.numbers.delta_from = None
            self._delta(forward, call, place, gradient)

    def _delta(self, forward: ForwardPass, call: Call, place: int, gradient: Tensor | None) -> None:
        """Keep the gradient's norm: of the first output that the loss depends on (a recurrent layer's last state,
        where its outputs are not used), from the last backward pass."""
        numbers = call.numbers
        known = place if numbers.delta_of is None else numbers.delta_of
        if gradient is None or gradient.numel() == 0 or place > known:
            return
        started = perf_counter()
        task = torch._C._current_graph_task_id()
        learning = forward.learning(task)
        if learning is False:
            self.seconds += perf_counter() - started
            return
        forward.backward |= bool(learning)
        # for a gradient penalty: the training loss's pass comes after it
        with_graph = torch.is_grad_enabled()
        if place < known or numbers.delta_from is None:
            self._measure_delta(forward, numbers, real(gradient.detach()))
            numbers.delta_of, numbers.delta_from = place, None if with_graph else task
        elif not with_graph and numbers.delta_from != task:
            numbers.several = True
        self.seconds += perf_counter() - started

    def _measure_delta(self, forward: ForwardPass, numbers: CallNumbers, gradient: Tensor) -> None:
        norm, alone = self._gains.norm(forward, gradient), not self.view.stacked
        sound = alone and isinstance(norm, list) and isfinite(norm[0])
        numbers.delta_norm = norm[0] if alone and isinstance(norm, list) else st.as_tensor(norm)
        numbers.delta_nonfinite = {} if sound else mt.nonfinite(gradient, self.view.space)
        numbers.delta_entries = self.view.space.entries(gradient)

    def before(self, call: Call, z: Tensor, shape: Shape, phi: Callable[[Tensor], Tensor]) -> None:
        if z.numel() == 0:  # an expert that no token was sent to
            return
        call.way.of_phi = place_of(z)
        numbers = call.numbers
        numbers.inactive, numbers.samples = self.view.inactive(z.detach(), shape, call)
        numbers.rectified = shape.rectifies
        if shape.alpha is not None:
            numbers.alpha = mt.learned_slope(self.view.space.rows(shape.alpha))

    def after(self, call: Call, h: Tensor) -> None:
        if h.numel() and not call.numbers.rectified:
            call.numbers.nonzeros = self.view.space.nonzeros(h.detach())
            call.numbers.h_entries = self.view.space.entries(h)
        self._gains.activates(call, h)

    def _took(self, seconds: float) -> None:
        self.seconds += seconds

    def rest(self) -> None:
        """Give back the memory that is kept from record to record."""
        self.view.space.clear()

    def release(self) -> None:
        """Take the hooks off the step's tensors."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def commit(self, passes: list[ForwardPass], record: Record, scale: Tensor | None) -> None:
        """Put the step's numbers into the record: the samples of its forward passes taken together.

        scale: what the loss was multiplied by before the backward pass. A forward pass that no backward pass went
        through, such as an evaluation with gradients enabled, is left out unless there are only such.
        """
        used = [forward for forward in passes if forward.backward] or passes
        whole = sum(forward.batch or 0 for forward in used)
        calls: dict[Key, list[tuple[ForwardPass, Call]]] = {}
        for forward in used:
            record.saw([*forward.calls])
            for key, call in forward.calls.items():
                calls.setdefault(key, []).append((forward, call))
        inactive: dict[tuple[int, bool, object], list[tuple[Key, Tensor]]] = {}
        for key, parts in calls.items():
            record.batch[key] = sum(forward.batch or 0 for forward, _ in parts)
            record.outputs[key] = sum(call.entries for _, call in parts) // max(record.batch[key], 1)
            self._commit_delta(key, parts, record, whole, scale)
            numbers = [call.numbers for _, call in parts]
            for each in numbers:
                record.put((key,), each.nonfinite)
                record.put((key,), each.delta_nonfinite)
            counts = [each.inactive for each in numbers if each.inactive is not None]
            if counts and all(each.shape == counts[0].shape for each in counts):
                total = st.as_tensor(_total(counts))
                samples, rectified = sum(each.samples for each in numbers), numbers[0].rectified
                group = (samples, rectified, (total.shape, total.dtype, total.device))
                inactive.setdefault(group, []).append((key, total))
            nonzeros = [each.nonzeros for each in numbers if each.nonzeros is not None]
            if nonzeros:
                record.put((key,), mt.zeros(_total(nonzeros), sum(each.h_entries for each in numbers)))
            record.put((key,), next(filter(None, (each.alpha for each in numbers)), {}))
        record.put_zero([*calls], mt.NONFINITE)
        put_gains(calls, record, lambda forward: self.samples(forward, whole))
        for (samples, rectified, _), found in inactive.items():
            together = torch.stack([count for _, count in found])
            record.put([key for key, _ in found], mt.dead_on_batch(together, samples, rectified))

    def _commit_delta(
        self, key: Key, parts: list[tuple[ForwardPass, Call]], record: Record, whole: int,
        scale: Tensor | None,
    ) -> None:  # fmt: skip
        """Put sqrt(mean of delta^2) over the samples and units of all passes, one sample's own error each."""
        if any(call.numbers.several for _, call in parts):
            if not self._warned:
                warn(
                    f"several backward passes went through {key[0]!r}: their deltas do not add up, "
                    "delta_rms is left empty",
                    stacklevel=4,
                )
            self._warned = True
            return
        taken = [(p, call.numbers) for p, call in parts if call.numbers.delta_norm is not None]
        if taken:
            norms = [numbers.delta_norm for _, numbers in taken if numbers.delta_norm is not None]
            samples = [self.samples(forward, whole) for forward, _ in taken]
            entries = sum(numbers.delta_entries for _, numbers in taken)
            record.put((key,), mt.delta_of_passes(norms, samples, entries, scale))

    def samples(self, forward: ForwardPass, whole: int) -> float:
        """What turns autograd's gradient of the loss into one sample's own."""
        if self.reduction == "mean":
            return (whole if forward.replica else forward.batch or 1) * self.accumulation
        return 1.0 if self.reduction == "sum" else float(self.reduction)


def _total(counts: Sequence[Numbers]) -> Numbers:
    if len(counts) == 1:
        return counts[0]
    tensors = torch.stack([st.as_tensor(each) for each in counts])
    return tensors.sum(dim=0, dtype=st.wide_dtype(tensors))


class ProbeMeter:
    """Measures a forward pass of the probe in eval mode. `dead` is kept from record to record; predicting: whether
    theory is asked what a module makes of its input."""

    def __init__(self, stacked: bool, batch_dim: int, metrics: Metrics) -> None:
        self.view, self.metrics = View(stacked, batch_dim), metrics
        self.dead: dict[Key, Tensor] = {}
        self.record: Record | None = None
        self.predicting = False
        self._foretold: dict[
            Key, tuple[Signal, Tensor]
        ] = {}  # of z, and z itself while the probe goes through
        # samples, on how many of them phi is flat for each unit [replica, unit], line
        self._units: list[tuple[Key, int, Tensor, bool]] = []
        # those of h that are compared, [replica, sample, entry], or what was found in them
        self._samples: dict[Key, Tensor | mt.Found] = {}
        # of each call's h, of z where no activation follows: [sample, position, unit], and [replica, row, unit]
        self._positions: dict[Key, Tensor | mt.Found] = {}
        self._rows: dict[Key, Tensor] = {}
        # the call whose slope is taken from its activation's output
        self._of_output: tuple[Key, Shape, Kernels] | None = None

    def output(
        self, forward: ForwardPass, call: Call, outputs: list[Tensor], module: nn.Module, args: Any
    ) -> None:
        if outputs[0].numel():
            self._put(call, mt.signal(outputs[0].detach(), self.view.space))
            if not self.view.stacked:
                self._keep(call, outputs[0].detach())
                if self.predicting and args and isinstance(args[0], Tensor):
                    signal = signal_of(module, args[0].detach(), outputs[0])
                    if signal is not None:
                        self._foretold[call.key] = signal, outputs[0]

    def _keep(self, call: Call, h: Tensor) -> None:
        """A copy of the parts of h that are measured once the probe went through."""
        if (tokens := self.view.by_position(h, call)) is not None:
            part = mt.first_positions(tokens, copy=False)
            large = part.numel() >= MEASURED_AT_ONCE
            self._positions[call.key] = mt.tokens_alike(part.unsqueeze(0)) if large else part.clone()
        if self.metrics.full:
            self._rows[call.key] = mt.some_rows(self.view.by_unit(h, call))

    def recomputed(self, forward: ForwardPass, call: Call, outputs: list[Tensor]) -> None:
        """A model may differentiate itself in its forward pass: no part of the probe's signals."""

    def before(self, call: Call, z: Tensor, shape: Shape, phi: Callable[[Tensor], Tensor]) -> None:
        z = z.detach()
        if z.numel() == 0:
            return
        signal, made = self._foretold.get(call.key, (None, z))
        if signal is not None and made.data_ptr() == z.data_ptr() and made.numel() == z.numel():
            self._put(call, h_predicted(signal, shape.name, call.units))
        inactive, samples = self.view.inactive(z, shape, call)
        self._units.append((call.key, samples, inactive, shape.line))
        if shape.line:
            return
        kernels = shape.kernels
        if kernels is not None and kernels.of_output:
            self._of_output = call.key, shape, kernels
        else:
            slope = slope_of(phi, z) if kernels is None else self._slope(kernels, z)
            self._put(call, mt.slopes(slope, shape.slope_sup, self.view.space))

    def _slope(self, kernels: Kernels, kept: Tensor) -> Tensor:
        """phi'; kept: z, or h where the kernels are `of_output`."""
        space = self.view.space
        slope = space.empty("slope", kept.shape, kept)
        kernels.backward(space.ones(kept.shape, kept), kept, slope)
        return slope

    def after(self, call: Call, h: Tensor) -> None:
        if h.numel():
            if self._of_output is not None and self._of_output[0] == call.key:
                _, shape, kernels = self._of_output
                self._put(call, mt.slopes(self._slope(kernels, h.detach()), shape.slope_sup, self.view.space))
                self._of_output = None
            found = mt.activation(h.detach(), self.view.space, self.metrics.full)
            few = mt.first_samples(self.view.by_sample(h.detach()), copy=False)
            large = few.numel() >= MEASURED_AT_ONCE
            self._samples[call.key] = mt.alike(few) if large else few.clone()
            self._keep(call, h.detach())
            if own := self.metrics.own:
                found |= mt.users(own, self.view.by_unit(h, call))
            self._put(call, found)

    def finish(self) -> None:
        """What is counted by unit, of calls of one shape together, once the probe went through."""
        record = self.record
        assert record is not None
        alike: dict[tuple[int, bool, object], list[tuple[Key, Tensor]]] = {}
        for key, samples, counts, line in self._units:
            group = (samples, line, (counts.shape, counts.dtype, counts.device))
            alike.setdefault(group, []).append((key, counts))
        for (samples, line, _), found in alike.items():
            keys, inactive = tuple(key for key, _ in found), torch.stack([each for _, each in found])
            if line:
                record.put(keys, mt.two_slopes(inactive, samples, 0.0, 1.0))
            dead, shares = mt.dead_units(inactive, samples)
            record.put(keys, shares)
            self._changes(record, keys, dead)
        self._together(record, self._samples, mt.alike, torch.cat)
        self._together(record, self._positions, mt.tokens_alike, torch.stack)
        self._together(record, self._rows, mt.effective_rank, torch.cat)
        self.forget()

    @staticmethod
    def _together(
        record: Record, parts: Mapping[Key, Tensor | mt.Found], of: Callable[[Tensor], mt.Found],
        joined: Callable[[list[Tensor]], Tensor],
    ) -> None:  # fmt: skip
        """What is taken of calls of one shape together, and what was taken of a call alone."""
        alike: dict[object, list[tuple[Key, Tensor]]] = {}
        for key, part in parts.items():
            if isinstance(part, Tensor):
                alike.setdefault((part.shape, part.dtype, part.device), []).append((key, part))
            else:
                record.put((key,), part)
        for found in alike.values():
            record.put([key for key, _ in found], of(joined([part for _, part in found])))

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
            record.put(these, mt.changes(now, torch.stack([self.dead[key] for key in these])))
        self.dead.update(zip(keys, dead.unbind(), strict=True))

    def forget(self) -> None:
        self._units, self._samples, self._positions, self._rows, self._foretold = [], {}, {}, {}, {}
        self.view.space.clear()

    def _put(self, call: Call, found: mt.Found) -> None:
        assert self.record is not None
        self.record.put((call.key,), found)
