"""Precision, recall and F1 of verdicts against the truth, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import NamedTuple

import numpy as np

Z = 1.959964  # 95 %, two-sided

Rate = tuple[float, float, float]


class Score(NamedTuple):
    """examples: nets with the fault; each rate as (value, low, high), nan where it has no denominator"""

    examples: int
    precision: Rate
    recall: Rate
    f1: Rate


def score(truth: Sequence[bool | None], called: Sequence[bool]) -> Score:
    """One fault over many nets; nets whose truth is None are left out. All intervals are Wilson's.

    F1 = 2 F / (1 + F) grows with F = hits / (hits + errors), a share of the nets that have the fault or are said to
    (Hand, Christen and Kirielle 2021), so that its interval is that of F, which has a width even without an error.
    """
    pairs = [(true, call) for true, call in zip(truth, called, strict=True) if true is not None]
    right = sum(true and call for true, call in pairs)
    wrong = sum(call and not true for true, call in pairs)
    missed = sum(true and not call for true, call in pairs)
    value, low, high = (2 * share / (1 + share) for share in wilson(right, right + wrong + missed))
    return Score(
        right + missed, wilson(right, right + wrong), wilson(right, right + missed), (value, low, high)
    )


def wilson(hits: int, trials: int) -> Rate:
    """A share with Wilson's interval (1927)."""
    if not trials:
        return (np.nan, np.nan, np.nan)
    p = hits / trials
    middle = (p + Z**2 / (2 * trials)) / (1 + Z**2 / trials)
    half = Z * sqrt(p * (1 - p) / trials + Z**2 / (4 * trials**2)) / (1 + Z**2 / trials)
    return (p, max(middle - half, 0.0), min(middle + half, 1.0))
