"""constant-output: the outputs do not depend on the sample."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from gradlab.analyse import cure
from gradlab.analyse import thresholds as at
from gradlab.analyse.cure import Cure
from gradlab.analyse.facts import Facts
from gradlab.analyse.fault import Fault
from gradlab.analyse.task import Task
from gradlab.analyse.updates import other_rate
from gradlab.analyse.verdict import POOR, Verdict, no_remedies

SAME = 1e-6
"""Deviation over samples, of the outputs' size, below which float32 gives the same for all."""

COLLAPSED = 1e-2
"""Deviation over samples, of what the targets vary by (of a logit: of 1), below which the outputs say nothing of the
sample: they explain 1e-4 of the targets' variance at most."""


def judge(facts: Facts) -> list[Fault | None]:
    records = facts.records
    spread, size = records.step("output_spread"), records.step("output_rms")
    found: list[Fault | None] = []
    for seed in range(len(facts.learning)):
        known = np.flatnonzero(np.isfinite(spread[seed]))
        task = Task.of(facts, seed)
        if not len(known) or task.rows == 1 or task.distinct == 1 or not facts.harmed(seed):
            found.append(None)
            continue
        scale = task.target_spread if task.of_numbers and task.target_spread > 0 else 1.0
        flat = (spread[seed] <= COLLAPSED * scale) | (spread[seed] <= SAME * size[seed])
        recent = known[-at.RECENT :]
        if not flat[recent].all():
            found.append(None)
            continue
        first = recent[0]
        for record in known[::-1]:
            if not flat[record]:
                break
            first = record
        found.append(Fault(int(first), len(records.layers), bool(first == known[0]), int(known[-1])))
    return found


def evidence(facts: Facts, seeds: Sequence[int], faults: Sequence[Fault]) -> str:
    places = list(seeds), [fault.reference for fault in faults]
    spread, size = (facts.records.step(column)[places].mean() for column in ("output_spread", "output_rms"))
    return f"the outputs vary by {spread:.2g} over the probe's samples, at a size of {size:.2g}"


def cures(facts: Facts, seeds: Sequence[int], faults: Sequence[Fault]) -> Iterator[Cure]:
    if not faults[0].at_birth:
        reason = "a smaller rate may keep the units alive that tell samples apart"
        yield from other_rate(facts, seeds, 0.1, reason)
    yield cure.initial_weights("draw the weights so that the signal keeps its variance from layer to layer")


VERDICT = Verdict(
    name="constant-output",
    order=57,
    summary="the outputs are the same whatever the sample, in a net that does not learn",
    headline="The net gives one answer, whatever it is shown",
    severity="stops learning",
    style=POOR,
    reads=("output_spread", "output_rms"),
    judge=judge,
    evidence=evidence,
    remedies=no_remedies,
    cures=cures,
)
