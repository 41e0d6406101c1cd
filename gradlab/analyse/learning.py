"""Whether a net learned, from its accuracies and losses alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradlab.analyse import thresholds as at
from gradlab.analyse.decay import Array
from gradlab.analyse.records import SEVERAL

if TYPE_CHECKING:
    from gradlab.analyse.records import Records


ACCURACIES = {
    "val_r2": "validation R^2", "val_accuracy": "validation accuracy", "probe_accuracy": "probe accuracy",
    "train_accuracy": "training accuracy",
}  # fmt: skip
"""Columns of steps.csv that tell whether a net learns, the first that is there."""


TOO_FEW = "too few updates were made to say whether it learns"
GIVE = "give the recorder targets=, criterion= and recorder.step(loss=loss)"


SETTLED = 2 / 3
"""Share of what a loss gains in all that it has gained after half of the steps, where it has settled; one that falls
evenly has a half."""


class Learning(NamedTuple):
    """learned: None where the records cannot tell (too few steps, or neither accuracy nor loss)
    start, end: accuracy (or loss) at the start and at the end, nan where unknown; measure: what they are
    given: `start` is the chance level that was given, not what was measured
    best, best_step: the best validation accuracy and when
    fits: whether the training loss alone shows that it learned
    baseline: loss of the best constant output, nan where that is not known
    unknown: why the records cannot tell
    little: it does not learn by what is asked of it, and what it gains is no accident: data may hold no more than that
    """

    learned: bool | None
    start: float
    end: float
    measure: str
    best: float
    best_step: int
    given: bool = False
    fits: bool = False
    baseline: float = np.nan
    unknown: str = TOO_FEW
    little: bool = False

    @property
    def excuses(self) -> bool:
        """Whether it learned so much that a weak fault did no harm: known by accuracy it closes EXCUSED of the gap."""
        if not self.learned or self.fell:
            return False
        if self.by_loss:
            aim = 0.0 if self.end >= 0 and self.baseline > 0 else np.nan
            return bool(np.isnan(aim) or self.baseline - self.end >= at.EXCUSED * self.baseline)
        return self.fits or self.end - self.start >= at.EXCUSED * (1 - self.start)

    @property
    def by_loss(self) -> bool:
        """Whether what is known of it is a loss, which falls, and no accuracy, which rises."""
        return self.measure.endswith("loss")

    @property
    def fell(self) -> bool:
        """Whether it lost more than half of what it had gained; False where that is not known."""
        if self.by_loss:
            level = np.fmin(self.baseline, self.start)
            return bool(level - self.end < at.KEPT * (level - self.best)) and not np.isnan(self.baseline)
        return self.end - self.start < at.KEPT * (self.best - self.start)

    def number(self, value: float) -> str:
        """A value of the measure: accuracies and R^2 with three decimals, as everywhere; a loss in three digits."""
        return f"{value:.3g}" if self.by_loss else f"{value:.3f}"

    def __str__(self) -> str:
        if self.learned is None:
            return self.unknown
        path = f"{self.measure} {self.number(self.start)} to {self.number(self.end)}"
        if not np.isnan(self.baseline):
            path += f", where the best constant output has {self.baseline:.3g}"
        if self.given:
            path = f"{self.measure} {self.number(self.end)}, where guessing gives {self.number(self.start)}"
        if self.learned:
            return f"it learns: {path}"
        if not self.by_loss and self.best > self.start + at.GAIN * (1 - self.start):
            path += f", after {self.number(self.best)} at step {self.best_step}"
        return f"it does not learn: {path}"


@np.errstate(
    over="ignore", invalid="ignore"
)  # of a loss near the number format's end the scatter is infinite
def judge_learning(records: Records, seed: int, chance: float | None = None) -> Learning:
    """Whether replica number `seed` (an index) learned.

    chance: accuracy of always guessing the commonest class. Without it the level to beat is the best accuracy of the
    first records, which a net that only learns the class frequencies of an unbalanced set can pass.
    """
    steps = records.steps
    by_probe = _by_probe(records, seed)
    if by_probe is not None and by_probe.learned:
        return by_probe
    if np.isfinite(records.step("val_r2")[seed]).any():  # 0 is that of the best constant output
        return _by_accuracy(records, seed, steps, *_known(records, "val_r2", seed), "val_r2", 0.0)
    for column in ACCURACIES:
        accuracy, known = _known(records, column, seed)
        if known.any():
            guess = records.known("baseline_accuracy")[seed] if column == "probe_accuracy" else np.nan
            level = chance if chance is not None or np.isnan(guess) else float(guess)
            found = _by_accuracy(records, seed, steps, accuracy, known, column, level)
            if by_probe is None or (found.learned and _is_no_accident(found, records, seed)):
                return found
            return by_probe
    return by_probe or _by_loss(records, seed, steps)


def _known(records: Records, column: str, seed: int) -> tuple[Array, NDArray[np.bool_]]:
    values = records.step(column)[seed]
    return values, np.asarray(np.isfinite(values))


def _is_no_accident(learning: Learning, records: Records, seed: int) -> bool:
    """Whether a gain in the probe's accuracy is more than what guessing gives on so few samples."""
    rows = _rows(records)
    if learning.measure != ACCURACIES["probe_accuracy"] or not rows:
        return True
    scatter = np.sqrt(learning.start * (1 - learning.start) / rows)
    return bool(learning.end - learning.start >= at.BY_CHANCE * scatter)


