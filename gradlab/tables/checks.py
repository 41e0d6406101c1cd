"""What a table of records cannot hold: another kind than its column's, a share beyond 1, the same row twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gradlab.base.errors import DataError, Problem
from gradlab.tables.cell import CELL
from gradlab.tables.layers import LAYERS, LAYERS_FULL, TRAINS
from gradlab.tables.spec import TableSpec, names
from gradlab.tables.steps import STEPS, STEPS_OF_ANY_MODEL

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

LAYER_COLUMNS = frozenset(LAYERS_FULL.every)
STEP_COLUMNS = frozenset(STEPS_OF_ANY_MODEL.every)
WORDS = frozenset(name for name, kind in STEPS_OF_ANY_MODEL.kinds.items() if kind == "str")
TEXTS = WORDS | {name for name, kind in LAYERS_FULL.kinds.items() if kind == "str"}
INDEX = names(LAYERS_FULL.keys)
SIGNED = frozenset(
    column.name
    for table in (LAYERS_FULL, STEPS_OF_ANY_MODEL)
    for column in (*table.keys, *table.columns)
    if column.signed
)


def cell_columns_of(frame: pd.DataFrame) -> list[str]:
    """The columns that say which cell a row belongs to: those left of `seed` that are no record of it."""
    if "seed" not in frame.columns:
        return []
    before = list(frame.columns[: list(frame.columns).index("seed")])
    return [column for column in before if column not in LAYER_COLUMNS | STEP_COLUMNS]


def check_table(frame: pd.DataFrame, table: str, required: Sequence[str]) -> None:
    """Raise DataError with every problem of a table of layers or steps that is to be judged."""
    problems = []
    if not len(frame):
        problems.append(
            Problem(table, "the table has no rows, so there is nothing to judge", "a row for each record")
        )
    problems += [
        Problem(table, f"no column {column!r}", "the columns of gradlab list metrics")
        for column in required
        if column not in frame.columns
    ]
    if problems := problems + impossible(frame, table):
        raise DataError(problems)


def impossible(frame: pd.DataFrame, table: str) -> list[Problem]:
    """What no table of that name can hold, but for rows that repeat."""
    import numpy as np
    import pandas as pd

    double = frame.columns[frame.columns.duplicated()]
    if len(double):
        return [Problem(table, f"two columns are called {double[0]!r}", "each name once")]
    problems = []
    if "cell" in frame.columns and (frame["cell"].isna() | (frame["cell"] == "")).any():
        problems.append(Problem(f"{table}: cell", "a row has no value", "a name in every row"))
    if table not in (LAYERS.name, STEPS.name):
        return problems
    texts = TEXTS | set(names(CELL)) | set(cell_columns_of(frame))
    if table == LAYERS.name and "trains" in frame.columns:
        odd = sorted({str(each) for each in frame["trains"].dropna()} - {*TRAINS, "", "nan"})
        if odd:
            problems.append(Problem("layers: trains", f"{odd[0]!r} is no word of it", ", ".join(TRAINS)))
    known = (LAYER_COLUMNS if table == LAYERS.name else STEP_COLUMNS) - texts
    for column in (c for c in frame.columns if c in known):
        if not pd.api.types.is_numeric_dtype(frame[column]) and not frame[column].isna().all():
            bad = frame[column][pd.to_numeric(frame[column], errors="coerce").isna() & frame[column].notna()]
            shown = f" ({bad.iloc[0]!r})" if len(bad) else ""
            problems.append(
                Problem(f"{table}: {column}", f"not a column of numbers{shown}", "numbers, or nothing")
            )
        else:
            problems += _out_of_range(table, column, frame[column].to_numpy(np.float64, na_value=np.nan))
    return problems


def repeated(frame: pd.DataFrame, spec: TableSpec) -> list[Problem]:
    """Rows of the same cell, seed, step and place. Nothing where the table lacks a column that tells them apart."""
    keys = [*names(spec.keys), *spec.axes]
    cells = ["cell"] if "cell" in frame.columns else cell_columns_of(frame) if keys else []
    if not (keys or cells) or not {*keys} <= {*frame.columns}:
        return []
    again = frame.duplicated([*cells, *keys])
    if not again.any():
        return []
    row = frame.loc[again, [*cells, *keys]].iloc[0]
    where = ", ".join(f"{name} {row[name]}" for name in ("cell", *keys) if name in row)
    told = " and ".join(filter(None, (", ".join(keys[:-1]), *keys[-1:]))) if keys else "cell"
    hint = "each record once: gradlab merge joins results folders"
    if keys and not cells:
        hint = "tables of several cells need a column that tells them apart, left of `seed`"
    return [Problem(spec.name, f"several rows for the same {told} ({where})", hint=hint)]


def _out_of_range(table: str, column: str, values: NDArray[np.float64]) -> list[Problem]:
    """What no record can hold: a share beyond 1, a length below 0."""
    import numpy as np

    where = f"{table}: {column}"
    if column in (*INDEX, "layer"):
        if np.isnan(values).any():
            return [Problem(where, "a row has no value", "a whole number in every row")]
        if (odd := values[~(np.isfinite(values) & (values == np.floor(values)))]).size:
            return [Problem(where, f"not a whole number ({odd[0]:g})", "a whole number in every row")]
    low = -np.inf if column in SIGNED else 1.0 if column == "layer" else 0.0
    high = 1.0 if column.endswith(("_fraction", "_accuracy")) else np.inf
    # what is not finite is a net's that broke, and the rule's to judge
    odd = values[np.isfinite(values) & ((values < low) | (values > high))]
    return [Problem(where, f"{odd[0]:g} is out of range", _range(low, high))] if odd.size else []


def _range(low: float, high: float) -> str:
    return f">= {low:g}" + ("" if high == float("inf") else f" and <= {high:g}")
