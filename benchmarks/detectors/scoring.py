"""Precision, recall and F1 of verdicts against the truth, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import NamedTuple

import numpy as np

Z = 1.959964  # 95 %, two-sided
DRAWS = 2000


class Score(NamedTuple):
    """examples: nets with the fault; each rate as (value, low, high), nan where it has no denominator"""

    examples: int
    precision: tuple[float, float, float]
    recall: tuple[float, float, float]
    f1: tuple[float, float, float]


def score(truth: Sequence[bool | None], called: Sequence[bool]) -> Score:
    """One fault over many nets; nets whose truth is None are left out.

    Precision and recall have Wilson's interval, F1 the percentile bootstrap over nets.
    """
    pairs = np.array([(t, c) for t, c in zip(truth, called, strict=True) if t is not None], dtype=bool)
    right, wrong, missed = _counts(pairs)
    random = np.random.default_rng(0)
    drawn = pairs[random.integers(len(pairs), size=(DRAWS, len(pairs)))]
    values = [_f1(*_counts(sample)) for sample in drawn]
    low, high = np.nanpercentile(values, (2.5, 97.5)) if np.isfinite(values).any() else (np.nan, np.nan)
    return Score(
        right + missed,
        wilson(right, right + wrong),
        wilson(right, right + missed),
        (_f1(right, wrong, missed), float(low), float(high)),
    )


def wilson(hits: int, trials: int) -> tuple[float, float, float]:
    """A share with its 95 % interval (Wilson 1927)."""
    if not trials:
        return (np.nan, np.nan, np.nan)
    p = hits / trials
    middle = (p + Z**2 / (2 * trials)) / (1 + Z**2 / trials)
    half = Z * sqrt(p * (1 - p) / trials + Z**2 / (4 * trials**2)) / (1 + Z**2 / trials)
    return (p, max(middle - half, 0.0), min(middle + half, 1.0))


def _counts(pairs: np.ndarray) -> tuple[int, int, int]:
    true, called = pairs[:, 0], pairs[:, 1]
    return int((true & called).sum()), int((~true & called).sum()), int((true & ~called).sum())


def _f1(right: int, wrong: int, missed: int) -> float:
    return 2 * right / (2 * right + wrong + missed) if right + wrong + missed else np.nan
