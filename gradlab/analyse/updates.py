"""How far the updates move the weights, and at which rate: what verdicts and cures that speak of the rate read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from gradlab.analyse import cure
from gradlab.analyse.cure import Cure
from gradlab.analyse.decay import Array
from gradlab.analyse.facts import Facts

BORN_EMPTY = 1e-3
"""Weights whose norm at the first record is below this share of the layers' median were zeroed on purpose: what their
first updates are relative to 0 says nothing of the rate."""


def ratios(facts: Facts, seed: int) -> Array:
    """[T, R]: ||dW|| / ||W|| of each module's weights at each record, nan where it says nothing."""
    records = facts.records
    ratio = records.parameters.get("update_ratio")
    if ratio is None:
        return np.full((len(records.steps), 1), np.nan)
    found = np.where(np.isfinite(ratio[seed]), ratio[seed], np.nan)
    size = records.parameters.get("weight_norm")
    if size is not None:
        first = size[seed][records.in_layers[seed].argmax()]
        with np.errstate(invalid="ignore"):
            usual = np.nanmedian(first) if np.isfinite(first).any() else 0.0
            found[:, first <= BORN_EMPTY * usual] = np.nan
    return found


def typical(ratio: Array) -> Array:
    """[T]: the median over the modules."""
    known = np.isfinite(ratio).any(-1)
    result = np.full(len(ratio), np.nan)
    result[known] = np.nanmedian(ratio[known], axis=-1)
    return result


def at_rate(facts: Facts, seed: int) -> str:
    """` at rate 0.03`; "" where no rate was recorded."""
    rate = float(facts.records.known("learning_rate")[seed])
    return f" at rate {rate:g}" if np.isfinite(rate) else ""


def other_rate(facts: Facts, seeds: Sequence[int], factor: float, reason: str) -> Iterator[Cure]:
    """The first seed's rate times a factor; nothing where no rate was recorded."""
    rate = float(facts.records.known("learning_rate")[seeds[0]])
    if np.isfinite(rate):
        yield cure.rate(rate * factor, reason)
