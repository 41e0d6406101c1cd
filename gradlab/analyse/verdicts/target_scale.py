"""target-scale: numbers to be predicted that are far from what the outputs reach."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gradlab.analyse import cure
from gradlab.analyse.cure import Cure
from gradlab.analyse.facts import Facts
from gradlab.analyse.fault import Fault
from gradlab.analyse.task import Task, from_the_start
from gradlab.analyse.verdict import POOR, Verdict, no_remedies

FAR = 10.0
"""Root mean square target, and how many times larger than the outputs at birth, from which the loss is the targets'
alone: the outputs change it by less than a fifth."""

TINY = 1e-2
"""Deviation of the targets below which the loss is that of the outputs' own scatter alone."""


def judge(facts: Facts) -> list[Fault | None]:
    return [
        from_the_start(facts, seed, len(facts.records.layers)) if _wrong(facts, seed) else None
        for seed in range(len(facts.learning))
    ]


def _wrong(facts: Facts, seed: int) -> str:
    task, reach = Task.of(facts, seed), float(facts.records.known("output_rms")[seed])
    if not task.of_numbers or not facts.harmed(seed):
        return ""
    if task.target_rms >= FAR and task.target_rms >= FAR * reach:
        return (
            f"the targets have a root mean square of {task.target_rms:.3g}, the outputs at birth {reach:.3g}"
        )
    if task.target_spread <= TINY and task.target_spread <= reach / FAR and task.distinct > 1:
        return f"the targets vary by {task.target_spread:.3g}, the outputs at birth are {reach:.3g} large"
    return ""


def evidence(facts: Facts, seeds: Sequence[int], faults: Sequence[Fault]) -> str:
    return _wrong(facts, seeds[0])


def cures(facts: Facts, seeds: Sequence[int], faults: Sequence[Fault]) -> Iterator[Cure]:
    yield cure.standardise_targets(
        "give the targets mean 0 and deviation 1, by the training data, and undo it afterwards"
    )


VERDICT = Verdict(
    name="target-scale",
    order=4,
    summary="targets so far from what the outputs reach that the loss is theirs alone",
    headline="The targets lie far from all that the net puts out",
    severity="stops learning",
    style=POOR,
    reads=("output_rms",),
    judge=judge,
    evidence=evidence,
    remedies=no_remedies,
    cures=cures,
)
