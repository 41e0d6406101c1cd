"""What is true of a case: from how it was made and what its loss and accuracy did, never from a ruleset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from benchmarks.detectors.cases import Case
from gradlab.measure.columns import STEP_COLUMNS
from gradlab.train.result import StackResult

FAULTS = ("vanishing", "exploding", "dead", "saturated", "diverged", "underflow", "not-learning")

FAILS, LEARNS, WELL = 0.2, 0.5, 0.8
"""Validation accuracy on the ten digits: below 0.2 it does not learn, from 0.5 it does, from 0.8 it does well."""
ROSE = 2.0
"""A loss that was ever this many times its first value may be called diverged or not."""


class Outcome(NamedTuple):
    """accuracy: mean of the last three records, one a seed; broken: loss or weights not finite at the end, one a seed;
    rose: largest training loss over the first, the larger of the seeds"""

    accuracy: tuple[float, ...]
    broken: tuple[bool, ...]
    rose: float

    @property
    def fails(self) -> bool:
        return all(not b and a < FAILS for a, b in zip(self.accuracy, self.broken, strict=True))

    def reaches(self, accuracy: float) -> bool:
        return all(not b and a >= accuracy for a, b in zip(self.accuracy, self.broken, strict=True))

    def stays_below(self, accuracy: float) -> bool:
        return all(b or a < accuracy for a, b in zip(self.accuracy, self.broken, strict=True))


def outcome(result: StackResult) -> Outcome:
    columns = {name: result.scalars[:, :, place] for place, name in enumerate(STEP_COLUMNS)}
    accuracy, loss = columns["val_accuracy"], columns["train_loss"]
    broken = ~np.isfinite(loss[-1]) | ~np.isfinite(columns["val_loss"][-1])
    with np.errstate(invalid="ignore", divide="ignore"):
        rose = np.nanmax(np.where(np.isfinite(loss), loss / loss[0], np.inf))
    return Outcome(tuple(accuracy[-3:].mean(0).tolist()), tuple(broken.tolist()), float(rose))


def truth(case: Case, found: Outcome) -> Mapping[str, bool | None]:
    """For every fault whether it holds (True, False) or is counted neither way (None)."""
    labels: dict[str, bool | None] = dict.fromkeys(FAULTS, False)
    for fault in case.allowed:
        labels[fault] = None
    if not case.made and not case.sound and not found.reaches(LEARNS):
        labels = dict.fromkeys(FAULTS)  # a good recipe that fails all the same: nobody knows of what
    if case.made == "underflow":
        labels["vanishing"] = True  # what falls below the number format has vanished
    if case.made:
        labels[case.made] = _made(case, found)
    labels["not-learning"] = True if found.fails else False if found.reaches(LEARNS) else None
    if any(found.broken):
        labels["not-learning"] = None
        labels["diverged"] = True if all(found.broken) else None
    elif not found.rose < ROSE:
        labels["diverged"] = None
    elif case.made == "diverged":
        labels["diverged"] = False
    return labels


def _made(case: Case, found: Outcome) -> bool | None:
    """Whether the made fault is one: it harms the net, or is there by construction."""
    if case.certain or found.stays_below(WELL if case.made == "saturated" else LEARNS):
        return True
    return False if case.mild and found.reaches(WELL) else None
