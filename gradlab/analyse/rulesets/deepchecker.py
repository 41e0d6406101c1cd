"""TheDeepChecker's checks during training (Ben Braiek and Khomh 2023)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gradlab.analyse.records import Array, Records
from gradlab.analyse.ruleset import OTHER, Answer, Hit, NotApplicable, Rule, published
from gradlab.analyse.rulesets._shared import column, first_hit, not_finite, zeros_bear_out

Bools = NDArray[np.bool_]

DEAD_LAYER = 0.5
STD_LOW, STD_HIGH = 0.5, 2.0
VANISHING, EXPLODING = 1e-6, 1e6
SHRINK, GROW = 0.5, 2.0


def dead(records: Records, seed: int) -> Answer:
    """p95 of |h| below 1e-5 in more than half of a layer: certain for units active on fewer than 1 % of the probe.

    Units active on 1 to 5 % are counted by the published rule and not here: no record has each unit's percentile.
    """
    zeros = column(records, seed, "zero_fraction")
    share = column(records, seed, "low_activity_fraction")
    if isinstance(share, NotApplicable):
        return share
    if isinstance(zeros, NotApplicable) or not (zeros > 0).any():
        return NotApplicable("each unit's 95th percentile is not recorded, and no output is exactly 0")
    return first_hit(
        (share > DEAD_LAYER) & zeros_bear_out(records, seed, share),
        lambda t, i: f"{share[t, i]:.0%} of the units are 0 on 95 % of the samples",
    )


def saturation(records: Records, seed: int) -> Answer:
    return NotApplicable("rho_B needs each unit's histogram, which is not recorded")


def activation_range(records: Records, seed: int) -> Answer:
    """A layer's activations with a standard deviation outside [0.5, 2]."""
    rms = column(records, seed, "h_rms")
    mean = column(records, seed, "h_mean")
    if isinstance(rms, NotApplicable) or isinstance(mean, NotApplicable):
        return NotApplicable("h_rms and h_mean are not recorded")
    with np.errstate(invalid="ignore", over="ignore"):
        std = np.sqrt(np.maximum(rms**2 - mean**2, 0))
    return first_hit((std < STD_LOW) | (std > STD_HIGH), lambda t, i: f"std of h = {std[t, i]:.3g}")


def vanishing(records: Records, seed: int) -> Answer:
    """mean |g| of a layer below 1e-6, or every layer's at most half of that above."""
    return _gradient(records, seed, lambda g: g < VANISHING, lambda ratio: ratio <= SHRINK)


def exploding(records: Records, seed: int) -> Answer:
    """mean |g| of a layer above 1e6, or every layer's at least twice that above."""
    return _gradient(records, seed, lambda g: g > EXPLODING, lambda ratio: ratio >= GROW)


def learning_rate(records: Records, seed: int) -> Answer:
    return NotApplicable("mean |W| is not recorded")


def _gradient(
    records: Records, seed: int, size: Callable[[Array], Bools], step: Callable[[Array], Bools]
) -> Answer:
    gradient = column(records, seed, "weight_grad_mean_abs")
    if isinstance(gradient, NotApplicable):
        return gradient
    hit = first_hit(size(gradient), lambda t, i: f"mean |g| = {gradient[t, i]:.2g}")
    layers = gradient[:, np.isfinite(gradient).any(0)]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = layers[:, :-1] / layers[:, 1:]
    everywhere = step(ratios).all(1) & (ratios.shape[1] > 0)
    if everywhere.any() and (hit is None or everywhere.argmax() < hit.record):
        t = int(everywhere.argmax())
        return Hit(t, 0, f"mean |g| changes by {ratios[t].min():.2g} to {ratios[t].max():.2g} at every layer")
    return hit


RULESET = published(
    name="deepchecker",
    order=30,
    summary="TheDeepChecker's checks during training (Ben Braiek and Khomh 2023)",
    rules=[
        Rule("Dead activations", "dead", dead),
        Rule("Saturated activations", "saturated", saturation),
        Rule("Activation std out of range", OTHER, activation_range),
        Rule("Exploding gradient", "exploding", exploding),
        Rule("Vanishing gradient", "vanishing", vanishing),
        Rule("Numerical instability", "diverged", not_finite),
        Rule("Learning too fast or slow", OTHER, learning_rate),
    ],
)
