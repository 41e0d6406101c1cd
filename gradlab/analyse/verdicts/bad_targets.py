"""bad-targets: targets from which nothing can be learned, or that the criterion does not take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gradlab.analyse import cure
from gradlab.analyse.cure import Cure
from gradlab.analyse.facts import Facts
from gradlab.analyse.fault import Fault
from gradlab.analyse.task import CLASS_LOSSES, PROBABILITY_LOSSES, SIGN_LOSSES, Task, from_the_start
from gradlab.analyse.verdict import BAD, Verdict, no_remedies

ENOUGH = 16
"""Samples of the probe from which targets that are all the same are no accident: of two equal classes that happens once
in 2^15 probes."""


def judge(facts: Facts) -> list[Fault | None]:
    return [
        from_the_start(facts, seed) if _wrong(facts, seed) else None for seed in range(len(facts.learning))
    ]


def _wrong(facts: Facts, seed: int) -> str:
    """What is wrong with the targets; "" for nothing."""
    task, lost = Task.of(facts, seed), float(facts.records.known("target_nonfinite")[seed])
    span = f"{task.target_min:g} to {task.target_max:g}"
    if lost > 0:
        return f"{lost:.0f} targets of the probe are NaN or infinite"
    if task.distinct == 1 and task.rows >= ENOUGH:
        return f"all {task.rows} targets of the probe are the same, {task.target_min:g}"
    if task.criterion in PROBABILITY_LOSSES and (task.target_min < 0 or task.target_max > 1):
        return f"the targets go from {span}, and {task.criterion} takes shares from 0 to 1"
    if task.criterion in SIGN_LOSSES and task.distinct == 2 and (task.target_min, task.target_max) == (0, 1):
        return f"the targets are 0 and 1, and {task.criterion} takes -1 and 1: one of 0 has no side"
    if task.criterion in CLASS_LOSSES and task.kind == "classes" and 1 < task.units <= task.target_max:
        return f"class numbers go up to {task.target_max:g}, and there are {task.units:g} outputs, numbered from 0"
    return ""


def evidence(facts: Facts, seeds: Sequence[int], faults: Sequence[Fault]) -> str:
    return _wrong(facts, seeds[0])


def cures(facts: Facts, seeds: Sequence[int], faults: Sequence[Fault]) -> Iterator[Cure]:
    task = Task.of(facts, seeds[0])
    if task.criterion in PROBABILITY_LOSSES and task.distinct > 2:
        yield cure.criterion("CrossEntropyLoss", "several classes need one output each and a softmax loss")
    elif task.criterion in PROBABILITY_LOSSES and task.distinct == 2:
        yield cure.code("y = (y > y.min()).float()", "write the two classes as 0 and 1")
    elif task.criterion in SIGN_LOSSES:
        yield cure.code("y = 2 * y - 1", "write the two classes as -1 and 1")
    else:
        yield cure.code("print(y.unique())", "look at the targets as the criterion gets them")


VERDICT = Verdict(
    name="bad-targets",
    order=1,
    summary="the targets are constant or not finite, or are none that the criterion takes",
    headline="These targets cannot be learned",
    severity="stops learning",
    style=BAD,
    judge=judge,
    evidence=evidence,
    remedies=no_remedies,
    cures=cures,
)
