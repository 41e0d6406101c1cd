"""Random numbers of a replica: every draw comes from a generator keyed by (seed, purpose, layer).

So the same seed gives the same numbers for every activation, depth, scale and stack: comparisons are paired.
"""

from __future__ import annotations

from hashlib import blake2b
from math import prod, sqrt

import torch
from torch import Tensor

from gradlab.base import generators
from gradlab.parts.inits import Init


def generator(seed: int, purpose: str, layer: int = 0) -> torch.Generator:
    """A CPU generator of its own for one purpose of one replica; its `initial_seed()` is the purpose's key."""
    return torch.Generator().manual_seed(seed_of(seed, purpose, layer))


def seed_of(seed: int, purpose: str, layer: int) -> int:
    """What the draws of one replica for one purpose in one layer start from: 63 bits."""
    key = blake2b(f"{seed}/{purpose}/{layer}".encode(), digest_size=8).digest()
    return int.from_bytes(key, "little") >> 1


def draw_weight(init: Init, seed: int, layer: int, fan_in: int, fan_out: int) -> Tensor:
    """One replica's weight matrix of one layer, float64 [fan_in, fan_out]; z = h @ weight + bias."""
    return weights_from(init, generator(seed, "weight", layer), fan_in, fan_out)


def draw_bias(init: Init, seed: int, layer: int, fan_in: int, fan_out: int) -> Tensor:
    """One replica's biases of one layer, float64 [fan_out]."""
    return biases_from(init, generator(seed, "bias", layer), fan_in, fan_out)


def weights_from(
    init: Init, source: torch.Generator, fan_in: int, fan_out: int, shape: tuple[int, ...] = ()
) -> Tensor:
    """Weight matrices drawn one after another from `source`, float64 [*shape, fan_in, fan_out]."""
    size = (*shape, fan_in, fan_out)
    if init.own is not None:
        return _users(init, source, fan_in, fan_out, shape)
    if init.sigma_w is None:
        return torch.full(size, init.weight, dtype=torch.float64)
    scale: float = init.sigma_w(fan_in, fan_out) / sqrt(fan_in)
    if init.distribution == "uniform":
        return (2 * torch.rand(size, generator=source, dtype=torch.float64) - 1) * (sqrt(3) * scale)
    normal = torch.randn(size, generator=source, dtype=torch.float64)
    if init.distribution == "orthogonal":
        # sigma_w already holds sqrt(fan_in / fan_out) where only rows can be orthonormal: undo it for the gain.
        return _orthonormal(normal) * (init.sigma_w(fan_in, fan_out) / min(1.0, sqrt(fan_in / fan_out)))
    return normal * scale


def biases_from(
    init: Init, source: torch.Generator, fan_in: int, fan_out: int, shape: tuple[int, ...] = ()
) -> Tensor:
    """Bias vectors drawn one after another from `source`, float64 [*shape, fan_out]."""
    size = (*shape, fan_out)
    spread = init.sigma_b(fan_in, fan_out)
    if spread == 0:
        return torch.full(size, init.bias, dtype=torch.float64)
    if init.distribution == "uniform":
        unit = (2 * torch.rand(size, generator=source, dtype=torch.float64) - 1) * sqrt(3)
    else:
        unit = torch.randn(size, generator=source, dtype=torch.float64)
    return init.bias + spread * unit


def _users(init: Init, source: torch.Generator, fan_in: int, fan_out: int, shape: tuple[int, ...]) -> Tensor:
    """Weights that a user's own fills one by one, each with torch's global generator seeded for it alone: with the key
    of `source` where there is one weight, with seeds drawn from it where there are many."""
    seeds = [source.initial_seed()]
    if shape:
        seeds = torch.randint(2**62, (prod(shape),), generator=source).tolist()
    drawn = []
    for seed in seeds:
        weight = torch.zeros(fan_out, fan_in, dtype=torch.float64)
        with generators.seeded(seed, "cpu"):
            init.fill(weight)
        drawn.append(weight.detach().T)
    return torch.stack(drawn).reshape(*shape, fan_in, fan_out)


def _orthonormal(normal: Tensor) -> Tensor:
    """Haar-distributed orthonormal rows or columns, whichever is fewer (Saxe et al. 2014): [..., in, out]."""
    rows, columns = normal.shape[-2:]
    tall = normal if rows >= columns else normal.mT
    q, r = torch.linalg.qr(tall)
    # the sign makes the distribution uniform (Mezzadri 2007)
    q = q * torch.sign(torch.diagonal(r, dim1=-2, dim2=-1)).unsqueeze(-2)
    haar: Tensor = q if rows >= columns else q.mT
    return haar
