"""constant-output: the outputs do not depend on the sample."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from gradlab.analyse import cure
from gradlab.analyse import thresholds as at
from gradlab.analyse.cure import Cure
from gradlab.analyse.decay import Array
from gradlab.analyse.facts import Facts
from gradlab.analyse.fault import Fault
from gradlab.analyse.task import Task
from gradlab.analyse.updates import other_rate
from gradlab.analyse.verdict import POOR, Verdict, no_remedies

SAME = 1e-6
"""Deviation over samples, of the outputs' size, below which float32 gives the same for all."""

COLLAPSED = 1e-2
"""Deviation over samples of a logit below which the outputs say nothing of the sample."""

EXPLAINS = at.GAIN / 2
"""The same of what numbers to be predicted vary by. Outputs of s times the targets' deviation explain at most 2 s of
their variance (Cauchy and Schwarz), so that with this share nothing that counts as learning is possible."""


LOST = 0.1
"""Share of what told samples apart at the first record, by itself and beside the outputs' size, which is left where
nothing else says what the outputs should be: training makes it larger, by 2 and more in every net that was tried."""

SHRUNK = 3.0
"""How many times smaller weights are than they were drawn from which a penalty rules them: three layers of such
weights pass a twenty-seventh of the signal. Training by a loss makes weights larger."""


def judge(facts: Facts) -> list[Fault | None]:
    records = facts.records
    spread, size = _spread(facts), records.step("output_rms")
    found: list[Fault | None] = []
    for seed in range(len(facts.learning)):
        known = np.flatnonzero(np.isfinite(spread[seed]))
        task = Task.of(facts, seed)
        aimless, may_hold = _aimless(task), _may_hold(facts, seed, task)
        if not len(known) or task.rows == 1 or task.distinct == 1 or not (aimless or may_hold):
            found.append(None)
            continue
        numbers = task.of_numbers and task.target_spread > 0
        least = EXPLAINS * task.target_spread if numbers else COLLAPSED
        flat = ((spread[seed] <= least) | (spread[seed] <= SAME * size[seed])) & may_hold
        if aimless:
            flat |= _lost(spread[seed], size[seed], known[0])
        recent = known[-at.RECENT :]
        if not flat[recent].all():
            found.append(None)
            continue
        first = recent[0]
        for record in known[::-1]:
            if not flat[record]:
                break
            first = record
        found.append(Fault(int(first), len(records.layers), bool(first == known[0]), int(known[-1])))
    return found


def _spread(facts: Facts) -> Array:
    """[S, T]: deviation of the outputs over samples, without what a second call of the model changes: of two draws the
    difference has twice the variance of the chance in one."""
    noise = np.nan_to_num(facts.records.known("output_noise"))
    own: Array = np.sqrt(np.maximum(1 - noise**2 / 2, 0.0))
    return facts.records.step("output_spread") * own[:, None]


def _aimless(task: Task) -> bool:
    """Whether nobody said what the outputs should be, as where a loss compares them with each other."""
    return not (task.criterion or task.kind or task.target_shape)


def _lost(spread: Array, size: Array, first: int) -> NDArray[np.bool_]:
    """[T]: whether the outputs have lost what told samples apart at the first record."""
    with np.errstate(divide="ignore", invalid="ignore"):
        share = spread / size
        return np.asarray(
            (spread <= LOST * spread[first]) & (share <= LOST * share[first]) & (spread[first] > 0)
        )


def _may_hold(facts: Facts, seed: int, task: Task) -> bool:
    """Whether the net is harmed, or predicts numbers and nothing but a falling loss speaks for it: one with a term of
    its own, as a variational model's, falls though the outputs are the targets' mean."""
    learning = facts.learning[seed]
    steps = facts.records.steps
    by_itself = learning.learned is None or (learning.by_loss and np.isnan(learning.baseline))
    by_itself = by_itself and steps[-1] - steps[0] >= at.LEARNING_STEPS  # a last layer may begin at 0
    alike = task.output_shape == task.target_shape
    return facts.harmed(seed) or (task.kind == "numbers" and alike and by_itself)


def evidence(facts: Facts, seeds: Sequence[int], faults: Sequence[Fault]) -> str:
    places = list(seeds), [fault.reference for fault in faults]
    spread, size = (values[places].mean() for values in (_spread(facts), facts.records.step("output_rms")))
    text = f"in the last record the outputs vary by {spread:.2g} over the probe's samples, at a size of {size:.2g}"
    task = Task.of(facts, seeds[0])
    if _aimless(task):
        began = facts.records.step("output_spread")[seeds[0]]
        text += f"; by {began[np.isfinite(began)][0]:.2g} at the first record"
    if facts.draws(seeds[0]):
        text += "; what they vary by beyond that is another in every call"
    return text + (f", where the targets vary by {task.target_spread:.2g}" if task.of_numbers else "")


def cures(facts: Facts, seeds: Sequence[int], faults: Sequence[Fault]) -> Iterator[Cure]:
    if _aimless(Task.of(facts, seeds[0])) and not faults[0].at_birth:
        yield cure.code(
            "loss = torch.relu(margin + near.square().sum(1) - far.square().sum(1)).mean()",
            "a loss that only draws outputs together is least where all are the same: show it what does not belong "
            "together, too (Hadsell et al. 2006), or cut the gradient on one side (Chen and He 2021)",
        )
        return
    shrunk = _shrunk(facts, seeds[0])
    if not facts.harmed(seeds[0]):
        yield cure.code(
            "loss = error + min(1.0, step / 1000) * divergence",
            "another term of the loss outweighs the outputs' error: weigh it less, or let its weight grow slowly "
            "(Bowman et al. 2016)",
        )
        return
    if facts.draws(seeds[0]):
        yield cure.made_once()
        return
    if shrunk >= SHRUNK:
        yield cure.code(
            "weight_decay=0, and no penalty of the weights in the loss",
            f"the weights of the median module are {shrunk:.3g} times smaller than at the start: a penalty draws "
            "them to 0",
        )
    elif not faults[0].at_birth:
        reason = "a smaller rate may keep the units alive that tell samples apart"
        yield from other_rate(facts, seeds, 0.1, reason)
    if shrunk < SHRUNK:
        yield cure.initial_weights(
            "draw the weights so that the signal keeps its variance from layer to layer"
        )


def _shrunk(facts: Facts, seed: int) -> float:
    """How many times smaller the weights of the median module have become; 1 where that is not known."""
    size = facts.records.parameters.get("weight_norm")
    if size is None:
        return 1.0
    known = size[seed][facts.counts[seed]]
    known = known[:, np.isfinite(known).all(0) & (known > 0).all(0)]
    return float(np.median(known[0] / known[-1])) if known.size else 1.0


VERDICT = Verdict(
    name="constant-output",
    order=57,
    summary="the outputs are the same whatever the sample, in a net that does not learn",
    headline="The net gives one answer, whatever it is shown",
    severity="stops learning",
    style=POOR,
    reads=("output_spread", "output_rms", "output_noise", "weight_norm"),
    judge=judge,
    evidence=evidence,
    remedies=no_remedies,
    cures=cures,
)
