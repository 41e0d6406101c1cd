"""unstable: it learned and lost it, or seeds disagree: some learn, or learn far more, and others do not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from gradlab.analyse import cure
from gradlab.analyse import thresholds as at
from gradlab.analyse.cure import Cure
from gradlab.analyse.facts import Facts
from gradlab.analyse.fault import Fault
from gradlab.analyse.learning import Learning
from gradlab.analyse.remedy import Remedy, clip, tidy
from gradlab.analyse.updates import other_rate
from gradlab.analyse.verdict import POOR, Phase, Verdict
from gradlab.config.sections import Network, Training


def judge(facts: Facts) -> list[Fault | None]:
    last = len(facts.records.steps) - 1
    learned = [learning.learned for learning in facts.learning]
    differ = len(learned) >= at.SEVERAL and True in learned and False in learned
    behind = _behind(facts)
    return [
        Fault(last, None, False, last)
        if _lost(facts, seed) or behind[seed] or (differ and learned[seed] is False)
        else None
        for seed in range(len(learned))
    ]


def _behind(facts: Facts) -> list[bool]:
    """Of each seed whether it ends with less than half of what the median seed gains, where that seed learns well."""
    gains = np.array([_share(one, one.end) if one.learned is not None else np.nan for one in facts.learning])
    if len(gains) < at.SEVERAL or np.isnan(gains).any():
        return [False] * len(gains)
    typical = float(np.median(gains))
    return [typical >= at.EXCUSED and bool(gain < at.KEPT * typical) for gain in gains]


def _share(learning: Learning, value: float) -> float:
    """Which share of the way from where it started (of a loss: from the best constant output's) to perfection."""
    if learning.by_loss:
        known = learning.baseline > 0 and value >= 0
        return (learning.baseline - value) / learning.baseline if known else np.nan
    return (value - learning.start) / (1 - learning.start) if learning.start < 1 else np.nan


def _lost(facts: Facts, seed: int) -> bool:
    """Whether it had closed a third of the way and ends with less than half of that."""
    learning = facts.learning[seed]
    if learning.learned is None or not learning.fell:
        return False
    if learning.by_loss:
        gained = (learning.baseline - learning.best) / abs(learning.baseline) if learning.baseline else 0.0
    else:
        gained = (learning.best - learning.start) / (1 - learning.start) if learning.start < 1 else 0.0
    return bool(gained >= at.EXCUSED)


def evidence(facts: Facts, seeds: Sequence[int], faults: Sequence[Fault]) -> str:
    lost = [seed for seed in seeds if _lost(facts, seed)]
    if lost:
        one = facts.learning[lost[0]]
        return f"{one.measure} {one.best:.3g} at step {one.best_step} and {one.end:.3g} in the end"
    learned = sum(learning.learned is True for learning in facts.learning)
    if learned < len(facts.learning):
        return f"{learned} of {len(facts.learning)} seeds learn, the others do not"
    ends = sorted(learning.end for learning in facts.learning)
    return f"the seeds end far apart: {facts.learning[0].measure} {', '.join(f'{end:.3g}' for end in ends)}"


def remedies(network: Network, training: Training) -> Iterator[Remedy]:
    yield Remedy({"training.lr": tidy(training.lr / 3)}, "smaller steps do not jump out again", "Smith 2017")
    yield clip()


def cures(facts: Facts, seeds: Sequence[int], faults: Sequence[Fault]) -> Iterator[Cure]:
    yield from other_rate(facts, seeds, 1 / 3, "smaller steps do not jump out again")
    yield cure.clip("no update can be longer than the rate then")


VERDICT = Verdict(
    name="unstable",
    order=65,
    summary="the net learned and lost it again, or some of three or more seeds learn and others do not, or far less",
    headline="The training is unstable",
    severity="slows learning",
    style=POOR,
    reads=("learning_rate",),
    judge=judge,
    evidence=evidence,
    remedies=remedies,
    cures=cures,
    phase=Phase.OUTCOME,
    of_few_seeds=True,
)
