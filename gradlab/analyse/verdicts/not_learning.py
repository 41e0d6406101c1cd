"""not-learning: accuracy or loss ends where it began (`learning` says how that is told)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from gradlab.analyse import cure
from gradlab.analyse import thresholds as at
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
    return [
        at_the_end if learning.learned is False and not learning.little else None
        for learning in facts.learning
    ]


def evidence(facts: Facts, seeds: Sequence[int], faults: Sequence[Fault]) -> str:
    words, seed = learning_words(facts, seeds), seeds[0]
    if unmoved(facts, seed):
        words += "; gradients arrive and no weight changes from the first record to the last"
    if facts.draws(seed):
        words += "; in eval mode, too, the outputs for the same inputs differ from call to call"
    if gap := _gap(facts, seed):
        words += f"; in training mode the loss of its batches is {gap:.3g}"
    return words


def _gap(facts: Facts, seed: int) -> float:
    """The training loss, where it is below half of the probe's in eval mode; 0 otherwise."""
    loss, learning = facts.records.step("train_loss")[seed], facts.learning[seed]
    known = loss[np.isfinite(loss)]
    if learning.measure != "probe loss" or len(known) < at.RECENT:
        return 0.0
    end = float(known[-at.RECENT :].mean())
    return end if 0 < end < at.LOSS_SHARE * min(learning.end, learning.baseline) else 0.0


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
    if facts.draws(seeds[0]):
        yield cure.made_once()
        return
    if _gap(facts, seeds[0]):
        yield cure.code(
            "larger batches, momentum=0.1 in batch norm, and a probe of the training data",
            "it fits its batches and not the probe in eval mode: batch norm has other statistics there, or the "
            "probe is of other data",
        )
        return
    if unmoved(facts, seeds[0]) and not no_rate(facts, seeds[0]):
        stepped = facts.records.parameters.get("update_ratio")
        if stepped is not None and np.isfinite(stepped[seeds[0]]).any():
            yield cure.code(
                "optimizer.zero_grad(); loss.backward(); optimizer.step()",
                "the optimizer's step finds no gradient: zero them before backward, not between it and the step",
            )
        else:
            yield cure.code(
                "optimizer.step()", "call it after backward in every turn: a scheduler's step is not enough"
            )
    size = facts.records.parameters.get("weight_grad_norm")
    if size is not None and not (np.nan_to_num(size[seeds[0]]) > 0).any():
        return  # no rate makes a step of no gradient
    reason = "with the gradient in order, larger steps may be what is missing"
    yield from other_rate(facts, seeds, 10, reason)


VERDICT = Verdict(
    name="not-learning",
    order=70,
    summary="after 100 updates or more the net is no better than at the start, or than guessing",
    headline="The net does not learn",
    severity="stops learning",
    style=POOR,
    reads=("output_noise", "update_ratio", "weight_norm"),
    judge=judge,
    evidence=evidence,
    remedies=remedies,
    cures=cures,
    phase=Phase.OUTCOME,
)
