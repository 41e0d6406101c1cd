"""The stacked MLP: the seeds of a cell side by side, parameters with a leading replica axis.

Shapes: inputs and activations [replica, batch, unit], weights [replica, in, out]. A single seed is a stack of one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from gradlab.activations import Activation
from gradlab.activations.modules import PerReplica, build_module
from gradlab.nn.draws import biases_from, draw_bias, draw_weight, generator, seed_of, weights_from
from gradlab.nn.norm import build_norm
from gradlab.nn.products import linear
from gradlab.nn.skips import Skip
from gradlab.parts import norms, residuals
from gradlab.parts.inits import Init
from gradlab.parts.norms import Norm
from gradlab.parts.residuals import Residual

Pair = tuple[Tensor, Tensor]


class StackedLinear(nn.Module):
    """z = h W + b for every replica: weight [replica, in, out], bias [replica, 1, out]."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(bias)

    def forward(self, h: Tensor) -> Tensor:
        return linear(self.bias, h, self.weight)


class HiddenLayer(nn.Module):
    """One hidden layer: linear, norm and skip connection in the scheme's order, activation.

    forward(h, stream) takes the layer's input and the residual stream and returns both for the next layer.
    """

    def __init__(
        self, linear: StackedLinear, activation: nn.Module, norm: nn.Module | None, position: str, skip: Skip
    ) -> None:
        super().__init__()
        self.linear = linear
        self.activation = activation
        self.norm_before = norm if norm is not None and position == "pre" else nn.Identity()
        self.norm_after = norm if norm is not None and position == "post" else nn.Identity()
        self.skip = skip

    def forward(self, h: Tensor, stream: Tensor | None) -> tuple[Tensor, Tensor | None]:
        z = self.linear(self.skip.enter(h))
        z, stream = self.skip.before(z, stream, self.norm_before)
        h = self.norm_after(self.activation(z))
        return self.skip.after(h, stream)


class StackedMLP(nn.Module):
    """`depth` hidden layers and a readout, for every seed of a stack."""

    def __init__(self, hidden: Sequence[HiddenLayer], readout: StackedLinear) -> None:
        super().__init__()
        self.hidden = nn.ModuleList(hidden)
        self.readout = readout
        self._every = tuple(self.modules())

    @property
    def linears(self) -> list[StackedLinear]:
        """The linear maps in order, the readout last: depth + 1 of them."""
        return [*(layer.linear for layer in self.layers), self.readout]

    @property
    def layers(self) -> list[HiddenLayer]:
        """The hidden layers in order."""
        return [layer for layer in self.hidden if isinstance(layer, HiddenLayer)]

    def owners(self) -> list[tuple[nn.Parameter, int | None]]:
        """Every trained parameter with the replica it belongs to; None where its first axis is the replica's."""
        alone = {
            id(parameter): replica
            for module in self.modules()
            if isinstance(module, PerReplica)
            for replica, instance in enumerate(module.instances)
            for parameter in instance.parameters()
        }
        return [(parameter, alone.get(id(parameter))) for parameter in self.parameters()]

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Eval mode without gradients; afterwards every module is in the mode it was in.

        The modes are set directly, since `nn.Module.eval` and its `__setattr__` take as long as some layers.
        """
        modes = [module.training for module in self._every]
        try:
            for module in self._every:
                module.__dict__["training"] = False
            with torch.no_grad():
                yield
        finally:
            for module, mode in zip(self._every, modes, strict=True):
                module.__dict__["training"] = mode

    def forward(self, x: Tensor) -> Tensor:
        """[replica, batch, feature] -> [replica, batch, class]."""
        h, stream = x, None
        for layer in self.hidden:
            h, stream = layer(h, stream)
        logits: Tensor = self.readout(h)
        return logits


def build_mlp(
    *,
    activation: Activation,
    init: Init,
    norm: Norm,
    residual: Residual,
    depth: int,
    width: int,
    features: int,
    outputs: int,
    seeds: Sequence[int],
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> StackedMLP:
    """The stack of one cell's nets, drawn seed by seed on the CPU in float64 and then cast.

    features: inputs; outputs: units of the readout; seeds: one a replica.
    """

    def draw(layer: int, fan_in: int, fan_out: int) -> Pair:
        weight = torch.stack([draw_weight(init, seed, layer, fan_in, fan_out) for seed in seeds])
        return weight, torch.stack([draw_bias(init, seed, layer, fan_in, fan_out) for seed in seeds])

    last = init.readout_factor(width)
    sizes = (depth, width, features, outputs)
    return _assemble(draw, activation, norm, residual, *sizes, tuple(seeds), last, dtype).to(device)


def build_ensemble(
    *,
    activation: Activation,
    init: Init,
    depth: int,
    width: int,
    features: int,
    outputs: int,
    nets: int,
    seed: int,
    norm: Norm | None = None,
    residual: Residual | None = None,
    dtype: torch.dtype = torch.float32,
) -> StackedMLP:
    """A stack of `nets` random nets, each layer's weights drawn at once from one generator keyed by (seed, layer).

    For statistics over thousands of nets: drawing 20,000 small nets seed by seed takes minutes, this a second. The
    replicas are independent, but none of them is the net of a seed, and a smaller stack holds other nets. Without
    norm and residual scheme unless given.
    """

    def draw(layer: int, fan_in: int, fan_out: int) -> Pair:
        weight = weights_from(init, generator(seed, "ensemble weight", layer), fan_in, fan_out, (nets,))
        return weight, biases_from(init, generator(seed, "ensemble bias", layer), fan_in, fan_out, (nets,))

    norm, residual = norm or norms.get("none"), residual or residuals.get("none", depth)
    seeds = tuple(range(nets))
    last = init.readout_factor(width)
    return _assemble(draw, activation, norm, residual, depth, width, features, outputs, seeds, last, dtype)


def _assemble(
    draw: Callable[[int, int, int], Pair],
    activation: Activation,
    norm: Norm,
    residual: Residual,
    depth: int,
    width: int,
    features: int,
    outputs: int,
    seeds: tuple[int, ...],
    last: float,
    dtype: torch.dtype,
) -> StackedMLP:
    """The stack whose layer (from 1) gets the weight [replica, in, out] and bias [replica, out] that `draw` gives, the
    readout's weights times `last`."""
    replicas = len(seeds)

    def linear(layer: int, fan_in: int, fan_out: int) -> StackedLinear:
        weight, bias = draw(layer, fan_in, fan_out)
        factor = residual.weight_factor(layer) if layer <= depth else last
        return StackedLinear((weight * factor).to(dtype), bias.unsqueeze(1).to(dtype))

    def keys(layer: int, purpose: str) -> tuple[int, ...]:
        return tuple(seed_of(seed, purpose, layer) for seed in seeds)

    hidden = []
    for layer in range(1, depth + 1):
        fan_in = features if layer == 1 else width
        hidden.append(
            HiddenLayer(
                linear(layer, fan_in, width),
                build_module(activation, replicas, width, keys(layer, "activation")),
                build_norm(norm, replicas, width, keys(layer, "norm")),
                norm.position,
                Skip(residual, layer, replicas),
            )
        )
    mlp = StackedMLP(hidden, linear(depth + 1, features if depth == 0 else width, outputs))
    return mlp.to(dtype=dtype)
