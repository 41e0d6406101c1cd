"""How good a trained net is, in one number of the validation split: the accuracy of classes, R^2 of numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isnan
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Score:
    """One that is better the larger it is, and 1 for a net without error.

    column: of steps.csv; summary.csv has `<column>_mean` and `<column>_ci95`
    name:   in a sentence; short: at the head of a column
    low:    the least that it can be; None where there is none
    high:   the most that it can be
    """

    column: str
    name: str
    short: str
    low: float | None = None
    high: float = 1.0

    def interval(self, mean: float, half_width: float) -> tuple[float, float]:
        """The ends of an interval around a mean, inside what the score can be; NaN where there is none."""
        low, high = mean - half_width, mean + half_width
        return (low if isnan(low) or self.low is None else max(low, self.low)), min(high, self.high)

    def leaves(self, mean: float, half_width: float) -> bool:
        """Whether an interval, as Student's t gives it, would reach beyond what the score can be."""
        return (mean - half_width, mean + half_width) != self.interval(mean, half_width) and not isnan(
            half_width
        )

    @property
    def title(self) -> str:
        """The name at the start of a sentence."""
        return self.name[0].upper() + self.name[1:]

    @property
    def mean(self) -> str:
        return f"{self.column}_mean"

    @property
    def half_width(self) -> str:
        return f"{self.column}_ci95"


ACCURACY = Score("val_accuracy", "validation accuracy", "accuracy", low=0.0)
R2 = Score("val_r2", "validation R^2", "R^2")


def of_row(row: Mapping[str, Any]) -> Score:
    """The score of a cell, by its row of summary.csv: R^2 where it has that and no accuracy."""
    return R2 if isnan(float(row[ACCURACY.mean])) and not isnan(float(row.get(R2.mean, "nan"))) else ACCURACY


def of_table(table: pd.DataFrame) -> Score:
    """The score of the cells in a summary.csv or steps.csv: R^2 where no row has an accuracy and some has R^2."""
    summary = ACCURACY.mean in table
    accuracy, r2 = ((each.mean if summary else each.column) for each in (ACCURACY, R2))
    return R2 if r2 in table and table[accuracy].isna().all() and table[r2].notna().any() else ACCURACY


def means(summary: pd.DataFrame) -> pd.Series[float]:
    """Each cell's mean over seeds, whichever score it has."""
    accuracy = summary[ACCURACY.mean]
    return accuracy.fillna(summary[R2.mean]) if R2.mean in summary else accuracy
