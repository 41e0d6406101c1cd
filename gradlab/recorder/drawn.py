"""Whether weights are still as an initialiser drew them: what tells a part that was frozen by mistake from one that was
trained before."""

from __future__ import annotations

from collections.abc import Iterator
from math import sqrt

import torch
from torch import Tensor

FEWEST, FEWEST_NORMAL = 64, 256
"""Entries below which nothing is said: of a uniform draw, which ends where nothing else does, and of a normal one."""

SCATTER = 3.0
"""Standard errors that a draw's mean, deviation and kurtosis may be off: one draw in 370 is missed by each."""


def as_drawn(weight: Tensor) -> bool:
    """Whether the entries of a weight, [fan_out, fan_in, ...], are those of an initialiser: centred, uniform or
    normal, and of the deviation that a usual rule gives for its fans.

    Training moves the deviation by a few per cent and stretches the tails. A sample of n entries has a deviation that
    is right to sqrt((kappa - 1) / 4n), kappa its distribution's kurtosis (3, or 1.8 of a uniform one), and a kurtosis
    that is right to sqrt(24 / n) (of a uniform one to less).
    """
    if weight.numel() < FEWEST or weight.dim() < 2 or not weight.is_floating_point():
        return False
    with torch.no_grad():
        values = weight.detach().double().reshape(-1)
        values = values[values != 0]  # the vector of an embedding's padding
        n = values.numel()
        if n < FEWEST:
            return False
        mean, deviation = float(values.mean()), float(values.std(correction=0))
        if not 0 < deviation < float("inf") or abs(mean) > SCATTER * deviation / sqrt(n):
            return False
        kurtosis = float(((values - mean) / deviation).pow(4).mean())
        largest = float(values.abs().max())
    flat = largest <= sqrt(3) * deviation * (1 + SCATTER / sqrt(n)) and abs(kurtosis - 1.8) <= SCATTER * sqrt(
        24 / n
    )
    bell = n >= FEWEST_NORMAL and abs(kurtosis - 3.0) <= SCATTER * sqrt(24 / n)
    if not (flat or bell):
        return False
    error = SCATTER * sqrt(((1.8 if flat else 3.0) - 1) / (4 * n))
    return any(abs(deviation / usual - 1) <= error for usual in _usual(weight, flat))


def _usual(weight: Tensor, flat: bool) -> Iterator[float]:
    """Deviations that initialisers give: PyTorch's own, LeCun's, Glorot's and He's; of an embedding 1, of many
    transformers 0.02."""
    fan_in = weight[0].numel()
    fan_out = weight.numel() // weight.shape[1]
    yield from (sqrt(1 / fan_in), sqrt(2 / fan_in), sqrt(2 / fan_out), sqrt(2 / (fan_in + fan_out)))
    if flat:
        yield sqrt(1 / (3 * fan_in))
    else:
        yield from (1.0, 0.02)
