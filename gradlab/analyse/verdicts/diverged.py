"""diverged: values that are no numbers and stay, or a loss that blew up in a net that does not learn."""

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
from gradlab.analyse.gradient import absent
from gradlab.analyse.known_parts import usual_rate
from gradlab.analyse.remedy import ROOM, Remedy, calm, clip, tidy
from gradlab.analyse.updates import other_rate
from gradlab.analyse.verdict import BAD, Phase, Verdict
from gradlab.config.sections import Network, Training

BLOW_UP = 10.0
"""A training loss this many times its first value, in a net that then does not learn, is a divergence: the
cross-entropy of a guess is ln K, and no batch strays ten times from it."""

WORSE = 2.0
"""An end loss this many times the first: training did harm to what it minimises, whatever the accuracy."""


def judge(facts: Facts) -> list[Fault | None]:
    return [_not_finite(facts, seed) or _blown_up(facts, seed) for seed in range(len(facts.learning))]


def _not_finite(facts: Facts, seed: int) -> Fault | None:
    """From the first value that is not finite, where the last record has one too."""
    records = facts.records
    loss, every_loss = records.step("train_loss")[seed], records.step("train_loss")
    in_steps, in_layers = records.in_steps[seed], records.in_layers[seed]
    bad_loss = in_steps & ~np.isfinite(loss) & np.isfinite(every_loss).any()
    if in_steps.any() and not np.isfinite(every_loss).any():
        bad_loss = in_steps & np.isinf(loss)
    bad_loss |= _probe_lost(facts, seed)
    count = records.every_layer("nonfinite")[seed]
    layer_bad = (np.nan_to_num(count) > 0) | np.isinf(records.every_layer("delta_rms")[seed])
    lost = records.rows[seed] & np.isnan(records.layer("delta_rms")[seed]) & ~absent(records)[seed, :, :-1]
    no_delta = lost.any(-1) & np.isfinite(records.layer("delta_rms")).any()
    bad = bad_loss | layer_bad.any(-1) | no_delta
    if not (bad.any() and bad[np.flatnonzero(in_layers | in_steps)[-1]]):
        return None
    first = int(np.flatnonzero(bad)[0])
    where = np.flatnonzero(layer_bad[first])
    return Fault(first, int(where[-1]) if len(where) else None, first == 0, first)


def _probe_lost(facts: Facts, seed: int) -> NDArray[np.bool_]:
    """[T]: where the probe's loss is no number. It is there in each record where a criterion is known, so that an empty
    one was NaN: a loss may be it though every gradient is finite, behind a ReLU that passes none."""
    records = facts.records
    if not records.words.get("criterion") or "probe_loss" not in records.run:
        return np.zeros(len(records.steps), dtype=bool)
    return np.asarray(records.in_steps[seed] & ~np.isfinite(records.step("probe_loss")[seed]))


def _blown_up(facts: Facts, seed: int) -> Fault | None:
    """From the first loss that is WORSE times the first, where it ends so or was BLOW_UP times it."""
    records = facts.records
    loss = records.step("train_loss")[seed]
    when = np.flatnonzero(records.in_steps[seed] & np.isfinite(loss))
    if len(when) < 2 or loss[when[0]] <= 0:  # of a loss that is 0 or less nothing is a multiple
        return None
    start, end = loss[when[0]], loss[when[-at.RECENT :]].mean()
    blew_up = facts.learning[seed].learned is False and loss[when].max() >= BLOW_UP * start
    if not (blew_up or end >= WORSE * start):
        return None
    if _scatters(records.step("val_loss")[seed], records.step("eval_rows")[seed]):
        return None
    first = int(when[loss[when] >= WORSE * start][0])
    return Fault(first, None, False, first)


def _scatters(val_loss: Array, rows: Array) -> bool:
    """Whether the loss of the validation split never doubled: then it is small batches that scatter.

    rows: how many the loss is of. Where the targets have a heavy tail, the loss of other rows than the first's, as the
    last record's is, may be twice as large by the choice of rows alone.
    """
    known = ~np.isnan(val_loss)
    loss, rows = val_loss[known], rows[known]
    if len(loss) < 2 or not loss[0] > 0:
        return False
    others = (rows != rows[0]) & ~np.isnan(rows)
    return bool((loss < np.where(others, WORSE**2, WORSE) * loss[0]).all())


def evidence(facts: Facts, seeds: Sequence[int], faults: Sequence[Fault]) -> str:
    records = facts.records
    fault, seed = min(zip(faults, seeds, strict=True), key=lambda pair: pair[0].record)
    loss = records.step("train_loss")[seed]
    finite = loss[np.isfinite(loss)]
    bad = records.every_layer("nonfinite")[seed, fault.record]
    lost = _probe_lost(facts, seed)[fault.record] or not np.isfinite(loss[fault.record])
    if lost or np.nan_to_num(bad).any() or not len(finite):
        return f"values that are not finite at step {int(records.steps[fault.record])}"
    return f"the training loss rises from {finite[0]:.3g} to {finite.max():.3g} and ends at {finite[-1]:.3g}"


def remedies(network: Network, training: Training) -> Iterator[Remedy]:
    usual = usual_rate(training.optimizer)
    if training.lr >= 10 * usual:
        reason = f"ten times and more below this rate is where {training.optimizer} usually trains"
        yield Remedy({"training.lr": usual}, reason, "Goodfellow et al. 2016, section 11.4.1")
    for factor in (10, 100, 1000):
        yield Remedy(
            {"training.lr": tidy(training.lr / factor)},
            f"a step {factor} times smaller stays inside the region where the loss is close to its tangent",
            "Goodfellow et al. 2016, section 4.3",
        )
    yield clip()
    yield Remedy(
        {"training.optimizer": "adam", "training.lr": usual_rate("adam")},
        "Adam's steps do not grow with the gradient",
        "Kingma and Ba 2015",
    )
    yield Remedy(
        {"network.init": "auto", **calm(network, training)},
        "weights of this variance keep signal and delta within the number format",
        "Glorot and Bengio 2010; He et al. 2015",
        ROOM,
    )


def cures(facts: Facts, seeds: Sequence[int], faults: Sequence[Fault]) -> Iterator[Cure]:
    if faults[0].at_birth:  # before any update no rate has done anything
        yield cure.code(
            "torch.isfinite(x).all(), torch.isfinite(loss)",
            "look at the inputs and at the loss's own formula",
        )
        return
    reason = "a smaller step stays inside the region where the loss is close to its tangent"
    yield from other_rate(facts, seeds, 0.1, reason)
    yield cure.clip("no update can be longer than the rate then")


VERDICT = Verdict(
    name="diverged",
    order=60,
    summary="the loss or a tensor is no longer finite, or the loss blew up and stayed high",
    headline="The training blew up",
    severity="stops learning",
    style=BAD,
    reads=("nonfinite", "eval_rows"),
    judge=judge,
    evidence=evidence,
    remedies=remedies,
    cures=cures,
    phase=Phase.BREAK,
    overflows=True,
)
