"""rate-too-low: all updates together hardly move the weights of a net that does not learn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from gradlab.analyse import cure
from gradlab.analyse.cure import Cure
from gradlab.analyse.facts import Facts
from gradlab.analyse.fault import Fault
from gradlab.analyse.known_parts import usual_rate
from gradlab.analyse.remedy import Remedy, tidy
from gradlab.analyse.updates import at_rate, faded, no_rate, other_rate, ratios, standing
from gradlab.analyse.verdict import POOR, Phase, Verdict
from gradlab.config.sections import Network, Training

MOVED = 0.05
"""Length of all updates together, of the weights' size, that even the fastest module stays below. A net that learns
moves its weights by a multiple of this in its first hundred updates."""

AIM = 3e-3
"""The ratio of one update to the weights that a new rate is chosen for."""


def judge(facts: Facts) -> list[Fault | None]:
    last = len(facts.records.steps) - 1
    return [
        Fault(last, None, False, last, harmless=bool(facts.unharmed(seed)))
        if standing(facts, seed)
        or (facts.learning[seed].learned is False and (_moved(facts, seed) < MOVED or no_rate(facts, seed)))
        else None
        for seed in range(len(facts.learning))
    ]


def _moved(facts: Facts, seed: int) -> float:
    """The fastest module's median update times the number of updates; infinite where nothing is known, or where nothing
    moves at all, which is no matter of the rate."""
    ratio = ratios(facts, seed)
    if not np.isfinite(ratio).any():
        return np.inf
    fastest = float(np.nanmax(np.nanmedian(ratio[:, np.isfinite(ratio).any(0)], axis=0)))
    steps = facts.records.steps
    return fastest * float(steps[-1] - steps[0]) if fastest > 0 else np.inf


def evidence(facts: Facts, seeds: Sequence[int], faults: Sequence[Fault]) -> str:
    seed = seeds[0]
    steps = facts.records.steps
    if rows := standing(facts, seed):
        owners = facts.records.owners
        names = ", ".join(owners[row] for row in rows[:4])
        return f"{len(rows)} of {len(owners)} modules get gradients and are never moved, while others are: {names}"
    if no_rate(facts, seed):
        return f"the rate is 0 in every record from step {int(steps[1])} on, so that no update moves a weight"
    if way := faded(facts, seed):
        return f"{way}: all updates together move the fastest module by {_moved(facts, seed):.2g} of its weights' size"
    updates = f"{int(steps[-1] - steps[0])} updates{at_rate(facts, seed)}"
    return f"{updates} move the fastest module by at most {_moved(facts, seed):.2g} of its weights' size"


def remedies(network: Network, training: Training) -> Iterator[Remedy]:
    usual = usual_rate(training.optimizer)
    if training.lr < usual:
        yield Remedy(
            {"training.lr": usual}, f"{training.optimizer} usually trains at this rate", "Smith 2017"
        )
    yield Remedy(
        {"training.lr": tidy(training.lr * 10)}, "the updates are too small to learn by", "Smith 2017"
    )


def cures(facts: Facts, seeds: Sequence[int], faults: Sequence[Fault]) -> Iterator[Cure]:
    seed = seeds[0]
    if standing(facts, seed):
        yield cure.code(
            "print([(group['lr'], len(group['params'])) for group in optimizer.param_groups])",
            "look at the rate of each group; in bfloat16 or float16 keep the weights themselves in float32",
        )
        return
    if no_rate(facts, seed):
        yield cure.code(
            "print(optimizer.param_groups[0]['lr'])",
            "look at the schedule: a whole-number division, a factor of 0, or an end that has been reached",
        )
        return
    steps = facts.records.steps
    one = _moved(facts, seed) / float(steps[-1] - steps[0])
    yield from other_rate(
        facts, [seed], AIM / one, f"an update of {one:.2g} of the weights' size is too small"
    )


VERDICT = Verdict(
    name="rate-too-low",
    order=68,
    summary="all updates together move no module by 5 % of its weights, or the rate is 0, in a net that does not learn",
    headline="The steps are too small: the weights hardly move",
    severity="stops learning",
    style=POOR,
    reads=("update_ratio", "weight_grad_norm", "weight_norm", "learning_rate"),
    judge=judge,
    evidence=evidence,
    remedies=remedies,
    cures=cures,
    phase=Phase.OUTCOME,
)
