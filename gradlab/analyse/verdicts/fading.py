"""fading: a gradient that was there at the start is gone, and the loss has not fallen: what stops it was learned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradlab.analyse import cure
from gradlab.analyse import thresholds as at
from gradlab.analyse.cure import Cure
from gradlab.analyse.decay import Array
from gradlab.analyse.facts import Bools, Facts
from gradlab.analyse.fault import Fault
from gradlab.analyse.records import SEVERAL
from gradlab.analyse.remedy import Remedy, tidy
from gradlab.analyse.updates import other_rate
from gradlab.analyse.verdict import POOR, Verdict
from gradlab.config.sections import Network, Training

FADED = 1e-3
"""Share of the first records' delta from which on it has faded, in every layer of a path. delta is one sample's own, so
that it does not shrink where the gradients of a batch cancel: at the best fit to noisy targets it is the noise. That of
a sigmoid cross-entropy whose loss has not fallen is 1e-3 of its start's only where the outputs are all sure."""

CALM = "smaller steps do not drive units into their flat parts"

RECORDS = 2 * at.RECENT
"""Records from which there is a start and an end."""


class Course(NamedTuple):
    """left: [T], of a path's gradient, of the first records' delta the largest share in any layer, nan where there is
    none; start, end: of the loss in the records that have it; fell: whether it fell, None where that is not known"""

    left: Array
    start: float
    end: float
    fell: bool | None


def judge(facts: Facts) -> list[Fault | None]:
    return [_fault(facts, seed) for seed in range(len(facts.learning))]


def _fault(facts: Facts, seed: int) -> Fault | None:
    """Of a seed that learns nothing, or of which nobody knows; what broke off has another cause. So has a gradient that
    is exactly 0 where the units say why."""
    if facts.learned(seed) or facts.broke[seed]:
        return None
    last = int(np.flatnonzero(facts.counts[seed])[-1]) if facts.counts[seed].any() else 0
    for nth, (path, rows) in enumerate(facts.readings.items()):
        if facts.gradient_of(path).cause[seed, last]:
            continue
        course = _course(facts, seed, rows)
        when = np.flatnonzero(~np.isnan(course.left))
        if course.fell is not False or len(when) < RECORDS:
            continue
        gone: NDArray[np.bool_] = course.left[when] <= FADED
        if gone[-at.RECENT :].all():
            first = len(gone) - int((~gone[::-1]).argmax()) if not gone.all() else 0
            return Fault(int(when[first]), None, False, int(when[-1]), path=path if nth else "")
    return None


def _course(facts: Facts, seed: int, rows: Bools) -> Course:
    """What becomes of one seed's gradient in some layers [L]."""
    records, counts = facts.records, facts.counts[seed]
    delta = np.where(counts[:, None], records.layer("delta_rms")[seed][:, rows], np.nan)
    loss = records.step("train_loss")[seed]
    when = np.flatnonzero(np.isfinite(delta).any(-1))
    left, unknown = np.full(len(delta), np.nan), Course(np.full(len(delta), np.nan), np.nan, np.nan, None)
    long = len(when) >= RECORDS and records.steps[when[-1]] - records.steps[when[0]] >= at.LEARNING_STEPS
    if not long or not np.isfinite(loss[when]).all():
        return unknown
    if SEVERAL in records.words.get("optimizer_used", "") and len(when) == counts.sum():
        return unknown  # of several optimizers in turn nobody knows whose loss that is
    start = delta[when[: at.RECENT]]
    known = np.isfinite(start).all(0) & (start > 0).all(0)
    if not known.any():
        return unknown
    with np.errstate(invalid="ignore"):
        share = delta[when][:, known] / np.median(start[:, known], axis=0)
    left[when] = np.where(np.isfinite(share), share, -np.inf).max(-1)
    left[np.isneginf(left)] = np.nan
    first, end = loss[when[: at.RECENT]], loss[when[-at.RECENT :]]
    fell = first.mean() - end.mean() > max(at.LOSS_FALL * abs(first.mean()), 2 * end.std())
    return Course(left, float(first.mean()), float(end.mean()), bool(fell))


def evidence(facts: Facts, seeds: Sequence[int], faults: Sequence[Fault]) -> str:
    seed, fault = seeds[0], faults[0]
    name = fault.path or next(iter(facts.readings))
    rows = facts.rows_of(fault.path)
    course = _course(facts, seed, rows)
    where = f"along {'the ' * (not fault.path)}{name}" if name else "in every layer"
    count = int(rows.sum())
    return (
        f"the gradient {where} ({count} layer{'' if count == 1 else 's'}) is at most "
        f"{course.left[fault.reference]:.2g} of what the first records had, while the loss went from "
        f"{course.start:.3g} to {course.end:.3g}"
    )


def remedies(network: Network, training: Training) -> Iterator[Remedy]:
    yield Remedy({"training.lr": tidy(training.lr / 10)}, CALM, "Glorot and Bengio 2010")


def cures(facts: Facts, seeds: Sequence[int], faults: Sequence[Fault]) -> Iterator[Cure]:
    if facts.learning[seeds[0]].learned is None:
        yield cure.code(
            "loss = F.binary_cross_entropy_with_logits(discriminator(fake), torch.ones(len(fake), 1))",
            "where another model's output is the loss, log D in place of log(1 - D) keeps a gradient while that model "
            "is sure (Goodfellow et al. 2014)",
        )
        yield cure.code(
            "another rate, or fewer turns, of the model whose output is the loss",
            "a model that is sure of everything gives no gradient",
        )
    yield from other_rate(facts, seeds, 0.1, CALM)


VERDICT = Verdict(
    name="fading",
    order=45,
    summary="along a path the gradient is a thousandth of the first records' or less, and the loss has not fallen",
    headline="The gradient that was there at the start is gone",
    severity="stops learning",
    style=POOR,
    judge=judge,
    evidence=evidence,
    remedies=remedies,
    cures=cures,
)