def _by_probe(records: Records, seed: int) -> Learning | None:
    """By the probe's loss, against that of the best constant output; None where that is not known."""
    loss, baseline = records.step("probe_loss")[seed], float(records.known("baseline_loss")[seed])
    known = ~np.isnan(loss)
    if not known.any() or np.isnan(baseline):
        return None
    values, when = loss[known], records.steps[known]
    start, end = float(values[0]), float(values[-at.RECENT :].mean())
    best = int(values.argmin())
    learned: bool | None = None
    little = False
    if when[-1] - when[0] >= at.LEARNING_STEPS:
        scatter = 2 * float(values[-at.RECENT :].std())
        margin = at.GAIN * baseline if baseline > 0 else max(-at.LOSS_FALL * baseline, scatter)
        learned = bool(end < baseline - margin)
        little = not learned and _is_all_there_is(values, when, baseline, _rows(records))
    return Learning(
        learned,
        start,
        end,
        "probe loss",
        float(values[best]),
        int(when[best]),
        baseline=baseline,
        little=little,
    )


def _is_all_there_is(loss: Array, when: NDArray[np.int64], baseline: float, rows: int) -> bool:
    """Whether a loss on so many samples is below that of the best constant by more than chance, most of which it was
    after half of the steps already: what still falls is not all that there is.

    Outputs that have nothing to do with the targets explain a share of 1 / rows of their variance, by the best of all
    factors; at.BY_CHANCE deviations are at.BY_CHANCE^2 times as much.
    """
    if baseline <= 0 or not rows or len(loss) < 2 * at.RECENT:
        return False
    half = int(np.searchsorted(when, (when[0] + when[-1]) / 2))
    gains = (baseline - np.array([loss[half], loss[-at.RECENT :].mean()])) / baseline
    return bool(gains[1] >= at.BY_CHANCE**2 / rows and gains[0] >= SETTLED * gains[1])


def _rows(records: Records) -> int:
    """Samples of the probe, 0 where nothing tells."""
    rows = records.words.get("target_shape", "").split(" x ")[0]
    return int(rows) if rows.isdigit() else 0


def _by_accuracy(
    records: Records,
    seed: int,
    steps: NDArray[np.int64],
    accuracy: Array,
    known: NDArray[np.bool_],
    column: str,
    chance: float | None,
) -> Learning:
    values, when = accuracy[known], steps[known]
    early = values[when <= when[0] + at.START_STEPS]
    start = chance if chance is not None else float(early.max())
    end = float(values[-at.RECENT :].mean()) if len(values) > len(early) else float(values[-1])
    best = int(values.argmax())
    learned: bool | None = None
    fits = _fits(records.step("train_loss")[seed], start)
    if when[-1] - when[0] >= at.LEARNING_STEPS:
        learned = end - start >= at.GAIN * (1 - start) > 0 or fits
    return Learning(
        learned,
        start,
        end,
        ACCURACIES[column],
        float(values[best]),
        int(when[best]),
        chance is not None,
        fits,
    )


def _fits(loss: Array, level: float) -> bool:
    """Whether the training loss ends below half of its start, and of a guess's cross-entropy, at most -ln(level)."""
    known = loss[~np.isnan(loss)]
    if not len(known) or not 0 < level < 1 or known.min() < 0:  # a loss below 0 is no cross-entropy
        return False
    return bool(known[-at.RECENT :].mean() < at.LOSS_SHARE * min(known[0], -np.log(level)))


def _by_loss(records: Records, seed: int, steps: NDArray[np.int64]) -> Learning:
    """By a loss alone. That of a model of the user's own may be an adversary's or a policy's, which need not fall: one
    that does not is no proof, unless it hardly moves."""
    any_model = "probe_loss" in records.run
    in_turn = SEVERAL in records.words.get("optimizer_used", "")
    for column in ("train_loss", "val_loss"):
        loss = records.step(column)[seed]
        known = ~np.isnan(loss)
        if not known.any():
            continue
        values, when = loss[known], steps[known]
        start = float(values[when <= when[0] + at.START_STEPS].mean())
        tail = values[-max(at.RECENT, len(values) // 4) :]
        end, scatter = float(tail.mean()), float(tail.std())
        learned: bool | None = None
        unknown = TOO_FEW
        if when[-1] - when[0] >= at.LEARNING_STEPS:
            learned = bool(start - end > max(at.LOSS_FALL * abs(start), 2 * scatter))
            if in_turn or (any_model and not learned and not _is_still(values)):
                path = "it is that of several optimizers in turn" if in_turn else f"{start:.3g} to {end:.3g}"
                learned, unknown = None, f"the loss alone does not say whether it learns ({path}); {GIVE}"
        return Learning(learned, start, end, "loss", np.nan, 0, unknown=unknown)
    nothing = (
        f"no loss was recorded, so that nothing is known about learning; {GIVE}" if any_model else TOO_FEW
    )
    return Learning(None, np.nan, np.nan, "loss", np.nan, 0, unknown=nothing)


def _is_still(loss: Array) -> bool:
    """Whether a loss stays where it is, from the first record to the last."""
    return bool(np.isfinite(loss).all() and np.ptp(loss) <= at.STILL * np.abs(loss).max())
