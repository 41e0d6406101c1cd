"""rate-too-high: updates that replace the weights instead of improving them, in a net that is harmed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from gradlab.analyse import cure
from gradlab.analyse import thresholds as at
from gradlab.analyse.cure import Cure
from gradlab.analyse.facts import Facts
from gradlab.analyse.fault import Fault
from gradlab.analyse.known_parts import usual_rate
from gradlab.analyse.remedy import Remedy, clip, tidy
from gradlab.analyse.updates import at_rate, other_rate, ratios, typical, unmoved
from gradlab.analyse.verdict import BAD, Verdict
from gradlab.config.sections import Network, Training

LARGE = 0.1
"""||dW|| / ||W|| of the median module from which one update replaces a tenth of the weights. Nets that learn have about
1e-3, and up to a few times 1e-2 in their first steps."""

AIM = 3e-3
"""The ratio that a new rate is chosen for."""

CARRIED = 0.5
"""Share of the gradients that were not zeroed from which an update is the sum of all steps before."""


def judge(facts: Facts) -> list[Fault | None]:
    return [_fault(facts, seed) for seed in range(len(facts.learning))]


def _fault(facts: Facts, seed: int) -> Fault | None:
    records = facts.records
    first = int(records.in_layers[seed].argmax())
    born_exploding = facts.gradient.decades[seed, first] >= at.WEAK_DECADES
    lost = np.nan_to_num(records.every_layer("nonfinite")[seed, first]).any()
    if not facts.harmed(seed) or born_exploding or lost:
        return None
    carried = np.nan_to_num(records.step("carried_gradients")[seed]) >= CARRIED
    if carried.any() and not unmoved(facts, seed):  # zeroed between the record and the update
        record = int(carried.argmax())
        return Fault(record, None, False, record)
    high = np.nan_to_num(typical(ratios(facts, seed))) >= LARGE
    if not high.any():
        return None
    record = int(high.argmax())
    return Fault(record, None, record == first, record)


def evidence(facts: Facts, seeds: Sequence[int], faults: Sequence[Fault]) -> str:
    seed, fault = seeds[0], faults[0]
    carried = float(np.nan_to_num(facts.records.step("carried_gradients")[seed]).max())
    if carried >= CARRIED:
        return f"{carried:.0%} of the gradients were not zeroed before the next backward pass: they add up"
    ratio = float(typical(ratios(facts, seed))[fault.record])
    step = int(facts.records.steps[fault.record])
    size = f"{ratio:.2g} of its weights' size{at_rate(facts, seed)}"
    return f"the update of step {step} changes the median module by {size}"


def remedies(network: Network, training: Training) -> Iterator[Remedy]:
    usual = usual_rate(training.optimizer)
    if training.lr > usual:
        yield Remedy(
            {"training.lr": usual}, f"{training.optimizer} usually trains at this rate", "Smith 2017"
        )
    yield Remedy(
        {"training.lr": tidy(training.lr / 10)},
        "an update should change a thousandth of the weights",
        "Smith 2017",
    )
    yield clip()


def cures(facts: Facts, seeds: Sequence[int], faults: Sequence[Fault]) -> Iterator[Cure]:
    seed = seeds[0]
    if np.nan_to_num(facts.records.step("carried_gradients")[seed]).max() >= CARRIED:
        yield cure.code("optimizer.zero_grad() before loss.backward()", "zero the gradients in every step")
        return
    ratio = float(typical(ratios(facts, seed))[faults[0].record])
    reason = f"an update of {ratio:.2g} of the weights' size is too large"
    yield from other_rate(facts, [seed], AIM / ratio, reason)
    yield cure.clip("no update can be longer than the rate then")
    yield cure.warm_up("small first steps leave the weights where they can learn")


VERDICT = Verdict(
    name="rate-too-high",
    order=55,
    summary="updates that change a tenth of the weights or more at once, in a net that is harmed",
    headline="The steps are too large, and the net is harmed",
    severity="stops learning",
    style=BAD,
    reads=("update_ratio", "weight_norm", "learning_rate", "carried_gradients"),
    judge=judge,
    evidence=evidence,
    remedies=remedies,
    cures=cures,
)
