"""The recorder of a stacked MLP: told what passes by in recorded steps only.

A plain stack's passes run in buffers (`network.buffered`), which tell the recorder or keep everything for it; where
there are norms, skip connections or a user's activation, hooks on the linear maps and activations do.

A record is taken in three moments: a forward pass of the probe in eval mode (signal and dead units), the training
step's own forward and backward pass (delta and the batch's zeros), and around the update. Signals are reduced as they
pass, because an activation may work in place or the next layer write over them. Nothing waits for a device.

The probe dominates the cost, so its reductions make few passes over memory: masks are written as 0 and 1 in float32
into one buffer (boolean ones take three times as long to write and to count), and a registered activation's slope
comes from its backward kernel applied to ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gradlab import theory
from gradlab.activations.kernels import kernels_of
from gradlab.activations.modules import StackedPReLU, slope_of
from gradlab.nn import statistics as st
from gradlab.nn.buffered import BufferedPass
from gradlab.nn.workspace import Workspace
from gradlab.parts.random_net import RandomNet
from gradlab.sensors import metrics as mt
from gradlab.sensors.hooks import hooked
from gradlab.sensors.own_columns import Metrics
from gradlab.sensors.sensor import Observed, Seen, Sensor, Taken
from gradlab.sensors.way_down import WayDown
from gradlab.tables.block import Block
from gradlab.tables.layers import LAYERS, layer_table
from gradlab.tables.spec import Places, names

COMPARED = names(column for column in LAYERS.columns if column.compared)
REDUCED_TOGETHER = 1 << 19  # entries: more at once saves no call worth saving, and takes memory


class LayerSensor(Sensor):
    """Fills layers.csv for a stacked MLP in training.

    metrics: the columns. `dead`: the dead units of the newest record, boolean [hidden layer, replica, unit]
    """

    table = LAYERS

    def __init__(self, observed: Observed, metrics: Metrics) -> None:
        super().__init__(observed)
        mlp = observed.mlp
        self.table = layer_table(metrics.text)
        self.mlp, self.activation, self.probe = mlp, observed.activation, observed.probe
        self.metrics = metrics
        self.columns = {name: place for place, name in enumerate(self.table.recorded)}
        self.linears = mlp.linears
        self.replicas = observed.replicas
        self.dead: Tensor | None = None
        self._kernels = kernels_of(self.activation)
        self._taken: dict[str, list[tuple[Sequence[int], Tensor]]] = {}
        self._rows: dict[str, list[st.Numbers]] = {}  # of the probe, layer by layer
        self._inside: list[Tensor] = []
        self._samples: list[Tensor] = []  # of each layer's h on the probe, those that are compared
        self._ranked: list[Tensor] = []  # rows of each layer's h on the probe, for its rank
        self._z: list[Tensor] = []
        self._phi_inputs: list[Tensor] = []
        self._h: list[Tensor] = []
        self._deltas: list[tuple[int, Tensor]] = []
        self._way = WayDown(mlp)
        self._weights_before: list[tuple[Tensor, st.Numbers]] = []
        self._space = Workspace()
        shapes = [linear.weight.shape for linear in self.linears]
        # Layers of one shape are reduced together: twenty small reductions cost twenty times one's overhead.
        runs = [(shapes.index(shape), shapes.count(shape), shape.numel()) for shape in dict.fromkeys(shapes)]
        self._alike = [
            some for first, count, entries in runs for some in _chunks(range(first, first + count), entries)
        ]

    def places(self) -> Places:
        linears, names = self.linears, self.observed.names
        return {
            "layer": range(1, len(names) + 1),
            "name": names,
            "fan_in": [linear.weight.shape[1] for linear in linears],
            "fan_out": [linear.weight.shape[2] for linear in linears],
            "outputs": [linear.weight.shape[2] for linear in linears],
            "layer_activation": [*[self.activation.text] * (len(linears) - 1), ""],
            "trains": ["yes"] * len(linears),
            **{name: [""] * len(linears) for name in ("path", "into", "joins")},
            "batch": self.observed.batch,
        }

    def finish(self) -> Taken:
        shape = (self.replicas, len(self.linears), len(self.columns))
        wide = st.wide_dtype(self.probe)
        values = torch.full(shape, torch.nan, dtype=wide, device=self.probe.device)
        applies = np.zeros(shape[1:], dtype=bool)
        for name, parts in self._taken.items():
            place = self.columns[name]
            for layers, numbers in parts:
                first, last = layers[0], layers[-1]
                assert last - first == len(layers) - 1  # a slice: an index would be copied to the device
                block = values[:, first : last + 1, place].T
                if applies[first, place]:  # what is not finite is counted in several parts
                    block += numbers.view(-1, self.replicas)
                else:
                    block.copy_(numbers.view(-1, self.replicas))
                applies[first : last + 1, place] = True
        known = values[:, :, self.columns["z_std"]].isfinite()
        for name in COMPARED:
            column = values[:, :, self.columns[name]]
            column.copy_(torch.where(known, column, torch.nan))
        self._taken = {}
        return Taken(values, applies)

    @classmethod
    def predict(cls, block: Block, net: RandomNet, seen: Seen) -> None:
        """delta_rms of every layer but the readout.

        Anchored at the readout's measured delta_rms, which no random-matrix argument gives, and fed with the mean
        square of each input of the replica's first batch. Nothing for softmax, initialisers without a variance, the
        residual scheme `post`, a constant bias beside a norm or residual scheme, and where `theory.normed` has none.
        Under batch norm it is that of the fixed point, where the samples of a batch are independent: layer 1, which
        normalises raw inputs, has none, nor has an activation that leaves the batch about as alike as they are.
        """
        top, predicted = block.column("delta_rms")[:, 0, -1], block.column("delta_rms_predicted")
        for replica, input_sq in enumerate(seen.input_sq):
            prediction = net.predict(input_sq, block.places["batch"])
            if prediction is None:
                return
            predicted[replica, 0, :-1] = theory.delta_rms(prediction, top[replica])[:-1]
        if net.norm.over_batch:
            predicted[:, 0, 0] = np.nan

    def state(self) -> dict[str, Tensor]:
        return {} if self.dead is None else {"dead": self.dead}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self.dead = state["dead"].to(self.probe.device) if "dead" in state else None

    def _put(self, layers: Sequence[int], found: mt.Found) -> None:
        """Numbers of one layer or several, [layer * replica] or [layer, replica], by column."""
        for column, numbers in found.items():
            self._taken.setdefault(column, []).append((layers, st.as_tensor(numbers)))

    # -- the probe -------------------------------------------------------------------------------------------

    def begin(self, buffered: BufferedPass | None) -> None:
        """Start a record: run the probe through the net in eval mode, without a graph.

        buffered: a pass of the same stack that tells what goes by; without it, hooks do
        """
        self._taken, self._inside, self._rows, self._samples, self._ranked = {}, [], {}, [], []
        every = range(len(self.linears))
        self._put(every, {mt.NONFINITE: torch.zeros(len(every), self.replicas, device=self.probe.device)})
        x = self.probe.unsqueeze(0).expand(self.replicas, -1, -1)
        with self.mlp.evaluating():
            if buffered:
                buffered.infer(x, self._probe_linear, lambda layer, h: self._probe_after(layer, h, h))
            else:
                before = self._timed(lambda layer, module, args: self._probe_before(layer, args[0]))
                with hooked(
                    self.mlp,
                    linear=self._timed(lambda layer, module, args, z: self._signal(layer, z)),
                    before=before if self.activation.elementwise else None,
                    after=self._timed(lambda layer, module, args, h: self._probe_after(layer, args[0], h)),
                ):
                    self.mlp(x)
        for column, rows in self._rows.items():
            self._put(range(len(rows)), {column: st.together(rows)})
        self._put(
            range(len(self._samples)), mt.alike(torch.cat(self._samples))
        )  # the layers are of one width
        self._samples = []
        if self._ranked:
            found = [st.as_tensor(mt.effective_rank(rows)["effective_rank"]) for rows in self._ranked]
            self._put(range(len(found)), {"effective_rank": torch.stack(found)})
            self._ranked = []
        if self._inside:
            inside, pieces = torch.stack(self._inside), self.activation.pieces
            self._count_dead(inside if pieces is None else self._count_two_slopes(inside, *pieces[1:]))
        self.seconds = 0.0

    def _add(self, found: mt.Found) -> None:
        """Numbers of the probe's next layer, [replica], by column."""
        for column, numbers in found.items():
            self._rows.setdefault(column, []).append(numbers)

    def _probe_linear(self, layer: int, z: Tensor) -> None:
        self._signal(layer, z)
        if layer < len(self.linears) - 1:
            self._probe_before(layer, z)

    def _signal(self, layer: int, z: Tensor) -> None:
        self._add(mt.signal(z, self._space))
        if (
            self.metrics.full and layer == len(self.linears) - 1
        ):  # no activation follows: z is what the net gives
            self._ranked.append(mt.some_rows(z))

    def _probe_before(self, layer: int, z: Tensor) -> None:
        pieces = self.activation.pieces
        intervals = self.activation.flats if pieces is None else pieces[0]
        self._inside.append(mt.samples_inside(intervals, z, self._space))
        if pieces is None and not (self._kernels and self._kernels.of_output):
            self._slopes(self._slope(layer, z, z))

    def _probe_after(self, layer: int, z: Tensor, h: Tensor) -> None:
        if self.activation.pieces is None and self._kernels and self._kernels.of_output:
            self._slopes(self._slope(layer, z, h))
        self._samples.append(mt.first_samples(h))
        if self.metrics.full:
            self._ranked.append(mt.some_rows(h))
        self._add(mt.activation(h, self._space, self.metrics.full) | mt.users(self.metrics.own, h))

    def _slope(self, layer: int, z: Tensor, kept: Tensor) -> Tensor:
        """phi'(z); kept: what the kernels keep of a forward pass."""
        if self._kernels is None:
            return slope_of(self.mlp.layers[layer].activation.forward, z)
        slope = self._space.empty("slope", z.shape, z)
        self._kernels.backward(self._space.ones(z.shape, z), kept, slope)
        return slope

    def _slopes(self, slope: Tensor) -> None:
        """slope: phi'(z), which is written over."""
        assert self.activation.slope_sup is not None
        self._add(mt.slopes(slope, self.activation.slope_sup, self._space))

    def _count_two_slopes(self, inside: Tensor, first: float, second: float) -> Tensor:
        """As `_slopes` for all layers, where phi' is `first` on some samples of a unit and `second` on the rest.

        inside: how many, [hidden layer, replica, unit]. Returns on how many phi is flat, in the same shape.
        """
        hidden, learned = range(len(inside)), self._learned_slopes()
        slope: float | Tensor = first
        if learned is not None:
            slope = learned.to(st.wide_dtype(learned))
            self._put(hidden, mt.learned_slope(slope.flatten(0, 1)))
        self._put(hidden, mt.two_slopes(inside, len(self.probe), slope, second))
        return inside * (slope == 0)

    def _learned_slopes(self) -> Tensor | None:
        """PReLU's slopes below 0: [hidden layer, replica, unit or 1]."""
        modules = [layer.activation for layer in self.mlp.layers]
        slopes = [module.alpha.detach().squeeze(1) for module in modules if isinstance(module, StackedPReLU)]
        return torch.stack(slopes) if slopes else None

    def _count_dead(self, inactive: Tensor) -> None:
        """inactive: samples of the probe on which phi is flat for a unit, [hidden layer, replica, unit]."""
        hidden = range(len(inactive))
        dead, found = mt.dead_units(inactive, len(self.probe))
        self._put(hidden, found if self.dead is None else found | mt.changes(dead, self.dead))
        self.dead = dead

    # -- the training step -----------------------------------------------------------------------------------

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Around the forward and backward pass of a recorded step.

        The hooks only keep what passes by (z of an activation that may work in place as a copy), and all layers are
        reduced together behind the backward pass: a batch is small, and a call costs more than its arithmetic.
        """
        self._z, self._phi_inputs, self._h, self._deltas = [], [], [], []
        with (
            hooked(
                self.mlp,
                linear=self._timed(self._batch_linear),
                before=self._timed(self._batch_before) if self.activation.source else None,
                after=self._timed(self._batch_after),
            ),
            self._way.watching(self._timed),
        ):
            yield
        self._reduce_batch()

    def _batch_linear(self, layer: int, _: nn.Module, args: tuple[Tensor, ...], z: Tensor) -> None:
        self._z.append(self._before_activation(z))
        if z.requires_grad:
            hook = self._timed(partial(self._take_delta, layer))
            z.register_hook(hook)  # type: ignore[no-untyped-call]
            self._way.linear(layer, z, self._timed)

    def _take_delta(self, layer: int, gradient: Tensor) -> None:
        self._deltas.append((layer, gradient.detach()))

    def _batch_before(self, layer: int, module: nn.Module, args: tuple[Tensor, ...]) -> None:
        self._phi_inputs.append(self._before_activation(args[0]))

    def _batch_after(self, layer: int, module: nn.Module, args: tuple[Tensor, ...], h: Tensor) -> None:
        if not self.activation.source:
            self._phi_inputs.append(args[0].detach())
        self._h.append(h.detach())

    def _before_activation(self, z: Tensor) -> Tensor:
        """z, as a copy where a user's activation may write over it."""
        return z.detach().clone() if self.activation.source else z.detach()

    def _reduce_batch(self) -> None:
        """Measure the tensors that the hooks have put by."""
        for layer, z in enumerate(self._z):
            self._put([layer], mt.nonfinite(z, self._space))
        learned = self._learned_slopes()
        for some in _chunks(range(len(self._h)), self._h[0].numel()):
            inputs = torch.cat([self._phi_inputs[layer] for layer in some]) if self._phi_inputs else None
            self._count_batch(some, inputs, torch.cat([self._h[layer] for layer in some]), learned)
        self._z, self._phi_inputs, self._h = [], [], []
        alike: dict[torch.Size, list[tuple[int, Tensor]]] = {}
        for layer, gradient in self._deltas[::-1]:  # the last layer's comes first
            alike.setdefault(gradient.shape, []).append((layer, gradient))
        for shape, found in alike.items():
            for some in _chunks(range(len(found)), shape.numel()):
                part = found[some.start : some.stop]
                delta = torch.cat([gradient for _, gradient in part])
                self._measure_delta([layer for layer, _ in part], delta)
        self._deltas = []
        hidden = range(len(self.mlp.layers))
        behind: dict[str, Tensor] = {}
        for _, point in self._way.way[:-1]:
            if hidden:
                gradients = self._way.taken(point)
                chunks = _chunks(hidden, gradients[0].numel())
                behind[point] = self._rms(_together(gradients[some.start : some.stop]) for some in chunks)
        self._way.forget()
        self._put_gains([(column, behind.get(point)) for column, point in self._way.way])

    def take_pass(self, kept: BufferedPass, gradient: Tensor) -> None:
        """Instead of `watching`: a pass that keeps everything, and the gradient it was given at the outputs."""
        hidden, learned = range(len(kept.z)), self._learned_slopes()
        by_h: list[Tensor] = []
        for some in _chunks(hidden, kept.z[0].numel()):
            z, h, delta = (x[some.start : some.stop].flatten(0, 1) for x in (kept.z, kept.h, kept.delta))
            self._put(some, mt.nonfinite(z, self._space))
            self._count_batch(some, z, h, learned)
            self._measure_delta(some, delta)
            by_h.append(kept.by_h[some.start : some.stop].flatten(0, 1))
        self._put([len(hidden)], mt.nonfinite(kept.outputs, self._space))
        self._measure_delta([len(hidden)], gradient)
        self._put_gains([("weight_gain", self._rms(by_h)), ("slope_gain", None)])

    def _count_batch(self, some: range, z: Tensor | None, h: Tensor, learned: Tensor | None) -> None:
        """z, h: of some hidden layers, [layer * replica, batch, unit]; learned: PReLU's slopes of all."""
        if self.activation.elementwise:
            assert z is not None
            intervals = self.activation.flats if learned is None else mt.BELOW_ZERO
            inactive = mt.samples_inside(intervals, z, self._space)
            if learned is not None:  # flat below 0 where the slope there is exactly 0
                inactive = inactive * (learned[some.start : some.stop] == 0).flatten(0, 1)
            self._put(some, mt.dead_on_batch(inactive, z.shape[1]))
        self._put(some, mt.zeros(self._space.nonzeros(h), h.shape[1] * h.shape[2]))

    def _measure_delta(self, layers: Sequence[int], delta: Tensor) -> None:
        """delta: the gradient of the loss in z, [layer * replica, batch, unit]."""
        self._put(layers, mt.delta(delta, self._space) | mt.nonfinite(delta, self._space))

    def _rms(self, gradients: Iterable[Tensor]) -> Tensor:
        """As delta_rms, of [layer * replica, batch, unit] in pieces: [layer, replica]."""
        pieces = [st.as_tensor(mt.delta(piece, self._space)["delta_rms"]) for piece in gradients]
        return torch.cat(pieces).view(-1, self.replicas)

    def _put_gains(self, way: Sequence[tuple[str, Tensor | None]]) -> None:
        """way: as `metrics.gains` has it of all hidden layers, [layer, replica]; None stands for their delta_rms."""
        hidden = range(len(self.mlp.layers))
        parts = {layers[0]: numbers for layers, numbers in self._taken["delta_rms"]}
        delta = torch.cat([parts[first].view(-1, self.replicas) for first in sorted(parts)])
        if hidden:
            below = [(column, delta[:-1] if numbers is None else numbers) for column, numbers in way]
            self._put(hidden, mt.gains(delta[1:], below))

    def take_gradients(self, gradients: Mapping[Tensor, Tensor]) -> None:
        """Statistics of the parameter gradients: parameter -> gradient, both [replica, ...], before clipping."""
        self._weights_before = []
        for layers in self._alike:
            weight = _together([gradients[self.linears[layer].weight] for layer in layers])
            bias = _together([gradients[self.linears[layer].bias] for layer in layers])
            self._put(layers, mt.weight_gradient(weight, self._space, self.metrics.full, weight[0].numel()))
            self._put(layers, mt.bias_gradient(bias, self._space))
            self._put(layers, mt.nonfinite(weight, self._space))
            self._put(layers, mt.nonfinite(bias, self._space))
            before = torch.cat(self._weights(layers))  # a copy, of one layer too
            found = mt.weight_size(before, self._space)
            self._put(layers, found)
            self._weights_before.append((before, found["weight_norm"]))

    def after_update(self) -> None:
        """Compare with the weights as they were in `take_gradients`."""
        for layers, (before, size) in zip(self._alike, self._weights_before, strict=True):
            change = torch.sub(_together(self._weights(layers)), before, out=before)
            self._put(layers, mt.update(change, size, self._space, self.metrics.full))
        self._weights_before = []

    def _weights(self, layers: Sequence[int]) -> list[Tensor]:
        return [self.linears[layer].weight.detach() for layer in layers]

    def _timed(self, hook: Callable[..., None]) -> Callable[..., None]:
        def timed(*args: Any) -> None:
            started = perf_counter()
            hook(*args)
            self.seconds += perf_counter() - started

        return timed


def _chunks(places: range, entries: int) -> Iterator[range]:
    """A range in pieces whose tensors, of so many entries each, are small enough to be copied together."""
    step = max(1, REDUCED_TOGETHER // entries)
    for start in range(0, len(places), step):
        yield places[start : start + step]


def _together(tensors: Sequence[Tensor]) -> Tensor:
    """[layer * replica, ...]; one layer's own where it is alone."""
    return tensors[0] if len(tensors) == 1 else torch.cat(list(tensors))
