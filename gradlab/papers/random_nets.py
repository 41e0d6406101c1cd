"""Random nets and what passes through them: the measurements that many of the results share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradlab import activations
from gradlab.nn import statistics as st
from gradlab.nn.draws import generator, weights_from
from gradlab.nn.mlp import StackedMLP, build_ensemble, build_mlp
from gradlab.parts import inits, norms, residuals

Array = NDArray[np.float64]


def random_nets(
    activation: str,
    init: str,
    *,
    depth: int,
    width: int,
    seeds: int,
    features: int | None = None,
    outputs: int | None = None,
    norm: str = "none",
    residual: str = "none",
    dtype: torch.dtype = torch.float32,
) -> StackedMLP:
    """A stack of `seeds` untrained nets, square unless features or outputs say otherwise; seeds from 0."""
    phi = activations.get(activation)
    return build_mlp(
        activation=phi,
        init=inits.get(init, phi),
        norm=norms.get(norm),
        residual=residuals.get(residual, depth),
        depth=depth,
        width=width,
        features=features or width,
        outputs=outputs or width,
        seeds=range(seeds),
        dtype=dtype,
    )


def many_nets(
    activation: str,
    init: str,
    *,
    depth: int,
    width: int,
    nets: int,
    features: int | None = None,
    outputs: int | None = None,
    norm: str = "none",
    residual: str = "none",
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> StackedMLP:
    """Thousands of untrained nets at once, drawn from one generator."""
    phi = activations.get(activation)
    return build_ensemble(
        activation=phi,
        init=inits.get(init, phi),
        depth=depth,
        width=width,
        features=features or width,
        outputs=outputs or width,
        nets=nets,
        seed=seed,
        norm=norms.get(norm),
        residual=residuals.get(residual, depth),
        dtype=dtype,
    )


def drawn(
    purpose: str, nets: int, fan_in: int, fan_out: int, *, sigma_w: float = 1.0, orthogonal: bool = False
) -> Tensor:
    """Weights for what is no MLP: float64 [nets, fan_in, fan_out], variance sigma_w^2 / fan_in, one draw a purpose."""
    text = f"orthogonal:gain={sigma_w!r}" if orthogonal else f"gaussian:sigma_w={sigma_w!r}"
    init = inits.get(text, activations.get("linear"))
    return weights_from(init, generator(0, purpose), fan_in, fan_out, (nets,))


def noise(purpose: str, *shape: int) -> Tensor:
    """Standard normal numbers, float64, one draw a purpose."""
    return torch.randn(shape, generator=generator(0, purpose), dtype=torch.float64)


def unit_inputs(mlp: StackedMLP, rows: int, *, mean_square: float = 1.0) -> Tensor:
    """Random inputs [replica, row, feature], each with exactly this mean square, as mean-field theory assumes."""
    weight = mlp.linears[0].weight
    x: Tensor = torch.randn(rows, weight.shape[1], generator=generator(0, "inputs"), dtype=torch.float64)
    x = x / x.square().mean(dim=1, keepdim=True).sqrt() * mean_square**0.5
    return x.to(weight.dtype).expand(weight.shape[0], -1, -1)


@dataclass(frozen=True)
class ForwardBackward:
    """Forward and backward through a stack: z and delta of every layer, the readout last, [replica, row, unit].

    weight_gradients: [replica, in, out] of each layer where they were asked for, else empty
    """

    z: Sequence[Tensor]
    delta: Sequence[Tensor]
    weight_gradients: Sequence[Tensor]

    def z_sq(self) -> Array:
        """Mean of z^2, [replica, layer]."""
        return torch.stack([st.rms(z).square() for z in self.z], dim=1).numpy()

    def delta_rms(self) -> Array:
        """[replica, layer]."""
        return torch.stack([st.rms(delta) for delta in self.delta], dim=1).numpy()


def forward_backward(mlp: StackedMLP, x: Tensor, *, weights: bool = False) -> ForwardBackward:
    """Send x through the nets and an independent standard normal cotangent back.

    The cotangent is fixed and has nothing to do with the signal: the gradient of a loss, or of the sum of the
    outputs, is correlated with it and reads up to an order of magnitude too large at a ReLU. `weights` asks for
    the gradients of the weights too.
    """
    kept: list[Tensor] = []

    def keep(_: torch.nn.Module, args: tuple[Tensor, ...], z: Tensor) -> None:
        kept.append(z)

    handles = [linear.register_forward_hook(keep) for linear in mlp.linears]
    try:
        output = mlp(x)
    finally:
        for handle in handles:
            handle.remove()
    wanted = [*kept, *(linear.weight for linear in mlp.linears if weights)]
    cotangent = torch.randn(output.shape, generator=generator(0, "cotangent"), dtype=torch.float64)
    gradients = torch.autograd.grad(output, wanted, cotangent.to(output.dtype))
    return ForwardBackward([z.detach() for z in kept], gradients[: len(kept)], gradients[len(kept) :])


def forward_only(mlp: StackedMLP, x: Tensor) -> list[Tensor]:
    """z of every layer, the readout last, [replica, row, unit], without a graph."""
    kept: list[Tensor] = []
    handles = [linear.register_forward_hook(lambda _, args, z: kept.append(z)) for linear in mlp.linears]
    try:
        with torch.no_grad():
            mlp(x)
    finally:
        for handle in handles:
            handle.remove()
    return kept


def log_noise(shares: Sequence[float] | Array, *, width: int, nets: int, spread: float = 5.0) -> float:
    """How far the mean over nets of log ||delta||^2 may be from the log of the mean field's factor over some layers.

    shares: of each layer the share of ||delta||^2 that comes through its weights, 1 without a skip connection
    spread: 3 E[phi'^4] / E[phi'^2]^2 - 1, over width the variance of a layer's factor: 2 for linear, 5 for ReLU

    Three standard errors and the shift of a log's mean (Hanin & Nica 2019 for ReLU, the most of the usual ones).
    Beside a skip connection a branch of share r adds 4 r (1 - r) / width for its product with the stream.
    """
    r = np.asarray(shares)
    variance = float((4 * r * (1 - r) + spread * r**2).sum() / width)
    return 3 * sqrt(variance / nets) + variance / 2


def last_activations(mlp: StackedMLP, x: Tensor) -> Tensor:
    """h of the last hidden layer, [replica, row, unit], without a graph."""
    kept: list[Tensor] = []
    handle = mlp.layers[-1].register_forward_hook(lambda _, args, out: kept.append(out[0]))
    try:
        with torch.no_grad():
            mlp(x)
    finally:
        handle.remove()
    return kept[0]


def jacobians(mlp: StackedMLP, x: Tensor) -> Tensor:
    """d (last hidden layer's h) / d x of one input, [replica, unit, feature]; x is [replica, 1, feature]."""
    width = mlp.linears[-1].weight.shape[1]
    rows = x.expand(-1, width, -1).clone().requires_grad_(True)  # a row for each output: one backward for all
    kept: list[Tensor] = []
    handle = mlp.layers[-1].register_forward_hook(lambda _, args, out: kept.append(out[0]))
    try:
        mlp(rows)
    finally:
        handle.remove()
    cotangent = torch.eye(width, dtype=rows.dtype).expand(rows.shape[0], -1, -1)
    return torch.autograd.grad(kept[0], rows, cotangent)[0]
