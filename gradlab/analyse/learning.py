"""Whether a net learned, from its accuracies and losses alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradlab.analyse import thresholds as at
from gradlab.analyse.decay import Array

if TYPE_CHECKING:
    from gradlab.analyse.records import Records


class Learning(NamedTuple):
    """learned: None where the records cannot tell (too few steps, or neither accuracy nor loss)
    start, end: accuracy (or loss) at the start and at the end, nan where unknown; measure: what they are
    given: `start` is the chance level that was given, not what was measured
    best, best_step: the best validation accuracy and when
    fits: whether the training loss alone shows that it learned
    """

    learned: bool | None
    start: float
    end: float
    measure: str
    best: float
    best_step: int
    given: bool = False
    fits: bool = False

    @property
    def excuses(self) -> bool:
        """Whether it learned so much that a weak fault did no harm: known by accuracy it closes EXCUSED of the gap."""
        if not self.learned or self.fell:
            return False
        return self.measure == "loss" or self.fits or self.end - self.start >= at.EXCUSED * (1 - self.start)

    @property
    def fell(self) -> bool:
        """Whether it lost more than half of the accuracy that it had gained; False where no accuracy is known."""
        return self.end - self.start < at.KEPT * (self.best - self.start)

    def __str__(self) -> str:
        if self.learned is None:
            return "too few updates were made to say whether it learns"
        path = f"{self.measure} {self.start:.3g} to {self.end:.3g}"
        if self.given:
            path = f"{self.measure} {self.end:.3g}, where guessing gives {self.start:.3g}"
        if self.learned:
            return f"it learns: {path}"
        if self.measure != "loss" and self.best > self.start + at.GAIN * (1 - self.start):
            path += f", after {self.best:.3g} at step {self.best_step}"
        return f"it does not learn: {path}"


def judge_learning(records: Records, seed: int, chance: float | None = None) -> Learning:
    """Whether replica number `seed` (an index) learned.

    chance: accuracy of always guessing the commonest class. Without it the level to beat is the best accuracy of the
    first records, which a net that only learns the class frequencies of an unbalanced set can pass.
    """
    steps = records.steps
    for column in ("val_accuracy", "train_accuracy"):
        accuracy = records.step(column)[seed]
        known = np.isfinite(accuracy)
        if known.any():
            return _by_accuracy(records, seed, steps, accuracy, known, column, chance)
    return _by_loss(records, seed, steps)


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
    name = "validation accuracy" if column == "val_accuracy" else "training accuracy"
    return Learning(learned, start, end, name, float(values[best]), int(when[best]), chance is not None, fits)


def _fits(loss: Array, level: float) -> bool:
    """Whether the training loss ends below half of its start, and of a guess's cross-entropy, at most -ln(level)."""
    known = loss[~np.isnan(loss)]
    if not len(known) or not 0 < level < 1 or known.min() < 0:  # a loss below 0 is no cross-entropy
        return False
    return bool(known[-at.RECENT :].mean() < at.LOSS_SHARE * min(known[0], -np.log(level)))


def _by_loss(records: Records, seed: int, steps: NDArray[np.int64]) -> Learning:
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
        if when[-1] - when[0] >= at.LEARNING_STEPS:
            learned = bool(start - end > max(at.LOSS_FALL * abs(start), 2 * scatter))
        return Learning(learned, start, end, "loss", np.nan, 0)
    return Learning(None, np.nan, np.nan, "loss", np.nan, 0)
