"""torchmortem 0.1.1: its detectors with their default parameters, as the package defines them.

It watches each step, and judges the whole run when that is over. A layer is a module that has parameters, a gradient
the one by the module's output. "The second half" is of the steps; each record in it counts once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from gradlab.analyse.records import Array, Records
from gradlab.analyse.ruleset import OTHER, Answer, Hit, NotApplicable, Rule, published
from gradlab.analyse.rulesets._shared import (
    WITHOUT_SHARE,
    WITHOUT_SIZES,
    Bounds,
    column,
    every_loss,
    first_hit,
    mostly_near_one,
    output_gradients,
)

Bools = NDArray[np.bool_]
Check = Callable[[Records, int], Answer]

NOTHING = 1e-30
VANISHING_RATIO = 100.0
EXPLODING_NORM = 1000.0
STALL_NORM, STALL_SHARE = 1e-8, 0.3
LOW_UPDATE, HIGH_UPDATE = 1e-5, 1e-1
DEAD_SHARE, SUSTAINED = 0.5, 0.5
WEIGHT_GROWTH, WEIGHT_STILL, WEIGHT_IMBALANCE = 10.0, 1e-4, 100.0
STILL_STEPS = 4
LOW_SNR, SNR_STEPS, SNR_RECORDS = 1.0, 20, 5
SMOOTHING = 0.1
LOSS_STEPS = 10
DIVERGENCE_WINDOW, DIVERGENCE_LEAST, RISING_SHARE, RISE = 20, 5, 0.8, 1.5
PLATEAU_WINDOW, PLATEAU_RANGE = 20, 1e-5
CATAPULT_SHARE, CATAPULT_LEAST, CATAPULT_SPIKE = 10, 5, 2.0


# -- gradient_flow -----------------------------------------------------------------------------------------------


def vanishing(records: Records, seed: int) -> Answer:
    """The last layer's mean norm over the second half at least 100 times the first layer's, or the latter's 0.

    The published rule also fires where the ratio is NaN, which its words do not say; it does not here.
    """
    norm = str(records.cell.get("norm", "none"))
    if norm not in ("none", "own") and "position=post" not in norm:
        return NotApplicable("the gradient in front of a layer's norm is not recorded")
    norms = _gradients(records, seed)
    if isinstance(norms, NotApplicable):
        return norms
    layers = np.flatnonzero(np.isfinite(norms.low).any(0))
    if len(layers) < 2:
        return None
    late = _second_half(records, seed)
    ends = layers[[0, -1]]
    (low_first, low_last), (high_first, high_last) = (side[late][:, ends].mean(0) for side in norms)
    start = int(late.argmax())
    if high_first < NOTHING:
        return Hit(start, int(layers[0]), "no gradient in the first layer, in the second half of the steps")
    with np.errstate(divide="ignore", invalid="ignore"):
        least, most = low_last / high_first, high_last / low_first
    if least >= VANISHING_RATIO:
        return Hit(start, int(layers[0]), f"gradient {least:.3g} times smaller than the last layer's")
    return WITHOUT_SIZES if most >= VANISHING_RATIO else None


def exploding(records: Records, seed: int) -> Answer:
    """The norm of any layer above 1000 at any step."""
    norms = _gradients(records, seed)
    if isinstance(norms, NotApplicable):
        return norms
    hit = first_hit(norms.low > EXPLODING_NORM, lambda t, i: f"norm of the gradient {norms.low[t, i]:.3g}")
    return hit or (WITHOUT_SIZES if (norms.high > EXPLODING_NORM).any() else None)


def stalling(records: Records, seed: int) -> Answer:
    """The norm of a layer below 1e-8 in at least 30 % of all steps; a record counts for the steps until the next."""
    norms = _gradients(records, seed)
    if isinstance(norms, NotApplicable):
        return norms
    there = np.flatnonzero(records.in_layers[seed])
    stands_for = np.append(np.diff(records.steps[there]), 1)
    low, high = (stands_for @ (side[there] < STALL_NORM) / stands_for.sum() for side in norms)
    if (high >= STALL_SHARE).any():
        layer = int((high >= STALL_SHARE).argmax())
        first = int((norms.high[:, layer] < STALL_NORM).argmax())
        return Hit(first, layer, f"gradient below {STALL_NORM:g} in {high[layer]:.0%} of the steps")
    return WITHOUT_SIZES if (low >= STALL_SHARE).any() else None


# -- update_ratio ------------------------------------------------------------------------------------------------


def update_too_low(records: Records, seed: int) -> Answer:
    """A layer's median ||dW|| / ||W|| over the second half, steps without any update aside, below 1e-5."""
    ratios = _updates(records, seed)
    if ratios is None or isinstance(ratios, NotApplicable):
        return ratios
    return _update(ratios, ratios[1].high < LOW_UPDATE, ratios[1].low < LOW_UPDATE)


