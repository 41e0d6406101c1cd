"""Rankings of cells that say when a difference is within the noise of the seeds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from gradlab.analyse.records import Array, Ints
from gradlab.analyse.records_from_tables import rows_of_cells
from gradlab.analyse.seeds import Difference, mean_interval, paired_difference, paired_p_values
from gradlab.tables.checks import cell_columns_of, check_table

SIGNIFICANT = 0.05
"""Holm-corrected p below which a cell is told apart from the best. The correction is over all pairs of cells, since the
best is the one that the data chose: over the pairs with the best alone, 20 equal cells of 10 seeds would have one told
apart in a fifth of all comparisons."""

Last = tuple[Ints, Array]
"""seeds, ascending, and a value of each"""


def rank(
    steps: pd.DataFrame,
    by: str = "val_accuracy",
    cell_columns: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Cells in the order of their mean `by` at the last record, each compared with the best by the same seeds.

    steps: rows of steps.csv of any number of cells. by: one of its columns; the smallest is best where it is
        a loss, else the largest

    Returns one row per cell, best first: the cell columns, then `rank` (1 is best), `<by>_mean`, `<by>_ci95`, `seeds`,
    `behind_best` (mean paired difference to the best cell, over the seeds they share; 0 for the best),
    `behind_best_ci95` (of that one difference, not corrected), `p_value` (paired t test, Holm's correction over all
    pairs of cells), and `within_noise`: True where nothing tells the cell from the best. A single common seed tells
    nothing: then every difference is noise. A cell with a value that is not finite (it diverged) is last, and behind
    the best beyond doubt.
    Raises DataError for an empty table and for missing columns.
    """
    columns = list(cell_columns) if cell_columns is not None else cell_columns_of(steps)
    check_table(steps, "steps", ("seed", "step", by, *columns))
    keys = ["cell"] if "cell" in columns else columns
    cells = list(rows_of_cells(steps, keys).values())
    last = _last(steps, cells, by)
    means = np.array([values.mean() for _, values in last])
    broken = ~np.isfinite(means)
    worth = np.where(broken, -np.inf, -means if "loss" in by else means)
    order = np.argsort(-worth, kind="stable")
    named = {column: steps[column].iloc[[rows[0] for rows in cells]].array for column in columns}
    rows = []
    for place, i in enumerate(order.tolist(), start=1):
        estimate = mean_interval(last[i][1])
        behind = _behind(last[i], last[order[0]])
        rows.append(
            {column: values[i] for column, values in named.items()}
            | {
                "rank": place,
                f"{by}_mean": float(estimate.mean),
                f"{by}_ci95": float(estimate.half_width),
                "seeds": len(last[i][0]),
                "behind_best": behind.mean if place > 1 else 0.0,
                "behind_best_ci95": behind.half_width if place > 1 else np.nan,
            }
        )
    table = pd.DataFrame(rows)
    table["p_value"] = told_from_first([last[i] for i in order])
    beyond_doubt = broken[order] & ~broken[order[0]]
    table["within_noise"] = ~((table["p_value"] < SIGNIFICANT).to_numpy() | beyond_doubt)
    return table


def _last(steps: pd.DataFrame, cells: Sequence[Ints], by: str) -> list[Last]:
    """The column at each seed's last record, by seed, for each cell's rows."""
    seed, step = (steps[column].to_numpy(np.int64) for column in ("seed", "step"))
    values = steps[by].to_numpy(np.float64)
    found = []
    for rows in cells:
        ordered = rows[np.lexsort((step[rows], seed[rows]))]  # stable: of equal steps the last row counts
        ends = ordered[np.append(np.diff(seed[ordered]) != 0, True)]
        found.append((seed[ends], values[ends]))
    return found


def _behind(cell: Last, best: Last) -> Difference:
    """The paired difference over the common seeds; none gives nan."""
    common, own, others = np.intersect1d(cell[0], best[0], assume_unique=True, return_indices=True)
    if not len(common):
        return Difference(np.nan, np.nan, np.nan, 0)
    return paired_difference(cell[1][own], best[1][others])


def told_from_first(last: Sequence[Last]) -> Array:
    """[cell]: p of each cell against the first, corrected over all pairs of cells; nan where there is no test."""
    seeds = np.unique(np.concatenate([found for found, _ in last]))
    table = np.full((len(last), len(seeds)), np.nan)
    present = np.zeros(table.shape, dtype=bool)
    for row, (found, values) in enumerate(last):
        at = np.searchsorted(seeds, found)
        table[row, at], present[row, at] = values, True
    pairs = [
        paired_p_values(table[i + 1 :], table[i], present[i + 1 :] & present[i]) for i in range(len(last) - 1)
    ]  # those with the first cell come first
    return np.concatenate([[np.nan], holm(np.concatenate([[], *pairs]))[: len(last) - 1]])


def holm(p_values: Array) -> Array:
    """Holm's step-down correction for testing several hypotheses at once; nan stays nan and does not count."""
    corrected = np.full(len(p_values), np.nan)
    known = np.flatnonzero(~np.isnan(p_values))
    ordered = known[np.argsort(p_values[known], kind="stable")]
    steps = np.minimum(1.0, np.arange(len(known), 0, -1) * p_values[ordered])
    corrected[ordered] = np.maximum.accumulate(steps)
    return corrected
