"""How far the updates move the weights, and at which rate: what verdicts and cures that speak of the rate read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from gradlab.analyse import cure
from gradlab.analyse import thresholds as at
from gradlab.analyse.cure import Cure
from gradlab.analyse.decay import Array
from gradlab.analyse.facts import Facts

BORN_EMPTY = 1e-3
"""Weights whose norm at the first record is below this share of the layers' median were zeroed on purpose: what their
first updates are relative to 0 says nothing of the rate."""


VISIBLE = 1e-5
"""||dW|| / ||W|| that float32 shows for sure: a hundred times its last digit."""

FADED = 0.01
"""Share of the highest rate that all rates of the second half stay below: too fast a decay. A cosine is at a half
there, and an exponential that ends at a thousandth is above it for two thirds of the way."""


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


def unmoved(facts: Facts, seed: int) -> bool:
    """Whether no weight changed from the first record to the last, although a gradient came."""
    size, gradient = (facts.records.parameters.get(name) for name in ("weight_norm", "weight_grad_norm"))
    if size is None or gradient is None:
        return False
    moved = facts.records.parameters.get("update_ratio")
    if moved is not None and (moved[seed] > 0).any():
        return False
    seen, came = size[seed][facts.counts[seed]], np.nan_to_num(gradient[seed][facts.counts[seed]]) > 0
    known = np.isfinite(seen).all(0) & came.any(0)
    return len(seen) > 1 and bool(known.any()) and bool((seen[:, known] == seen[0, known]).all())


def standing(facts: Facts, seed: int) -> tuple[int, ...]:
    """Modules whose gradient is large enough in every record and that are never moved, while others are: their group's
    rate is 0, or their updates round to nothing."""
    records = facts.records
    columns = [records.parameters.get(name) for name in ("update_ratio", "weight_grad_norm", "weight_norm")]
    if any(column is None for column in columns):
        return ()
    ratio, gradient, size = (column[seed][facts.counts[seed]] for column in columns if column is not None)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = gradient / size
        pace = np.nanmax(np.where(relative > 0, ratio / relative, np.nan), -1, keepdims=True, initial=0.0)
        would = pace * relative  # by plain descent, at the rate of those that move
    known = np.isfinite(ratio)
    still = (
        (known.sum(0) >= at.RECENT) & ((ratio == 0) | ~known).all(0) & ((would >= VISIBLE) | ~known).all(0)
    )
    return tuple(np.flatnonzero(still).tolist())


def no_rate(facts: Facts, seed: int) -> bool:
    """Whether the rate was exactly 0 in every record behind the first."""
    rates = facts.records.step("learning_rate")[seed][1:]
    known = rates[np.isfinite(rates)]
    return len(known) > 0 and bool((known == 0).all())


def faded(facts: Facts, seed: int) -> str:
    """From which rate to which a schedule led, where most of the updates had next to none; "" otherwise."""
    rates, steps = facts.records.step("learning_rate")[seed], facts.records.steps
    known = np.isfinite(rates)
    if not known.any():
        return ""
    late = known & (steps >= steps[known][-1] / 2)
    highest = float(rates[known].max())
    if highest == 0 or float(rates[late].max()) >= FADED * highest:
        return ""
    first = int(steps[known & (rates < FADED * highest)][0])
    return f"the schedule takes the rate from {highest:g} to less than a hundredth of it by step {first}"


def at_rate(facts: Facts, seed: int) -> str:
    """` at rate 0.03`; "" where no rate was recorded."""
    rate = float(facts.records.known("learning_rate")[seed])
    return f" at rate {rate:g}" if np.isfinite(rate) else ""


def other_rate(facts: Facts, seeds: Sequence[int], factor: float, reason: str) -> Iterator[Cure]:
    """The first seed's rate times a factor, or what keeps any rate from helping; nothing where none was recorded."""
    if faded(facts, seeds[0]):
        yield cure.code(
            "scheduler.step()",
            "call it as often as the schedule counts: once an epoch where it counts epochs, not after every batch",
        )
        return
    rate = float(facts.records.known("learning_rate")[seeds[0]])
    if np.isfinite(rate) and rate > 0 and not unmoved(facts, seeds[0]):
        yield cure.rate(rate * factor, reason)
