"""The summary's numbers as people read them, described once for the page, the tables of a paper and the terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isnan
from typing import TYPE_CHECKING, Any

from gradlab.report.glyphs import number, percent
from gradlab.tables import score
from gradlab.tables.score import ACCURACY, R2, Score

if TYPE_CHECKING:
    import pandas as pd

Text = Callable[[float], str]
SCORES = {good.mean: good for good in (ACCURACY, R2)}


def fixed(digits: int) -> Text:
    """A number with so many decimals, without a negative zero; nothing for NaN."""
    return lambda value: "" if isnan(value) else f"{value:z.{digits}f}"


def measured(value: float) -> str:
    """A number that was measured whatever it is: NaN is said."""
    return "nan" if isnan(value) else number(value)


def factor(value: float) -> str:
    """A factor a layer, three decimals where they say something."""
    return f"{value:.3f}" if value >= 0.01 else number(value)


def plus_minus(half: float, text: Text) -> str:
    """` ± 0.004`, the half width of an interval; nothing where there is none."""
    return "" if isnan(half) else f" ± {text(half)}"


def with_interval(row: Mapping[str, Any], good: Score, text: Text) -> str:
    """`0.934 ± 0.042` of a row of summary.csv; `0.606, 0 to 1` where the interval ends at what the score can be."""
    mean, half = float(row[good.mean]), float(row[good.half_width])
    if isnan(mean) or not good.leaves(mean, half):
        return text(mean) + ("" if isnan(mean) else plus_minus(half, text))
    return f"{text(mean)}, {possible(row, good, text)}"


def possible(row: Mapping[str, Any], good: Score, text: Text) -> str:
    """`0.21 to 1`: the ends of a score's interval as far as the score can go."""
    ends = good.interval(float(row[good.mean]), float(row[good.half_width]))
    return " to ".join(number(float(text(end))) for end in ends)


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A number of summary.csv as people read it.

    column:   its column
    page, paper, terminal: its head in each, in a paper's table empty where it is not there
    latex:    its head in LaTeX, where that has no room for the one in Markdown
    text:     the number as text; empty for one that does not exist
    paper_text, terminal_text: the same where these write it otherwise
    interval: whether a paper's table gives the half width of the 95 % interval beside it
    width:    characters that a terminal needs for its column
    rank:     on a narrow terminal columns of a higher rank go first, and 0 stays
    """

    column: str
    page: str
    terminal: str
    text: Text
    width: int
    rank: int
    paper: str = ""
    latex: str = ""
    paper_text: Text | None = None
    terminal_text: Text | None = None
    interval: bool = False

    def on_page(self, row: Mapping[str, Any]) -> str:
        return self.text(float(row[self.column])).replace("-", "−")

    def in_paper(self, row: Mapping[str, Any]) -> str:
        text, value = self.paper_text or self.text, float(row[self.column])
        if not self.interval or isnan(value):
            return text(value)
        if self.column in SCORES:
            return with_interval(row, SCORES[self.column], text)
        return text(value) + plus_minus(float(row[self.column.replace("_mean", "_ci95")]), text)

    def on_terminal(self, row: Mapping[str, Any]) -> str:
        for good in SCORES.values():
            if self.column == good.half_width and good.leaves(float(row[good.mean]), float(row[self.column])):
                return possible(row, good, fixed(2))
        return (self.terminal_text or self.text)(float(row[self.column]))


MEASURES = (
    Measure(
        column="val_accuracy_mean", page="accuracy", paper="accuracy", terminal="acc.",
        text=fixed(3), interval=True, width=7, rank=0,
    ),
    Measure(column="val_accuracy_ci95", page="±", terminal="±", text=fixed(3), width=10, rank=4),
    Measure(
        column="val_r2_mean", page="R^2", paper="R^2", terminal="R^2", text=fixed(3), interval=True, width=7, rank=0,
    ),
    Measure(column="val_r2_ci95", page="±", terminal="±", text=fixed(3), width=10, rank=4),
    Measure(column="train_loss_mean", page="training loss", terminal="loss", text=measured, width=7, rank=5),
    Measure(
        column="attenuation_mean", page="attenuation", paper="attenuation", latex="atten.", terminal="atten.",
        text=fixed(2), terminal_text=fixed(1), interval=True, width=7, rank=1,
    ),
    Measure(
        column="decay_per_layer_mean", page="decay", paper="decay", terminal="decay",
        text=number, paper_text=factor, width=7, rank=2,
    ),
    Measure(
        column="decay_per_layer_predicted", page="predicted", paper="theory", terminal="theory",
        text=number, paper_text=factor, width=7, rank=3,
    ),
    Measure(
        column="dead_fraction_max", page="dead %", paper="dead %", terminal="dead%",
        text=percent, width=6, rank=6,
    ),
    Measure(
        column="saturated_fraction_max", page="saturated %", paper="saturated %", latex="sat. %", terminal="sat.%",
        text=percent, width=6, rank=7,
    ),
)  # fmt: skip
"""in the order in which the page shows them"""


def measures_of(summary: pd.DataFrame) -> list[Measure]:
    """Those of a result: an accuracy where some cell has classes, R^2 where some has numbers."""
    has_r2 = R2.mean in summary and bool(summary[R2.mean].notna().any())
    left_out = [] if has_r2 else [R2]
    if score.of_table(summary) == R2:
        left_out = [ACCURACY]
    columns = {name for each in left_out for name in (each.mean, each.half_width)}
    return [measure for measure in MEASURES if measure.column not in columns]
