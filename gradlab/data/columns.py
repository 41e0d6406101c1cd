"""From a frame of whatever a file held to numbers and classes, or to an error that names column and row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gradlab.base.errors import DataError, Problem, nearest
from gradlab.data.dataset import Samples

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


def table_from_frame(frame: pd.DataFrame, target: str, source: str) -> Samples:
    """The class column `target` as classes, every other column of `frame` as an input.

    source: what to call the data in an error (the file as the user wrote it). Raises DataError, with one
    problem for each column that is not numbers (the first SHOWN of them).
    """
    columns = [str(column) for column in frame.columns]
    frame.columns = pd.Index(columns)
    if target not in columns:
        raise no_such_target(target, columns, source, len(frame))
    labels = f"{source}: column {target!r}"
    return table_of(frame.drop(columns=target), frame[target], source, labels)


def table_of(inputs: pd.DataFrame, labels: pd.Series, source: str, where: str) -> Samples:
    """Columns of inputs and the class of each row, checked. source, where: what to call the data and the classes in an
    error. Raises DataError as `table_from_frame` does."""
    if not inputs.shape[1]:
        raise DataError(
            Problem(source, f"{labels.name!r} is its only column", "at least one column of inputs")
        )
    if inputs.empty:
        raise DataError(Problem(source, "it has columns but no rows", "at least two rows of each class"))
    problems: list[Problem] = []
    x, y = None, None
    class_names: tuple[str, ...] = ()
    try:
        y, class_names = classes(labels, where)
    except DataError as error:
        problems += error.problems
    try:
        x = numbers(inputs, source)
    except DataError as error:
        problems += error.problems
    if x is None or y is None:
        raise DataError(problems)
    return Samples(x, y, class_names)


def no_such_target(target: str, columns: list[str], source: str, rows: int) -> DataError:
    """The error for a class column that is not named, or not there."""
    size = f"{len(columns)} column{'' if len(columns) == 1 else 's'} and {_count(rows)}"
    listed = ", ".join(columns[:SHOWN]) + (", ..." if len(columns) > SHOWN else "")
    if not target:
        return DataError(
            Problem(
                source,
                f"it has {size}; which column holds the class?",
                listed,
                "name it with --target COLUMN",
            )
        )
    return DataError(
        Problem(source, f"it has {size}, no column {target!r}", listed, nearest(target, columns))
    )


def numbers(frame: pd.DataFrame, source: str) -> Floats:
    """The columns of `frame` as float64 [rows, columns]. Raises DataError for text, dates, NaN, infinity."""
    rows = len(frame)
    x = np.empty((rows, frame.shape[1]))
    problems: list[Problem] = []
    for index, column in enumerate(frame.columns):
        where = f"{source}: column {column!r}"
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
        rest = Problem(
            source, f"and {len(problems) - SHOWN} more of its {frame.shape[1]} columns have such values"
        )
        problems = [*problems[:SHOWN], rest]
    if problems:
        raise DataError(problems)
    return x


def classes(labels: pd.Series, where: str) -> tuple[Integers, tuple[str, ...]]:
    """Class numbers int64 [rows] and the classes' names in the order of their numbers.

    Whole numbers (also written as floats), truth values and text are classes: numbers in ascending order,
    text in alphabetical order. Raises DataError for a missing label, for a regression target (fractions, or a
    numeric column with more than LABELS_ALWAYS distinct values and fewer than ROWS_PER_LABEL rows for each),
    for a single class and for a class with a single row, which cannot be in both parts of the split.
    """
    rows = len(labels)
    missing = np.flatnonzero(labels.isna().to_numpy())
    if missing.size:
        raise DataError(
            Problem(
                where,
                f"row {missing[0] + 1} of {rows} has no class ({_count(missing.size)} in all)",
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
    if numeric and len(found) > LABELS_ALWAYS and rows < ROWS_PER_LABEL * len(found):
        raise _regression(where, f"it has {len(found)} distinct numbers in {rows} rows")
    names = tuple(str(name) for name in found)
    check_classes(counts, names, rows, where)
    return y.astype(np.int64), names


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
                "remove or merge them; a quantity to be predicted (regression) is not supported for now",
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
        f"row {row + 1} of {len(values)} {what} ({_count(count)} without a finite number)",
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
            "whole numbers or text that name classes; regression is not supported for now",
            "bin it into classes, or choose another --target",
        )
    )


def _count(rows: int) -> str:
    return f"{rows} row{'' if rows == 1 else 's'}"
