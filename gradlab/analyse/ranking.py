"""Rankings of cells that say when a difference is within the noise of the seeds."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from gradlab.analyse.records import Array, cell_columns_of, check_table, group_cells
from gradlab.analyse.seeds import Difference, mean_interval, paired_difference

SIGNIFICANT = 0.05
"""Holm-corrected p below which a cell is told apart from the best. The correction is over all pairs of cells, since the
best is the one that the data chose: over the pairs with the best alone, 20 equal cells of 10 seeds would have one told
apart in a fifth of all comparisons."""


def rank(
    steps: pd.DataFrame,
    by: str = "val_accuracy",
    cell_columns: Sequence[str] | None = None,
    largest_first: bool | None = None,
) -> pd.DataFrame:
    """Cells in the order of their mean `by` at the last record, each compared with the best by the same seeds.

    steps: rows of steps.csv of any number of cells. by: one of its columns. largest_first: by default True for
        accuracies and False for losses

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
    descending = "loss" not in by if largest_first is None else largest_first
    keys = ["cell"] if "cell" in columns else columns
    parts = list(group_cells(steps, keys).values())
    last = [_last(part, by) for part in parts]
    means = np.array([values.to_numpy().mean() for values in last])
    broken = ~np.isfinite(means)
    worth = np.where(broken, -np.inf, means if descending else -means)
    order = np.argsort(-worth, kind="stable")
    rows = []
    for place, i in enumerate(order.tolist(), start=1):
        estimate = mean_interval(last[i].to_numpy())
        behind = _behind(last[i], last[order[0]])
        rows.append(
            {column: parts[i][column].iloc[0] for column in columns}
            | {
                "rank": place,
                f"{by}_mean": float(estimate.mean),
                f"{by}_ci95": float(estimate.half_width),
                "seeds": len(last[i]),
                "behind_best": behind.mean if place > 1 else 0.0,
                "behind_best_ci95": behind.half_width if place > 1 else np.nan,
            }
        )
    table = pd.DataFrame(rows)
    table["p_value"] = told_from_first([last[i] for i in order])
    beyond_doubt = broken[order] & ~broken[order[0]]
    table["within_noise"] = ~((table["p_value"] < SIGNIFICANT).to_numpy() | beyond_doubt)
    return table


def _last(rows: pd.DataFrame, by: str) -> pd.Series[float]:
    """The column at each seed's last record, by seed."""
    last = rows.sort_values(["seed", "step"], kind="stable").drop_duplicates("seed", keep="last")
    return last.set_index("seed")[by].astype(np.float64)


def _behind(values: pd.Series[float], best: pd.Series[float]) -> Difference:
    """The paired difference over the common seeds; none gives nan."""
    common = values.index.intersection(best.index)
    if not len(common):
        return Difference(np.nan, np.nan, np.nan, 0)
    return paired_difference(values[common].to_numpy(), best[common].to_numpy())


def told_from_first(last: Sequence[pd.Series[float]]) -> Array:
    """[cell]: p of each cell against the first, corrected over all pairs of cells; nan where there is no test.

    last: a cell's values by seed
    """
    seeds = np.unique(np.concatenate([values.index.to_numpy() for values in last]))
    present = np.array([np.isin(seeds, values.index) for values in last])
    table = np.array([values.reindex(seeds).to_numpy() for values in last])
    p_values = []
    for a, b in combinations(range(len(last)), 2):  # those with the first cell come first
        common = present[a] & present[b]
        p_values.append(
            paired_difference(table[b, common], table[a, common]).p_value if common.any() else np.nan
        )
    return np.concatenate([[np.nan], holm(np.array(p_values))[: len(last) - 1]])


def holm(p_values: Array) -> Array:
    """Holm's step-down correction for testing several hypotheses at once; nan stays nan and does not count."""
    corrected = np.full(len(p_values), np.nan)
    known = np.flatnonzero(~np.isnan(p_values))
    running = 0.0
    for place, i in enumerate(known[np.argsort(p_values[known], kind="stable")]):
        running = max(running, min(1.0, (len(known) - place) * p_values[i]))
        corrected[i] = running
    return corrected
