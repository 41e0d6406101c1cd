"""Families: the cells of a result that differ in depth alone, one line of a picture against depth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gradlab.report import palette, selections
from gradlab.tables import score

if TYPE_CHECKING:
    import pandas as pd

MOST_LINES = 12
LAST = -1e300  # stands for a family without a number


def families(summary: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The cells that differ in depth only, by their common name, best mean accuracy (or R^2) first."""
    others = [name for name in selections.varying(summary) if name != "depth"]
    groups: dict[str, pd.DataFrame] = {}
    names = [selections.name_cell(row, others) for row in selections.rows_of(summary)]
    for name, group in summary.groupby(np.asarray(names, dtype=object), sort=False):
        groups[str(name)] = group.sort_values("depth")
    means = {name: float(score.means(group).mean()) for name, group in groups.items()}
    return dict(sorted(groups.items(), key=lambda item: -np.nan_to_num(means[item[0]], nan=LAST)))


def chosen(groups: dict[str, pd.DataFrame]) -> tuple[dict[str, pd.DataFrame], int]:
    """At most MOST_LINES families, from the best to the worst evenly; and how many are left out."""
    names = list(groups)
    kept = selections.thin(len(names), MOST_LINES)
    return {names[i]: groups[names[i]] for i in kept}, len(names) - len(kept)


def looks_of(groups: dict[str, pd.DataFrame]) -> dict[str, int]:
    """The place of each family's colour and marks: its activation's own."""
    return palette.looks({name: str(group["activation"].iloc[0]) for name, group in groups.items()})


def left_out_note(lines: int) -> str:
    """What a legend says of the lines that are left out."""
    return f"{lines} more left out" if lines else ""
