"""The metric core: pure reductions of [replica, batch, unit] tensors to one float64 number a replica.

float32 on the CPU is summed as float32, pairwise, which is right to about one part in 10^7 and a third of the cost of
a float64 copy. The squares of entries around 1e-23 are 0 in float32, though, and that is the regime gradlab exists
for: a replica whose squares may have underflowed or overflowed is computed again in float64. Other formats and devices
accumulate in float64 at once. Where float64 squares underflow too, or the device has no float64, all entries are
divided by the largest one first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf, isfinite, sqrt
from typing import Any

import torch
from torch import Tensor

# A float32 square loses at most 1e-45 to underflow: one part in 10^9 of a mean square of this size.
SMALLEST_MEAN_SQUARE = 1e-36
# The difference of mean square and squared mean keeps float32's precision where it is this share of the mean square.
CLEAR_VARIANCE = 0.25

Numbers = Tensor | list[float]
"""One number a replica: of float32 on the CPU a list, if the sums are finite, else a tensor. Making a tensor of each
would take as long as a small reduction; a caller that collects many makes one tensor of all (`together`)."""


def wide_dtype(x: Tensor) -> torch.dtype:
    """float64, or float32 on a device without it."""
    return torch.float32 if x.device.type == "mps" else torch.float64


def as_tensor(numbers: Numbers) -> Tensor:
    """[replica], wide."""
    return numbers if isinstance(numbers, Tensor) else torch.tensor(numbers, dtype=torch.float64)


def each(function: Callable[[Any], Any], numbers: Numbers) -> Numbers:
    """A function of one number, such as a division, of every replica's."""
    return function(numbers) if isinstance(numbers, Tensor) else [function(number) for number in numbers]


def together(rows: Sequence[Numbers]) -> Tensor:
    """[row, replica], wide."""
    narrow = [row for row in rows if isinstance(row, list)]
    if len(narrow) == len(rows):
        return torch.tensor(narrow, dtype=torch.float64)
    return torch.stack([as_tensor(row) for row in rows])


def norm(x: Tensor, scratch: Tensor | None = None) -> Tensor:
    """L2 norm of everything behind the replica axis: [replica, ...] -> [replica], wide; scratch: as in `norms`."""
    return as_tensor(norms(x, scratch))


def norms(x: Tensor, scratch: Tensor | None = None) -> Numbers:
    """L2 norm of everything behind the replica axis: [replica, ...] -> [replica].

    scratch: memory for the squares, [replica, entry] in the format of x
    """
    flat = x.reshape(x.shape[0], -1)
    if not (summed_narrow(flat) and flat.shape[1]):
        return _wide_norm(flat.to(wide_dtype(flat)), flat)
    squares = torch.mul(flat, flat, out=scratch).sum(dim=1).tolist()
    least = flat.shape[1] * SMALLEST_MEAN_SQUARE
    if all(least < square < inf for square in squares):
        return [sqrt(square) for square in squares]
    wide = _wide_norm(flat.to(torch.float64), flat).tolist()
    return [sqrt(s) if least < s < inf else w for s, w in zip(squares, wide, strict=True)]


def summed_narrow(x: Tensor) -> bool:
    """Whether x is summed in its own format first. Not on other devices: to see whether the sum must be taken again in
    float64, the host would have to wait for it."""
    return x.dtype == torch.float32 and x.device.type == "cpu"


def _wide_norm(flat: Tensor, origin: Tensor) -> Tensor:
    """L2 norm of each row of a wide [replica, n]; `origin` is what it was computed from.

    What came from a narrower format has squares that float64 holds; otherwise all entries are divided by the
    largest one first.
    """
    length: Tensor
    if flat.shape[1] == 0 or flat.dtype != origin.dtype:
        length = torch.linalg.vector_norm(flat, dim=1)
        return length
    largest = flat.abs().amax(dim=1, keepdim=True)
    scale = torch.where((largest > 0) & largest.isfinite(), largest, torch.ones_like(largest))
    length = torch.linalg.vector_norm(flat / scale, dim=1)
    return length * scale.squeeze(1)


