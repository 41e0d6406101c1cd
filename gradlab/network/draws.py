"""Random numbers of a replica: every draw comes from a generator keyed by (seed, purpose, layer).

So the same seed gives the same numbers for every activation, depth, scale and stack: comparisons are paired.
"""

from __future__ import annotations

from hashlib import blake2b
from math import sqrt

import torch
from torch import Tensor

from gradlab.network.inits import Init


def generator(seed: int, purpose: str, layer: int = 0) -> torch.Generator:
    """A CPU generator of its own for one purpose of one replica."""
    key = blake2b(f"{seed}/{purpose}/{layer}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(key, "little") >> 1)


def draw_weight(init: Init, seed: int, layer: int, fan_in: int, fan_out: int) -> Tensor:
    """One replica's weight matrix of one layer, float64 [fan_in, fan_out]; z = h @ weight + bias."""
    if init.sigma_w is None:
        return torch.full((fan_in, fan_out), init.weight, dtype=torch.float64)
    source = generator(seed, "weight", layer)
    scale: float = init.sigma_w(fan_in, fan_out) / sqrt(fan_in)
    if init.distribution == "uniform":
        return (2 * torch.rand(fan_in, fan_out, generator=source, dtype=torch.float64) - 1) * (
            sqrt(3) * scale
        )
    normal = torch.randn(fan_in, fan_out, generator=source, dtype=torch.float64)
    if init.distribution == "orthogonal":
        # sigma_w already holds sqrt(fan_in / fan_out) where only rows can be orthonormal: undo it for the gain.
        return _orthonormal(normal) * (init.sigma_w(fan_in, fan_out) / min(1.0, sqrt(fan_in / fan_out)))
    return normal * scale


def draw_bias(init: Init, seed: int, layer: int, fan_in: int, fan_out: int) -> Tensor:
    """One replica's biases of one layer, float64 [fan_out]."""
    spread = init.sigma_b(fan_in, fan_out)
    if spread == 0:
        return torch.full((fan_out,), init.bias, dtype=torch.float64)
    source = generator(seed, "bias", layer)
    if init.distribution == "uniform":
        unit = (2 * torch.rand(fan_out, generator=source, dtype=torch.float64) - 1) * sqrt(3)
    else:
        unit = torch.randn(fan_out, generator=source, dtype=torch.float64)
    return init.bias + spread * unit


def _orthonormal(normal: Tensor) -> Tensor:
    """Haar-distributed orthonormal rows or columns, whichever is fewer (Saxe et al. 2014)."""
    rows, columns = normal.shape
    tall = normal if rows >= columns else normal.T
    q, r = torch.linalg.qr(tall)
    q = q * torch.sign(torch.diagonal(r))  # the sign makes the distribution uniform (Mezzadri 2007)
    haar: Tensor = q if rows >= columns else q.T
    return haar
