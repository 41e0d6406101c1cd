"""Statistics over seeds: means, 95 % intervals, paired differences. A single seed has no interval: nan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit  # scipy.stats costs a second of import

Array = NDArray[np.float64]
CONFIDENCE = 0.95


class Estimate(NamedTuple):
    """mean; half_width of its confidence interval (nan for a single seed); `seeds`: how many. Shape [...]."""

    mean: Array
    half_width: Array
    seeds: int


class Difference(NamedTuple):
    """A paired difference a - b over common seeds.

    mean, half_width: of the difference; p_value: two-sided, of Student's paired t test; pairs: how many
    `within_noise` is True when the interval contains 0, and when there is no interval (one pair, or a value that
    is not finite).
    """

    mean: float
    half_width: float
    p_value: float
    pairs: int

    @property
    def within_noise(self) -> bool:
        return not abs(self.mean) > self.half_width


def mean_interval(values: ArrayLike) -> Estimate:
    """Mean over the last axis (seeds) and the half width of Student's t interval, t(n - 1) s / sqrt(n).

    A value that is not a number in any seed makes both nan, an infinite one makes the mean infinite: no seed is
    left out silently.
    """
    x = np.asarray(values, dtype=np.float64)
    n = x.shape[-1]
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        mean = x.mean(-1)
        if n < 2:
            return Estimate(mean, np.full_like(mean, np.nan), n)
        half = stdtrit(n - 1, 0.5 + CONFIDENCE / 2) * x.std(-1, ddof=1) / np.sqrt(n)
    return Estimate(mean, half, n)


def paired_difference(a: ArrayLike, b: ArrayLike) -> Difference:
    """a - b, seed by seed, with its t interval. a, b: [seeds], the same seeds in the same order."""
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    assert x.shape == y.shape and x.ndim == 1, "paired values: one of each for every seed"
    with np.errstate(invalid="ignore"):
        d = x - y
    mean, half, n = mean_interval(d)
    if n < 2 or not np.isfinite(half):
        return Difference(float(mean), np.nan, np.nan, n)
    error = float(d.std(ddof=1)) / np.sqrt(n)
    if error == 0:
        return Difference(float(mean), 0.0, 1.0 if mean == 0 else 0.0, n)
    return Difference(float(mean), float(half), float(2 * stdtr(n - 1, -abs(mean) / error)), n)


def difference_over_common(mine: Mapping[int, float], other: Mapping[int, float]) -> Difference:
    """`paired_difference` of two trainings over the seeds that both have; each gives a value by seed."""
    common = [seed for seed in mine if seed in other]
    if not common:
        return Difference(np.nan, np.nan, np.nan, 0)
    return paired_difference([mine[seed] for seed in common], [other[seed] for seed in common])


def paired_p_values(values: Array, other: Array, common: NDArray[np.bool_]) -> Array:
    """[cell]: the p_value of `paired_difference` of many cells against one, over the seeds that each shares with it.

    values: [cell, seed]; other: [seed]; common: [cell, seed]
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        d = np.where(common, values - other, 0.0)
        n = common.sum(1)
        mean = d.sum(1) / n
        deviation = np.where(common, d - mean[:, None], 0.0)
        error = np.sqrt((deviation**2).sum(1) / (n - 1) / n)
        p: Array = 2 * stdtr(n - 1.0, -np.abs(mean) / error)
    p[error == 0] = np.where(mean[error == 0] == 0, 1.0, 0.0)
    p[(n < 2) | ~np.isfinite(error)] = np.nan
    return p
