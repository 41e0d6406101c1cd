"""unstable: it learned and lost it, or some seeds learn and others do not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gradlab.analyse import cure
from gradlab.analyse import thresholds as at
from gradlab.analyse.cure import Cure
from gradlab.analyse.facts import Facts
from gradlab.analyse.fault import Fault
from gradlab.analyse.remedy import Remedy, clip, tidy
from gradlab.analyse.updates import other_rate
from gradlab.analyse.verdict import POOR, Phase, Verdict
from gradlab.config.sections import Network, Training

SEEDS = 3
"""Seeds from which one that learns and one that does not are a fact about the net, and no single accident."""


def judge(facts: Facts) -> list[Fault | None]:
    last = len(facts.records.steps) - 1
    learned = [learning.learned for learning in facts.learning]
    differ = len(learned) >= SEEDS and True in learned and False in learned
    return [
        Fault(last, None, False, last) if _lost(facts, seed) or (differ and learned[seed] is False) else None
        for seed in range(len(learned))
    ]


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
    return f"{learned} of {len(facts.learning)} seeds learn, the others do not"


def remedies(network: Network, training: Training) -> Iterator[Remedy]:
    yield Remedy({"training.lr": tidy(training.lr / 3)}, "smaller steps do not jump out again", "Smith 2017")
    yield clip()


def cures(facts: Facts, seeds: Sequence[int], faults: Sequence[Fault]) -> Iterator[Cure]:
    yield from other_rate(facts, seeds, 1 / 3, "smaller steps do not jump out again")
    yield cure.clip("no update can be longer than the rate then")


VERDICT = Verdict(
    name="unstable",
    order=65,
    summary="the net learned and lost it again, or some of three or more seeds learn and others do not",
    headline="The training is unstable",
    severity="slows learning",
    style=POOR,
    reads=("learning_rate",),
    judge=judge,
    evidence=evidence,
    remedies=remedies,
    cures=cures,
    phase=Phase.OUTCOME,
)
