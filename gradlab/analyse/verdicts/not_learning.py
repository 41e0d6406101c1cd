"""not-learning: accuracy or loss ends where it began (`learning` says how that is told)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gradlab.analyse import cure
from gradlab.analyse.cure import Cure
from gradlab.analyse.evidence import learning_words
from gradlab.analyse.facts import Facts
from gradlab.analyse.fault import Fault
from gradlab.analyse.known_parts import usual_rate
from gradlab.analyse.remedy import Remedy, batch_norm, skips, tidy
from gradlab.analyse.updates import no_rate, other_rate, unmoved
from gradlab.analyse.verdict import POOR, Phase, Verdict
from gradlab.config.sections import Network, Training


def judge(facts: Facts) -> list[Fault | None]:
    last = len(facts.records.steps) - 1
    at_the_end = Fault(last, None, False, last)
    return [at_the_end if learning.learned is False else None for learning in facts.learning]


def evidence(facts: Facts, seeds: Sequence[int], faults: Sequence[Fault]) -> str:
    words = learning_words(facts, seeds)
    if unmoved(facts, seeds[0]):
        words += "; gradients arrive and no weight changes from the first record to the last"
    return words


def remedies(network: Network, training: Training) -> Iterator[Remedy]:
    usual = usual_rate(training.optimizer)
    if training.lr < usual:
        yield Remedy(
            {"training.lr": usual}, "the rate is smaller than usual, and delta is in order", "Smith 2017"
        )
    for factor in (10, 100):
        yield Remedy(
            {"training.lr": tidy(min(training.lr * factor, 1.0))},
            f"with delta in order, steps {factor} times larger may be what is missing",
            "Smith 2017",
        )
    yield Remedy(
        {"training.optimizer": "adam", "training.lr": usual_rate("adam")},
        "Adam scales every weight's step by its own gradient",
        "Kingma and Ba 2015",
    )
    yield batch_norm()
    yield from skips(network, training)


def cures(facts: Facts, seeds: Sequence[int], faults: Sequence[Fault]) -> Iterator[Cure]:
    if unmoved(facts, seeds[0]) and not no_rate(facts, seeds[0]):
        yield cure.code(
            "optimizer.step()", "call it after backward in every turn: a scheduler's step is not enough"
        )
    reason = "with the gradient in order, larger steps may be what is missing"
    yield from other_rate(facts, seeds, 10, reason)


VERDICT = Verdict(
    name="not-learning",
    order=70,
    summary="after 100 updates or more the net is no better than at the start, or than guessing",
    headline="The net does not learn",
    severity="stops learning",
    style=POOR,
    judge=judge,
    evidence=evidence,
    remedies=remedies,
    cures=cures,
    phase=Phase.OUTCOME,
)
