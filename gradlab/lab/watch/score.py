"""By which number trainings of one user's model are compared, seed by seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gradlab.analyse.records import Array, Records
from gradlab.tables import score


@dataclass(frozen=True)
class Measure:
    """column: of steps.csv; name: in a sentence; a loss is better the smaller it is, and has the targets' unit"""

    column: str
    name: str
    is_loss: bool = False

    def of(self, records: Records) -> dict[int, float]:
        """Each seed's value at its last record."""
        values = records.last_of_run(self.column)
        return {int(seed): float(value) for seed, value in zip(records.seeds, values, strict=True)}

    def worth(self, records: Records) -> float:
        """A number that is larger the better the training went, also where another has other units; -inf for none.

        Of a loss: how much of that of the best constant output is left, where that is known.
        """
        values: Array = records.last_of_run(self.column)
        if self.is_loss:
            share = records.last_of_run("probe_loss") / _positive(records.known("baseline_loss"))
            values = -np.where(np.isfinite(share), share, values)
        mean = float(np.mean(values))
        return mean if np.isfinite(mean) else -np.inf


MEASURES = (
    Measure(score.ACCURACY.column, score.ACCURACY.name),
    Measure(score.R2.column, score.R2.name),
    Measure("probe_accuracy", "accuracy on the probe"),
    Measure("val_loss", "validation loss", is_loss=True),
    Measure("probe_loss", "loss on the probe", is_loss=True),
)
"""The first that is there counts."""


def measure_of(trainings: Sequence[Records]) -> Measure:
    """The first that every one of them has at some record; the last where there is none."""
    for measure in MEASURES:
        if all(not np.isnan(records.known(measure.column)).all() for records in trainings):
            return measure
    return MEASURES[-1]


def _positive(values: Array) -> Array:
    return np.where(values > 0, values, np.nan)
