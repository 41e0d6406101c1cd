"""What is true of a case: from how it was made and what its loss and accuracy did, never from a ruleset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from benchmarks.detectors.case import Case
from gradlab.store.stack_result import StackResult

FAULTS = ("vanishing", "exploding", "dead", "saturated", "diverged", "underflow", "not-learning")

FAILS, LEARNS, WELL = 1 / 9, 4 / 9, 7 / 9
"""Share of the gap between chance and 1 that validation accuracy closes: below FAILS a net does not learn, from LEARNS
it does, from WELL it does well. On ten digits that is 0.2, 0.5 and 0.8, on two classes 0.56, 0.72 and 0.89."""
ROSE, BLEW_UP = 2.0, 30.0
"""A training loss that never was ROSE times its first value did not diverge. One that ended BLEW_UP times above it did,
and one that once was, in a net that then fails. Between the two, and where a seed is of the other kind, it is neither,
unless the net came back: it does well in the end and its loss ends below the first."""


class Outcome(NamedTuple):
    """One entry a seed of each.

    gained: share of the gap between chance and 1 that the mean accuracy of the last three records closes; accuracy:
            that accuracy
    broken: loss or weights not finite at the end
    rose, end: largest training loss, and the mean of its last three records, over the first
    """

    accuracy: tuple[float, ...]
    gained: tuple[float, ...]
    broken: tuple[bool, ...]
    rose: tuple[float, ...]
    end: tuple[float, ...]

    @property
    def fails(self) -> bool:
        return all(not b and a < FAILS for a, b in zip(self.gained, self.broken, strict=True))

    def reaches(self, share: float) -> bool:
        return all(not b and a >= share for a, b in zip(self.gained, self.broken, strict=True))

    def stays_below(self, share: float) -> bool:
        return all(b or a < share for a, b in zip(self.gained, self.broken, strict=True))

    @property
    def diverged(self) -> tuple[bool | None, ...]:
        """Of each seed, None for neither."""
        return tuple(map(_diverged, self.gained, self.broken, self.rose, self.end))


def _diverged(gained: float, broken: bool, rose: float, end: float) -> bool | None:
    if broken or end >= BLEW_UP or (rose >= BLEW_UP and gained < FAILS):
        return True
    return False if rose < ROSE or (gained >= WELL and end < 1) else None


def outcome(result: StackResult, classes: int) -> Outcome:
    steps = result.blocks["steps"]
    columns = {name: steps.column(name).T for name in steps.columns}  # [record, replica]
    accuracy, loss = columns["val_accuracy"][-3:].mean(0), columns["train_loss"]
    broken = ~np.isfinite(loss[-1]) | ~np.isfinite(columns["val_loss"][-1])
    with np.errstate(invalid="ignore", divide="ignore"):
        times = np.where(np.isfinite(loss), loss / loss[0], np.inf)
    return Outcome(
        accuracy=tuple(accuracy.tolist()),
        gained=tuple(((accuracy - 1 / classes) / (1 - 1 / classes)).tolist()),
        broken=tuple(broken.tolist()),
        rose=tuple(times.max(0).tolist()),
        end=tuple(times[-3:].mean(0).tolist()),
    )


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
    blew_up = found.diverged
    if all(blew_up):
        labels["diverged"] = True
    elif any(one is not False for one in blew_up):
        labels["diverged"] = None
    elif case.made == "diverged":
        labels["diverged"] = False
    if any(blew_up) or any(found.broken):
        labels["not-learning"] = None
    return labels


def _made(case: Case, found: Outcome) -> bool | None:
    """Whether the made fault is one: it harms the net, or is there by construction."""
    if case.certain or found.stays_below(WELL if case.made == "saturated" else LEARNS):
        return True
    return False if case.mild and found.reaches(WELL) else None
