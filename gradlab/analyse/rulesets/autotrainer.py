"""AutoTrainer's detection rules (Zhang, Zhai, Ma and Shen, ICSE 2021)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gradlab.analyse.records import Array, Records
from gradlab.analyse.ruleset import OTHER, Answer, Hit, NotApplicable, Rule, published
from gradlab.analyse.rulesets._shared import column, not_finite

Bools = NDArray[np.bool_]

VANISH_RATIO, VANISH_NORM = 1e-3, 1e-4
EXPLODE_RATIO = 70.0
ZERO_SHARE = 0.7
BAD_ACCURACY = 0.7
SLOW_GAIN = 0.01


def dying_relu(records: Records, seed: int) -> Answer:
    """At least 70 % of all gradient elements exactly 0, in a net with bad accuracy."""
    if _good(records, seed):
        return None
    zeros = column(records, seed, "grad_zero_fraction")
    sizes = records.every_layer("fan_in")[seed] * records.every_layer("fan_out")[seed]
    if isinstance(zeros, NotApplicable):
        return zeros
    if not np.isfinite(sizes).any():
        return NotApplicable("fan_in and fan_out are not recorded")
    share = np.nansum(zeros * sizes, 1) / np.maximum(
        np.nansum(np.where(np.isnan(zeros), np.nan, sizes), 1), 1
    )
    return _first(share >= ZERO_SHARE, lambda t: f"{share[t]:.0%} of all gradient elements are 0")


def explode(records: Records, seed: int) -> Answer:
    """||g_1|| / ||g_L|| above 70, in a net with bad accuracy."""
    return _gradient(records, seed, lambda first, ratio: ratio > EXPLODE_RATIO)


def explode_to_nan(records: Records, seed: int) -> Answer:
    """Any NaN, in a net with bad accuracy: the same rule's other half."""
    return None if _good(records, seed) else not_finite(records, seed)


def vanish(records: Records, seed: int) -> Answer:
    """||g_1|| / ||g_L|| below 1e-3 and ||g_1|| below 1e-4, in a net with bad accuracy."""
    return _gradient(records, seed, lambda first, ratio: (ratio < VANISH_RATIO) & (first < VANISH_NORM))


def slow(records: Records, seed: int) -> Answer:
    """No gain of 0.01 in accuracy from any record to the next (records stand for epochs)."""
    accuracy = records.step("train_accuracy")[seed]
    known = np.flatnonzero(np.isfinite(accuracy))
    if len(known) < 2:
        return NotApplicable("train_accuracy is not recorded twice")
    gain = float(np.diff(accuracy[known]).max())
    return Hit(int(known[-1]), None, f"best gain {gain:.3g} < {SLOW_GAIN:g}") if gain < SLOW_GAIN else None


def oscillating(records: Records, seed: int) -> Answer:
    return NotApplicable("the accuracy of every epoch is not recorded")


def _gradient(records: Records, seed: int, condition: Callable[[Array, Array], Bools]) -> Answer:
    if _good(records, seed):
        return None
    norm = column(records, seed, "weight_grad_norm")
    if isinstance(norm, NotApplicable):
        return norm
    first, last = norm[:, 0], norm[:, -1] if np.isfinite(norm[:, -1]).any() else norm[:, -2]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: Array = first / last
    return _first(
        condition(first, ratio), lambda t: f"||g_1|| = {first[t]:.2g}, ||g_1|| / ||g_L|| = {ratio[t]:.2g}"
    )


def _first(fires: Bools, evidence: Callable[[int], str]) -> Hit | None:
    return Hit(int(fires.argmax()), None, evidence(int(fires.argmax()))) if fires.any() else None


def _good(records: Records, seed: int) -> bool:
    """Whether training or validation accuracy ends at 0.7 or more: then no gradient verdict counts."""
    ends = (records.last_of_run("train_accuracy")[seed], records.last_of_run("val_accuracy")[seed])
    return any(accuracy >= BAD_ACCURACY for accuracy in ends)


RULESET = published(
    name="autotrainer",
    order=20,
    summary="AutoTrainer's detection rules (Zhang, Zhai, Ma and Shen, ICSE 2021)",
    rules=[
        Rule("Dying ReLU", "dead", dying_relu),
        Rule("Gradient explode (NaN)", "diverged", explode_to_nan),
        Rule("Gradient explode", "exploding", explode),
        Rule("Gradient vanish", "vanishing", vanish),
        Rule("Slow convergence", "not-learning", slow),
        Rule("Oscillating loss", OTHER, oscillating),
    ],
    exclusive=("Dying ReLU", "Gradient explode (NaN)", "Gradient explode", "Gradient vanish"),
)