def rms(x: Tensor) -> Tensor:
    """Root mean square of everything behind the replica axis: [replica, ...] -> [replica]."""
    return as_tensor(root_mean_squares(x))


def root_mean_squares(x: Tensor, scratch: Tensor | None = None) -> Numbers:
    """Root mean square of everything behind the replica axis: [replica, ...] -> [replica]; scratch: as in `norms`."""
    root = sqrt(x.numel() / len(x))
    return each(lambda length: length / root, norms(x, scratch))


def mean(x: Tensor) -> Tensor:
    """Mean of everything behind the replica axis: [replica, ...] -> [replica], wide."""
    return as_tensor(means(x))


def means(x: Tensor) -> Numbers:
    """Mean of everything behind the replica axis: [replica, ...] -> [replica]."""
    flat = x.reshape(x.shape[0], -1)
    if summed_narrow(flat) and flat.shape[1]:
        totals = flat.sum(dim=1).tolist()
        if all(map(isfinite, totals)):
            return [total / flat.shape[1] for total in totals]
    return flat.to(wide_dtype(x)).mean(dim=1)


def share(mask: Tensor) -> Tensor:
    """Share of true entries behind the replica axis: boolean [replica, ...] -> [replica], wide."""
    flat = mask.reshape(mask.shape[0], -1)
    return flat.sum(dim=1).to(wide_dtype(mask)) / flat.shape[1]


def mean_std(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (over the population) of everything behind the replica axis."""
    average, deviation = means_stds(x)
    return as_tensor(average), as_tensor(deviation)


def means_stds(x: Tensor, scratch: Tensor | None = None) -> tuple[Numbers, Numbers]:
    """Mean and standard deviation (over the population) behind the replica axis; scratch: as in `norms`."""
    flat = x.reshape(x.shape[0], -1)
    average = means(flat)
    if isinstance(average, Tensor):
        return average, _wide_deviation(flat, average)
    roots = root_mean_squares(flat, scratch)
    found = [deviation(a, float(root * root)) for a, root in zip(average, roots, strict=True)]
    clear = [spread for spread in found if spread is not None]
    if len(clear) == len(found):
        return average, clear
    wide = _wide_deviation(flat, flat.to(torch.float64).mean(dim=1)).tolist()
    return average, [w if spread is None else spread for spread, w in zip(found, wide, strict=True)]


def deviation(average: float, square: float) -> float | None:
    """The standard deviation from float32's mean and mean square; None where their difference has lost too much."""
    variance = square - average * average
    return sqrt(variance) if variance > CLEAR_VARIANCE * square else None


def _wide_deviation(flat: Tensor, average: Tensor) -> Tensor:
    wide = flat.to(average.dtype)
    return _wide_norm(wide - average.unsqueeze(1), flat) / sqrt(flat.shape[1])


def mean_abs(x: Tensor) -> Tensor:
    """Mean absolute entry: [replica, ...] -> [replica]."""
    return mean(x.abs())


def percentile(x: Tensor, share: float) -> Tensor:
    """The entry below which `share` of a replica's entries lie, linear between neighbours: [replica]."""
    ordered = x.reshape(x.shape[0], -1).sort(dim=1).values
    place = share * (ordered.shape[1] - 1)
    low = int(place)
    high = min(low + 1, ordered.shape[1] - 1)
    between = torch.lerp(ordered[:, low].to(wide_dtype(x)), ordered[:, high].to(wide_dtype(x)), place - low)
    return torch.where(ordered[:, -1].isnan(), torch.nan, between)  # NaNs are sorted last


def nonfinite(x: Tensor) -> Tensor:
    """Number of NaN and infinite entries: [replica, ...] -> [replica], wide."""
    return (~x.isfinite()).reshape(x.shape[0], -1).sum(dim=1).to(wide_dtype(x))


def surely_finite(x: Tensor) -> bool:
    """Whether every entry is certainly finite, as their sum is. Elsewhere than on the CPU it is False: the host would
    have to wait for the sum."""
    return x.device.type == "cpu" and isfinite(abs(x.sum().item()))
