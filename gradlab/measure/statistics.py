"""The metric core: pure reductions of [replica, batch, unit] tensors to one float64 number a replica.

Accumulation is in float64: the squares of float32 entries around 1e-23 are 0 in float32, and that is the regime
gradlab exists for. Where float64 squares underflow too, or the device has no float64, the largest entry is taken
out first.
"""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor


def wide_dtype(x: Tensor) -> torch.dtype:
    """float64, or float32 on a device without it."""
    return torch.float32 if x.device.type == "mps" else torch.float64


def norm(x: Tensor) -> Tensor:
    """L2 norm of everything behind the replica axis: [replica, ...] -> [replica], wide."""
    flat = x.reshape(x.shape[0], -1)
    if x.dtype != torch.float64 and x.device.type != "mps":
        wide: Tensor = torch.linalg.vector_norm(flat, dim=1, dtype=torch.float64)
        return wide
    if flat.shape[1] == 0:
        return torch.zeros(flat.shape[0], dtype=wide_dtype(x), device=x.device)
    flat = flat.to(wide_dtype(x))
    largest = flat.abs().amax(dim=1, keepdim=True)
    scale = torch.where((largest > 0) & largest.isfinite(), largest, torch.ones_like(largest))
    scaled: Tensor = torch.linalg.vector_norm(flat / scale, dim=1)
    return scaled * scale.squeeze(1)


def rms(x: Tensor) -> Tensor:
    """Root mean square of everything behind the replica axis: [replica, ...] -> [replica]."""
    return norm(x) / sqrt(x[0].numel())


def mean(x: Tensor) -> Tensor:
    """Mean of everything behind the replica axis, of numbers or booleans: [replica, ...] -> [replica]."""
    return x.reshape(x.shape[0], -1).mean(dim=1, dtype=wide_dtype(x))


def mean_std(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (over the population) of everything behind the replica axis."""
    flat = x.reshape(x.shape[0], -1).to(wide_dtype(x))
    average = flat.mean(dim=1)
    return average, rms(flat - average.unsqueeze(1))


def mean_abs(x: Tensor) -> Tensor:
    """Mean absolute entry: [replica, ...] -> [replica]."""
    return mean(x.abs())


def percentile(x: Tensor, share: float) -> Tensor:
    """The entry below which `share` of a replica's entries lie, linear between neighbours: [replica]."""
    ordered = x.reshape(x.shape[0], -1).sort(dim=1).values
    place = share * (ordered.shape[1] - 1)
    low = int(place)
    high = min(low + 1, ordered.shape[1] - 1)
    return torch.lerp(ordered[:, low].to(wide_dtype(x)), ordered[:, high].to(wide_dtype(x)), place - low)


def nonfinite(x: Tensor) -> Tensor:
    """Number of NaN and infinite entries: [replica, ...] -> [replica]."""
    return (~x.isfinite()).reshape(x.shape[0], -1).sum(dim=1).to(wide_dtype(x))


def units_everywhere(mask: Tensor) -> Tensor:
    """Units where a boolean [replica, batch, unit] holds on every sample: boolean [replica, unit]."""
    return mask.all(dim=1)


def mean_over_batch(mask: Tensor) -> Tensor:
    """Share of samples on which a boolean [replica, batch, unit] holds: [replica, unit]."""
    return mask.mean(dim=1, dtype=wide_dtype(mask))
