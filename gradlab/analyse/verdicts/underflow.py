"""underflow: delta is smaller than the number format holds, and rounds to 0."""

from __future__ import annotations

from collections.abc import Sequence

from gradlab.analyse.facts import Facts
from gradlab.analyse.fault import Fault, lasting
from gradlab.analyse.verdict import POOR, Verdict
from gradlab.analyse.verdicts.vanishing import cures, remedies


def judge(facts: Facts) -> list[Fault | None]:
    rounded = facts.gradient.cause == "underflow"
    return lasting(facts, rounded, rounded, facts.gradient.cut)


def evidence(facts: Facts, seeds: Sequence[int], faults: Sequence[Fault]) -> str:
    row = facts.records.layer("delta_rms")[seeds[0], faults[0].reference]
    zeros = int((row == 0).sum())
    positive = row[row > 0]
    last = f"below a delta of {positive.min():.2g}" if len(positive) else "in every hidden layer"
    return f"delta is exactly 0 in {zeros} of {len(row)} layers {last}: smaller than the number format holds"


VERDICT = Verdict(
    name="underflow",
    order=50,
    summary="delta shrinks below what the number format holds and is exactly 0 in the layers below",
    headline="The gradient shrinks to exactly 0",
    severity="stops learning",
    style=POOR,
    judge=judge,
    evidence=evidence,
    remedies=remedies,
    cures=cures,
)