def update_too_high(records: Records, seed: int) -> Answer:
    """That median above 0.1."""
    ratios = _updates(records, seed)
    if ratios is None or isinstance(ratios, NotApplicable):
        return ratios
    return _update(ratios, ratios[1].low > HIGH_UPDATE, ratios[1].high > HIGH_UPDATE)


def _update(ratios: tuple[int, Bounds], certain: Bools, possible: Bools) -> Answer:
    start, medians = ratios
    if certain.any():
        layer = int(certain.argmax())
        return Hit(start, layer, f"median update ratio {medians.low[layer]:.2g} in the second half")
    return NotApplicable("the weights after each update are not recorded") if possible.any() else None


def _updates(records: Records, seed: int) -> tuple[int, Bounds] | NotApplicable | None:
    """The record that the second half begins with, and each layer's median ratio in it.

    The published ratio is to the weights after the update: at the next record, where that is of the next step.
    Elsewhere their norm lies between 1 - r and 1 + r of the one before. The first step is left out.
    """
    ratio = column(records, seed, "update_ratio")
    if isinstance(ratio, NotApplicable):
        return ratio
    updated = np.isfinite(ratio) | (records.every_layer("nonfinite")[seed] > 0)
    last = int(records.steps[updated.any(1)].max())
    late = records.in_layers[seed] & (records.steps > last // 2) & (records.steps <= last)
    if last < 1 or not late.any():
        return None
    weights = records.every_layer("weight_norm")[seed]
    after = np.full_like(weights, np.nan)
    after[:-1] = np.where(np.diff(records.steps)[:, None] == 1, weights[1:], np.nan)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        exact = np.where(weights == 0, 1.0, ratio * weights / after)
        known = np.isfinite(exact) & (ratio > 0)
        low = np.where(known, exact, np.where(np.isinf(ratio), 1.0, ratio / (1 + ratio)))
        high = np.where(known, exact, np.where(ratio < 1, ratio / (1 - ratio), np.inf))
    moved = late[:, None] & (ratio > 0)
    bounds = (_medians(side, moved) for side in (low, high))
    return int(late.argmax()), Bounds(*bounds)


def _medians(values: Array, chosen: Bools) -> Array:
    """[layer]: the median of the chosen entries; NaN where there is none."""
    pairs = zip(values.T, chosen.T, strict=True)
    return np.array([np.median(each[rows]) if rows.any() else np.nan for each, rows in pairs])


# -- dead_units, saturation --------------------------------------------------------------------------------------


def dead_units(records: Records, seed: int) -> Answer:
    """More than half of a layer's outputs below 1e-6 in at least half of the second half: certain where they are 0.

    It counts single outputs and not units. Outputs that are small and not 0 are counted by the published rule alone.
    """
    zeros = column(records, seed, "zero_fraction")
    if isinstance(zeros, NotApplicable):
        return zeros
    return _sustained(
        records, seed, zeros > DEAD_SHARE, f"more than {DEAD_SHARE:.0%} of the layer's outputs are 0"
    )


def saturation(records: Records, seed: int) -> Answer:
    """More than half of a layer's outputs beyond 0.95 in at least half of the second half, whatever the activation.

    h_rms makes it certain for most of saturated sigmoids and tanhs; elsewhere nothing is known of it.
    """
    hit = _sustained(records, seed, mostly_near_one(records, seed), "more than 50% of |h| above 0.95")
    return hit or WITHOUT_SHARE


def _sustained(records: Records, seed: int, holds: Bools, evidence: str) -> Hit | None:
    late = _second_half(records, seed)
    share = holds[late].mean(0) if late.any() else np.zeros(holds.shape[1])
    if not (share >= SUSTAINED).any():
        return None
    layer = int((share >= SUSTAINED).argmax())
    first = int((late & holds[:, layer]).argmax())
    return Hit(first, layer, f"{evidence}, in {share[layer]:.0%} of the second half")


# -- weight_norm -------------------------------------------------------------------------------------------------


def weight_explosion(records: Records, seed: int) -> Answer:
    """||W|| of a layer above 10 times what it was after the first update."""
    return _growth(records, seed, 2, lambda ratio: ratio > WEIGHT_GROWTH)


def weight_stagnation(records: Records, seed: int) -> Answer:
    """||W|| of a layer that changed by less than 1e-4 of itself from the first update on, in 4 steps or more."""
    return _growth(records, seed, STILL_STEPS, lambda ratio: np.abs(ratio - 1) < WEIGHT_STILL)


def weight_imbalance(records: Records, seed: int) -> Answer:
    """The largest ||W|| of a layer at the end at least 100 times the smallest that is not 0."""
    norm = column(records, seed, "weight_norm")
    if isinstance(norm, NotApplicable):
        return norm
    end = int(np.flatnonzero(records.in_layers[seed])[-1])
    final = np.where(norm[end] > NOTHING, norm[end], np.nan)
    if (~np.isnan(final)).sum() < 2:
        return None
    ratio = float(np.nanmax(final) / np.nanmin(final))
    if not ratio >= WEIGHT_IMBALANCE:
        return None
    return Hit(end, int(np.nanargmin(final)), f"||W|| {ratio:.3g} times smaller than the largest")


def _growth(records: Records, seed: int, steps: int, holds: Callable[[Array], Bools]) -> Answer:
    norm = column(records, seed, "weight_norm")
    if isinstance(norm, NotApplicable):
        return norm
    there = np.flatnonzero(records.in_layers[seed])
    first, end = there[records.steps[there] == 1], int(there[-1])
    if records.steps[end] < steps:
        return None
    if not len(first):
        return NotApplicable("the weights after the first update are not recorded")
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(norm[first[0]] < NOTHING, np.nan, norm[end] / norm[first[0]])
        layers = holds(ratio)
    if not layers.any():
        return None
    layer = int(layers.argmax())
    return Hit(end, layer, f"||W|| {ratio[layer]:.6g} times that after the first update")


# -- gradient_noise, rank_collapse -------------------------------------------------------------------------------


def noise(records: Records, seed: int) -> Answer:
    """Mean over the layers of mean(norm) / std(norm) below 1, in the second half of 20 steps or more.

    How many numbers a layer puts out for a sample falls out of the ratio.
    """
    norms = _gradients(records, seed)
    if isinstance(norms, NotApplicable):
        return norms
    late = _second_half(records, seed)
    if records.steps[records.in_layers[seed]].max() + 1 < SNR_STEPS:
        return None
    if records.in_layers[seed].sum() < SNR_STEPS or late.sum() < SNR_RECORDS:
        return NotApplicable("fewer records than the rule asks for steps")
    values = norms.low[:, np.isfinite(norms.low).any(0)][late]
    with np.errstate(invalid="ignore"):
        mean, std = values.mean(0), values.std(0)
    counted = ~((mean < NOTHING) | (std < NOTHING))
    if not counted.any():
        return None
    snr = float((mean[counted] / std[counted]).mean())
    return Hit(int(late.argmax()), None, f"signal to noise {snr:.2g}") if snr < LOW_SNR else None


def rank_collapse(records: Records, seed: int) -> Answer:
    return NotApplicable("the effective rank of the activations is not recorded")


# -- loss_dynamics -----------------------------------------------------------------------------------------------


def divergence(records: Records, seed: int) -> Answer:
    """The smoothed loss rises in 80 % of the last 20 steps (of half of a shorter run), to 1.5 times or more."""
    found = every_loss(records, seed)
    if isinstance(found, NotApplicable):
        return found
    when, loss = found
    window = min(DIVERGENCE_WINDOW, len(loss) // 2)
    if len(loss) < LOSS_STEPS or window < DIVERGENCE_LEAST:
        return None
    tail = _smoothed(loss)[-window:]
    with np.errstate(invalid="ignore"):
        rising = float((np.diff(tail) > 0).mean())
    if rising < RISING_SHARE or (tail[0] > NOTHING and tail[-1] / tail[0] < RISE):
        return None
    return Hit(int(when[-window]), None, f"smoothed loss from {tail[0]:.4g} to {tail[-1]:.4g}")


def plateau(records: Records, seed: int) -> Answer:
    """The smoothed loss within 1e-5 of its mean over 20 steps of the second half, in a run of 40 or more."""
    found = every_loss(records, seed)
    if isinstance(found, NotApplicable):
        return found
    when, loss = found
    smoothed, count = _smoothed(loss), len(loss)
    for i in range(count // 2, count - PLATEAU_WINDOW, PLATEAU_WINDOW) if count >= 2 * PLATEAU_WINDOW else ():
        part = smoothed[i : i + PLATEAU_WINDOW]
        if part.mean() >= NOTHING and (part.max() - part.min()) / part.mean() < PLATEAU_RANGE:
            return Hit(int(when[i]), None, f"smoothed loss {part.mean():.6g} for {PLATEAU_WINDOW} steps")
    return None


def catapult(records: Records, seed: int) -> Answer:
    """In the first tenth of the steps (at least 5) a loss above twice the mean of those before it, from the third on,
    and in as many steps again one below that mean. The tool calls it harmless."""
    found = every_loss(records, seed)
    if isinstance(found, NotApplicable):
        return found
    when, loss = found
    if len(loss) < LOSS_STEPS:
        return None
    early = max(len(loss) // CATAPULT_SHARE, CATAPULT_LEAST)
    for i in range(2, early):
        before = float(loss[:i].mean())
        if loss[i] > CATAPULT_SPIKE * before and (loss[i + 1 : i + early] < before).any():
            return Hit(int(when[i]), None, f"loss {loss[i]:.4g} after a mean of {before:.4g}, and back")
    return None


def edge_of_stability(records: Records, seed: int) -> Answer:
    return NotApplicable("the loss's curvature is not recorded")


def _smoothed(loss: Array) -> Array:
    """Its exponential moving average."""
    smoothed = [float(loss[0])]
    for value in loss[1:].tolist():
        smoothed.append(SMOOTHING * value + (1 - SMOOTHING) * smoothed[-1])
    return np.array(smoothed)


# -- insights ----------------------------------------------------------------------------------------------------


def _together(*sides: Sequence[Check]) -> Check:
    """One rule at least of each side fires."""

    def check(records: Records, seed: int) -> Answer:
        answers = [[rule(records, seed) for rule in side] for side in sides]
        hits = [[answer for answer in side if isinstance(answer, Hit)] for side in answers]
        if all(hits):
            parts = [side[0] for side in hits]
            last = max(parts, key=lambda hit: hit.record)
            return last._replace(evidence="; ".join(part.evidence for part in parts))
        if any(all(answer is None for answer in side) for side in answers):
            return None
        return next(
            answer
            for side, found in zip(answers, hits, strict=True)
            if not found
            for answer in side
            if isinstance(answer, NotApplicable)
        )

    return check


# -- what the rules share ----------------------------------------------------------------------------------------


def _gradients(records: Records, seed: int) -> Bounds | NotApplicable:
    """[T, L + 1]: norms by a layer's output; 0, as the tool writes it, where no gradient reached a layer that gets one
    at other records. A layer that never gets one is left out of the records: it may be frozen on purpose."""
    norms = output_gradients(records, seed)
    if isinstance(norms, NotApplicable):
        return norms
    trains = records.every_layer("weight_grad_norm")[seed] > 0
    sound = records.every_layer("nonfinite")[seed] == 0
    missed = np.isnan(norms.low) & sound & ~trains & np.isfinite(norms.low).any(0)
    return Bounds(*(np.where(missed, 0.0, side) for side in norms))


def _second_half(records: Records, seed: int) -> Bools:
    """[T]: the seed's records from the middle of its steps on."""
    there = records.in_layers[seed]
    last = records.steps[there].max() if there.any() else 0
    return np.asarray(there & (records.steps >= (last + 1) // 2))


GRADIENT_FLOW = (vanishing, exploding, stalling)

RULESET = published(
    name="torchmortem",
    order=40,
    summary="torchmortem 0.1.1, its detectors with their default parameters",
    rules=[
        Rule("Vanishing gradients detected", "vanishing", vanishing),
        Rule("Exploding gradients detected", "exploding", exploding),
        Rule("Gradient stalling", "no-gradient", stalling),
        Rule("Update ratio too low", "rate-too-low", update_too_low),
        Rule("Update ratio too high", "rate-too-high", update_too_high),
        Rule("Dead units", "dead", dead_units),
        Rule("Activation saturation", "saturated", saturation),
        Rule("Training divergence detected", "diverged", divergence),
        Rule("Loss plateau detected", "not-learning", plateau),
        Rule("Catapult phase detected", OTHER, catapult),
        Rule("Edge of stability regime detected", OTHER, edge_of_stability),
        Rule("Rank collapse", OTHER, rank_collapse),
        Rule("Weight norm explosion", "unstable", weight_explosion),
        Rule("Stagnant weight norms", "not-learning", weight_stagnation),
        Rule("Inter-layer weight norm imbalance", OTHER, weight_imbalance),
        Rule("High gradient noise (low SNR)", OTHER, noise),
        Rule("gradient_starvation", "dead", _together(GRADIENT_FLOW, (dead_units,))),
        Rule("instability_feedback_loop", "unstable", _together((exploding,), (weight_explosion,))),
        Rule(
            "representation_bottleneck",
            OTHER,
            _together((rank_collapse,), (divergence, plateau)),
        ),
        Rule("curvature_traps", OTHER, _together((edge_of_stability,), (plateau,))),
    ],
)
