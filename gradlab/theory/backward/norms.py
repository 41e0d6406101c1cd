"""Normalisation: delta is divided by the scale of what was normalised, and loses its mean and its part along x.

y = gamma (x - mean) / sigma gives d x = (g - mean g - x_hat mean(g x_hat)) / sigma with g = gamma d y, where the means
run over the N entries that are normalised together. The two projections take the shares `coherence` and 1 / N of E g^2
(Ba et al. 2016; Ioffe and Szegedy 2015; Yang et al. 2019).
"""

from __future__ import annotations

from dataclasses import replace
from math import nan

from gradlab.theory.backward.field import Factor, Field, scaled


def normalised(field: Field, scale: Factor, share: float, entries: float) -> Field:
    """Behind a norm.

    scale: gamma / sigma; share: of E g^2 that lies in the mean of those normalised together, `coherence` of them;
    entries: how many these are
    """
    behind = scaled(field, scale)
    if share > MOST_TAKEN:
        return replace(behind, square=nan)
    return replace(behind, square=behind.square * max(1 - share - 1 / entries, 0.0))


MOST_TAKEN = 0.25
"""Where the mean has more of E g^2, as under instance norm in front of a mean over all places, so has the signal: an
activation lets more through where the signal is larger. There is no theory for that."""
