"""underflow: delta is smaller than the number format holds, and rounds to 0."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from gradlab.analyse import cure
from gradlab.analyse.cure import Cure
from gradlab.analyse.facts import Facts
from gradlab.analyse.fault import Fault, lasting
from gradlab.analyse.task import from_the_start
from gradlab.analyse.verdict import POOR, Verdict
from gradlab.analyse.verdicts import vanishing
from gradlab.analyse.verdicts.vanishing import remedies

MOST = 0.5
"""Share of the weight gradients' entries of the median module that are exactly 0 from which float16 has lost most of
the gradient, where no unit is dead: of a batch of samples the gradient of a living unit's weight is 0 by chance
alone."""


def judge(facts: Facts) -> list[Fault | None]:
    rounded = facts.gradient.cause == "underflow"
    found = lasting(facts, rounded, rounded, facts.gradient.cut)
    return [
        fault
        or (from_the_start(facts, seed) if facts.rounds_to_0(seed) or _mostly_lost(facts, seed) else None)
        for seed, fault in enumerate(found)
    ]


def _mostly_lost(facts: Facts, seed: int) -> bool:
    """Whether most entries of the gradients are 0 in float16, in a net that is harmed and whose units live."""
    if not (facts.in_half and facts.harmed(seed)):
        return False
    counted = facts.counts[seed]
    zeros, off = (
        facts.records.every_layer(name)[seed][counted] for name in ("grad_zero_fraction", "zero_fraction")
    )
    known = np.isfinite(zeros).any(-1)
    if not known.any() or np.nanmax(np.nan_to_num(off)) > 1 - MOST / 2:
        return False
    return bool((np.nanmedian(zeros[known], -1) >= MOST).all())


def evidence(facts: Facts, seeds: Sequence[int], faults: Sequence[Fault]) -> str:
    if facts.rounds_to_0(seeds[0]):
        return (
            "every gradient is exactly 0 in float16, which holds nothing below 6e-8, and the criterion does pull "
            "at every sample"
        )
    if facts.gradient.cause[seeds[0], faults[0].reference] != "underflow":
        return "most entries of the gradients are exactly 0 in float16, which holds nothing below 6e-8"
    row = facts.records.layer("delta_rms")[seeds[0], faults[0].reference]
    zeros = int((row == 0).sum())
    positive = row[row > 0]
    last = f"below a delta of {positive.min():.2g}" if len(positive) else "in every hidden layer"
    return f"delta is exactly 0 in {zeros} of {len(row)} layers {last}: smaller than the number format holds"


def cures(facts: Facts, seeds: Sequence[int], faults: Sequence[Fault]) -> Iterator[Cure]:
    if facts.in_half:
        yield cure.code(
            "scaler = torch.amp.GradScaler(); scaler.scale(loss).backward(); scaler.step(optimizer); scaler.update()",
            "a scale brings the gradients into float16's range; torch.bfloat16 has float32's",
        )
    yield from vanishing.cures(facts, seeds, faults)


VERDICT = Verdict(
    name="underflow",
    order=50,
    summary="delta shrinks below what the number format holds and is exactly 0 in the layers below",
    headline="The gradient shrinks to exactly 0",
    severity="stops learning",
    style=POOR,
    reads=("grad_zero_fraction", "zero_fraction"),
    judge=judge,
    evidence=evidence,
    remedies=remedies,
    cures=cures,
)
