"""The recorder of a stacked MLP: hooks on its linear maps and activations, attached for recorded steps only.

A record is taken in three moments: a forward pass of the probe in eval mode (signal and dead units), the training
step's own forward and backward pass (delta and the batch's zeros), and around the update. Signals are reduced
inside the hook, because an in-place activation may overwrite them right after. Nothing is synchronised.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from gradlab.activations import Activation
from gradlab.activations.modules import StackedPReLU, in_flat_part, slope_of
from gradlab.measure import statistics as st
from gradlab.measure.columns import layer_columns
from gradlab.network.mlp import StackedMLP

SATURATED_BELOW = 0.05  # share of sup|phi'| (the definition of saturated_fraction)
LOW_ACTIVITY_BELOW = 0.01  # share of the probe (the definition of low_activity_fraction)


class StackRecorder:
    """Takes one record at a time of a stacked MLP in training.

    mlp:        the stack, on any device
    activation: the specification its activation modules were built from
    probe:      [row, feature], the rows held for the whole run
    metrics:    "standard" or "full"

    `values` is [layer, replica, column] float64 of the record being taken, `applies` [layer, column] says which
    of its columns mean something; columns are `layer_columns(metrics)`, layer 0 is the first hidden layer and
    the last the readout.
    """

    def __init__(
        self, mlp: StackedMLP, activation: Activation, probe: Tensor, metrics: str = "standard"
    ) -> None:
        self.mlp = mlp
        self.activation = activation
        self.probe = probe
        self.full = metrics == "full"
        self.columns = {name: place for place, name in enumerate(layer_columns(metrics))}
        self.linears = mlp.linears
        self.replicas = self.linears[0].weight.shape[0]
        wide = st.wide_dtype(probe)
        self._shape = (len(self.linears), self.replicas, len(self.columns))
        self._wide = wide
        self.values = self._empty()
        self.applies = np.zeros((self._shape[0], self._shape[2]), dtype=bool)
        self.dead: list[Tensor | None] = [None] * len(self.linears)
        self._weights_before: list[Tensor] = []
        shapes = [linear.weight.shape for linear in self.linears]
        # Layers of one shape are reduced together: twenty small reductions cost twenty times one's overhead.
        self._alike = [[i for i, s in enumerate(shapes) if s == shape] for shape in dict.fromkeys(shapes)]

    def _empty(self) -> Tensor:
        return torch.full(self._shape, torch.nan, dtype=self._wide, device=self.probe.device)

    def _put(self, layer: int, column: str, numbers: Tensor) -> None:
        place = self.columns[column]
        self.values[layer, :, place] = numbers
        self.applies[layer, place] = True

    # -- the probe -------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Start a record: run the probe through the net in eval mode, without a graph."""
        self.values = self._empty()
        self.applies = np.zeros_like(self.applies)
        training = self.mlp.training
        self.mlp.eval()
        try:
            with torch.no_grad(), self._hooked(self._probe_linear, self._probe_before, self._probe_after):
                self.mlp(self.probe.unsqueeze(0).expand(self.replicas, -1, -1))
        finally:
            self.mlp.train(training)
        for layer, hidden in enumerate(self.mlp.layers):
            if isinstance(hidden.activation, StackedPReLU):
                self._put(layer, "alpha", st.mean(hidden.activation.alpha.detach()))

    def _probe_linear(self, layer: int, _: nn.Module, args: tuple[Tensor, ...], z: Tensor) -> None:
        mean, std = st.mean_std(z)
        self._put(layer, "z_mean", mean)
        self._put(layer, "z_std", std)

    def _probe_before(self, layer: int, module: nn.Module, args: tuple[Tensor, ...]) -> None:
        if not self.activation.elementwise:
            return
        z = args[0]
        slope = slope_of(module, z)
        self._put(layer, "slope_sq", st.rms(slope).square())
        # Comparisons with NaN are false, so a diverged net would look free of dead and saturated units.
        finite = self.values[layer, :, self.columns["z_std"]].isfinite()
        saturated = slope.abs() < SATURATED_BELOW * self._slope_sup(module)
        self._put_where(finite, layer, "saturated_fraction", st.share(saturated))
        rows = z.shape[1]
        inactive = self._samples_in_flat_part(module, z)
        dead = inactive == rows
        low = rows - inactive < LOW_ACTIVITY_BELOW * rows
        self._put_where(finite, layer, "dead_fraction", st.share(dead))
        self._put_where(finite, layer, "low_activity_fraction", st.share(low))
        before = self.dead[layer]
        if before is not None:
            self._put(layer, "deaths", (dead & ~before).sum(dim=1).to(self._wide))
            self._put(layer, "revivals", (before & ~dead).sum(dim=1).to(self._wide))
        self.dead[layer] = dead

    def _put_where(self, known: Tensor, layer: int, column: str, numbers: Tensor) -> None:
        """As `_put`, NaN for the replicas where nothing is known; known: boolean [replica]."""
        self._put(layer, column, torch.where(known, numbers, torch.nan))

    def _probe_after(self, layer: int, _: nn.Module, args: tuple[Tensor, ...], h: Tensor) -> None:
        self._put(layer, "h_mean", st.mean(h))
        self._put(layer, "h_rms", st.rms(h))
        if self.full:
            self._put(layer, "h_p95_abs", st.percentile(h.abs(), 0.95))

    def _slope_sup(self, module: nn.Module) -> Tensor | float:
        if isinstance(module, StackedPReLU):  # its slope below 0 moves, and may pass 1
            return module.alpha.detach().abs().clamp(min=1.0)
        assert self.activation.slope_sup is not None
        return self.activation.slope_sup

    def _samples_in_flat_part(self, module: nn.Module, z: Tensor) -> Tensor:
        """On how many samples each unit sits in a flat part of phi: [replica, unit]."""
        if isinstance(module, StackedPReLU):  # flat below 0 where its slope is exactly 0
            return st.samples((z <= 0) & (module.alpha.detach() == 0))
        if not self.activation.flats:
            return torch.zeros(z.shape[0], z.shape[2], dtype=torch.int64, device=z.device)
        return st.samples(in_flat_part(self.activation.flats, z))

    # -- the training step -----------------------------------------------------------------------------------

    @contextmanager
    def training_step(self) -> Iterator[None]:
        """Around the forward and backward pass of a recorded step."""
        with self._hooked(self._batch_linear, self._batch_before, self._batch_after):
            yield

    def _batch_linear(self, layer: int, _: nn.Module, args: tuple[Tensor, ...], z: Tensor) -> None:
        self._put(layer, "nonfinite", st.nonfinite(z.detach()))
        if z.requires_grad:
            z.register_hook(partial(self._take_delta, layer, z.shape[1]))  # type: ignore[no-untyped-call]

    def _take_delta(self, layer: int, batch: int, gradient: Tensor) -> None:
        # The training loss is a mean over the batch: one sample's own error is the gradient times the batch size.
        self._put(layer, "delta_rms", st.rms(gradient) * batch)
        self._add_nonfinite([layer], st.nonfinite(gradient))

    def _batch_before(self, layer: int, module: nn.Module, args: tuple[Tensor, ...]) -> None:
        if self.activation.elementwise:
            z = args[0].detach()
            dead = self._samples_in_flat_part(module, z) == z.shape[1]
            self._put(layer, "batch_dead_fraction", st.share(dead))

    def _batch_after(self, layer: int, _: nn.Module, args: tuple[Tensor, ...], h: Tensor) -> None:
        self._put(layer, "zero_fraction", st.share(h.detach() == 0))

    def take_gradients(self, gradients: dict[Tensor, Tensor]) -> None:
        """Statistics of the parameter gradients: parameter -> gradient, both [replica, ...], before clipping."""
        for layers in self._alike:
            weight = torch.cat([gradients[self.linears[layer].weight] for layer in layers])
            bias = torch.cat([gradients[self.linears[layer].bias] for layer in layers])
            self._put_all(layers, "weight_grad_norm", st.norm(weight))
            self._put_all(layers, "bias_grad_norm", st.norm(bias))
            self._put_all(layers, "weight_grad_mean_abs", st.mean_abs(weight))
            self._put_all(layers, "grad_zero_fraction", st.share(weight == 0))
            self._add_nonfinite(layers, st.nonfinite(weight) + st.nonfinite(bias))
            if self.full:
                self._put_all(layers, "weight_grad_p05", st.percentile(weight, 0.05))
                self._put_all(layers, "weight_grad_p95", st.percentile(weight, 0.95))
            self._put_all(layers, "weight_norm", st.norm(self._weights(layers)))

    def before_update(self) -> None:
        """Remember the weights, just before the optimiser changes them."""
        self._weights_before = [self._weights(layers) for layers in self._alike]

    def after_update(self) -> None:
        """Compare with the weights that `before_update` kept."""
        for layers, before in zip(self._alike, self._weights_before, strict=True):
            update = self._weights(layers) - before
            self._put_all(layers, "update_ratio", st.norm(update) / st.norm(before))
            if self.full:
                self._put_all(layers, "update_mean_abs", st.mean_abs(update))
        self._weights_before = []

    def _weights(self, layers: Sequence[int]) -> Tensor:
        """A copy of the weights of layers of one shape: [layer * replica, in, out]."""
        return torch.cat([self.linears[layer].weight.detach() for layer in layers])

    def _put_all(self, layers: Sequence[int], column: str, numbers: Tensor) -> None:
        """Several layers at once; numbers: [layer * replica]."""
        place = self.columns[column]
        self.values[layers, :, place] = numbers.reshape(len(layers), self.replicas)
        self.applies[layers, place] = True

    def _add_nonfinite(self, layers: Sequence[int], numbers: Tensor) -> None:
        self.values[layers, :, self.columns["nonfinite"]] += numbers.reshape(len(layers), self.replicas)

    # -- hooks -----------------------------------------------------------------------------------------------

    @contextmanager
    def _hooked(self, on_linear, before_activation, after_activation) -> Iterator[None]:  # type: ignore[no-untyped-def]
        handles: list[RemovableHandle] = []
        try:
            for layer, linear in enumerate(self.linears):
                handles.append(linear.register_forward_hook(partial(on_linear, layer)))
            for layer, hidden in enumerate(self.mlp.layers):
                handles.append(hidden.activation.register_forward_pre_hook(partial(before_activation, layer)))
                handles.append(hidden.activation.register_forward_hook(partial(after_activation, layer)))
            yield
        finally:
            for handle in handles:
                handle.remove()
