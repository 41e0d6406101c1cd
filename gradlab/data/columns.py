"""Columns of whatever a file held as numbers and as classes, or an error that names column and row."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gradlab.base.errors import DataError, Problem

if TYPE_CHECKING:
    from gradlab.data.dataset import Floats, Integers

SHOWN = 10
"""Columns with problems that are listed one by one."""
LABELS_ALWAYS = 20
"""A numeric target with this many distinct values or fewer is taken as classes."""
ROWS_PER_LABEL = 10
"""With more distinct values, a numeric target needs this many rows for each to be taken as classes."""
MISSING = ("nan", "na", "n/a", "null", "none")
"""How a missing number is written in text files, in lower case."""
WHOLE = 2.0**53
"""Floats are exact whole numbers below this."""
AS_NUMBERS = "--task regression takes a column as numbers to predict"


def numbers(frame: pd.DataFrame, source: str, place: Callable[[str], str] | None = None) -> Floats:
    """The columns of `frame` as float64 [rows, columns]. Raises DataError for text, dates, NaN, infinity.

    place: how an error names a column, where that is not by the source and its name
    """
    rows = len(frame)
    x = np.empty((rows, frame.shape[1]))
    problems: list[Problem] = []
    for index, column in enumerate(frame.columns):
        where = place(column) if place else f"{source}: column {column!r}"
        values = frame[column]
        converted = _as_floats(values)
        if converted is None:
            kind = f"it holds {values.dtype} values in its {rows} rows"
            problems.append(Problem(where, kind, "numbers", "turn them into numbers or drop the column"))
            continue
        x[:, index] = converted
        bad = np.flatnonzero(~np.isfinite(converted))
        if bad.size:
            problems.append(_not_a_number(values, int(bad[0]), bad.size, where))
    if len(problems) > SHOWN:
        message = f"and {len(problems) - SHOWN} more of its {frame.shape[1]} columns have such values"
        rest = Problem(source, message, "numbers in every column but the target")
        problems = [*problems[:SHOWN], rest]
    if problems:
        raise DataError(problems)
    return x


def classes(labels: pd.Series, where: str) -> tuple[Integers, tuple[str, ...]]:
    """Class numbers int64 [rows] and the classes' names in the order of their numbers.

    Whole numbers (also written as floats), truth values and text are classes: numbers in ascending order,
    text in alphabetical order. What is no class is found before (`is_quantity`) where the task is not given. Raises
    DataError for a missing label, for a regression target (fractions, or a numeric column with more than LABELS_ALWAYS
    distinct values and fewer than ROWS_PER_LABEL rows for each), for a single class and for a class with a single row,
    which cannot be in both parts of the split.
    """
    rows = len(labels)
    missing = np.flatnonzero(labels.isna().to_numpy())
    if missing.size:
        raise DataError(
            Problem(
                where,
                f"row {missing[0] + 1} of {rows} has no class ({count_rows(missing.size)} in all)",
                "a class in every row",
                "fill them in or remove those rows",
            )
        )
    if isinstance(labels.dtype, pd.CategoricalDtype):
        labels = labels.astype(labels.cat.categories.dtype)
    numeric = pd.api.types.is_numeric_dtype(labels.dtype) and not pd.api.types.is_bool_dtype(labels.dtype)
    values = labels.to_numpy()
    if pd.api.types.is_float_dtype(labels.dtype):
        values = _whole(labels.to_numpy(dtype=np.float64), where)
    elif pd.api.types.is_integer_dtype(labels.dtype):
        values = labels.to_numpy()
    elif numeric or pd.api.types.is_datetime64_any_dtype(labels.dtype):
        raise DataError(
            Problem(where, f"it holds {labels.dtype} values", "whole numbers or text for classes")
        )
    else:
        values = np.array([str(value) for value in values])
    found, y, counts = np.unique(values, return_inverse=True, return_counts=True)
    if numeric and too_many(len(found), rows):
        raise _regression(where, f"it has {len(found)} distinct numbers in {rows} rows")
    names = tuple(str(name) for name in found)
    check_classes(counts, names, rows, where)
    return y.astype(np.int64), names


def is_quantity(values: pd.Series) -> bool:
    """Whether a target is numbers to predict rather than classes: numeric, with fractions, with numbers that are not
    finite or exact, or with more distinct numbers than classes have. Missing values say nothing."""
    values = values.dropna()
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(values.cat.categories.dtype)
    if pd.api.types.is_float_dtype(values.dtype):
        found = values.to_numpy(dtype=np.float64)
        if (~(np.abs(found) < WHOLE) | (found != np.round(found))).any():
            return True
    elif not pd.api.types.is_integer_dtype(values.dtype):
        return False
    return too_many(values.nunique(), len(values))


def too_many(distinct: int, rows: int) -> bool:
    """Whether so many distinct numbers in so many rows are no classes."""
    return distinct > LABELS_ALWAYS and rows < ROWS_PER_LABEL * distinct


def check_classes(counts: Integers, names: tuple[str, ...], rows: int, where: str) -> None:
    """Raise DataError unless there are two classes or more, each with two rows or more.

    counts: int64 [classes], the rows of each class
    """
    if len(names) < 2:
        raise DataError(
            Problem(where, f"all {rows} rows are of one class, {names[0]!r}", "two classes or more")
        )
    single = [name for name, count in zip(names, counts, strict=True) if count < 2]
    if single:
        listed = ", ".join(single[:SHOWN]) + (", ..." if len(single) > SHOWN else "")
        raise DataError(
            Problem(
                where,
                f"{len(single)} of its {len(names)} classes have a single row among the {rows} ({listed})",
                "two rows or more of each class, one to train on and one to validate",
                f"remove or merge them; {AS_NUMBERS}",
            )
        )


def _as_floats(values: pd.Series) -> Floats | None:
    """The column in float64, NaN where one value is no number; None where its kind is wrong altogether."""
    dtype = values.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        values = values.astype(dtype.categories.dtype)
        dtype = values.dtype
    if pd.api.types.is_complex_dtype(dtype) or getattr(dtype, "kind", "O") in "mM":
        return None
    if not pd.api.types.is_numeric_dtype(dtype):
        try:
            values = pd.to_numeric(values, errors="coerce")
        except TypeError:  # lists or other objects in the cells
            return None
    return values.to_numpy(dtype=np.float64, na_value=np.nan)


def _not_a_number(values: pd.Series, row: int, count: int, where: str) -> Problem:
    value = values.iloc[row]
    if pd.api.types.is_scalar(value) and (pd.isna(value) or str(value).lower() in MISSING):
        what, hint = "is empty or NaN", "fill it in, or remove those rows or the column"
    elif isinstance(value, str):
        shown = value if len(value) <= 40 else value[:37] + "..."
        what, hint = f"is text, {shown!r}", "encode text as numbers or drop the column"
    else:
        what, hint = f"is {value!s:.40}", "remove those rows or the column"
    return Problem(
        where,
        f"row {row + 1} of {len(values)} {what} ({count_rows(count)} without a finite number)",
        "a finite number in every row",
        hint,
    )


def _whole(values: Floats, where: str) -> Integers:
    bad = np.flatnonzero(~(np.abs(values) < WHOLE) | (values != np.round(values)))
    if bad.size:
        raise _regression(where, f"row {bad[0] + 1} of {len(values)} is {float(values[bad[0]])!r}")
    return values.astype(np.int64)


def _regression(where: str, message: str) -> DataError:
    return DataError(
        Problem(
            where,
            f"{message}: a quantity, not a class",
            "whole numbers or text that name classes",
            AS_NUMBERS,
        )
    )


def count_rows(rows: int) -> str:
    return f"{rows} row{'' if rows == 1 else 's'}"
