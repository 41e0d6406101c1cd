"""How far the updates move the weights: what the verdicts on the rate read."""

from __future__ import annotations

import numpy as np

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
