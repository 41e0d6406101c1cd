"""Columns of whatever a file held as numbers and as classes, or an error that names column and row."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

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
NUMBER = re.compile(
    r"[+-]?(?:(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?|inf|infinity|nan)", re.IGNORECASE
)
"""A number as it is printed. With a zero before its digits, as in 01, a text is a label."""
WHOLE_NUMBER = re.compile(r"[+-]?\d{1,18}")
"""A text that is a number and a whole one, which int64 holds."""
TRUTH = {**dict.fromkeys(("True", "TRUE", "true"), True), **dict.fromkeys(("False", "FALSE", "false"), False)}
WHOLE = 2.0**53
"""Floats are exact whole numbers below this."""
AS_NUMBERS = "--task regression takes a column as numbers to predict"


def numbers(frame: pd.DataFrame, source: str, place: Callable[[str], str] | None = None) -> Floats:
    """The columns of `frame` as float64 [rows, columns]. Raises DataError for text, dates, NaN, infinity.

    place: how an error names a target; without it the columns are inputs, of which 01 is a number, too
    """
    rows = len(frame)
    x = np.empty((rows, frame.shape[1]))
    problems: list[Problem] = []
    for index, column in enumerate(frame.columns):
        where = place(column) if place else f"{source}: column {column!r}"
        values = frame[column]
        converted = _as_floats(values, padded=place is None)
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


def typed(values: pd.Series) -> pd.Series:
    """A target as what it is, whichever file it comes from.

    Numbers and truth values of a numeric column stay. Texts lose the blanks at their ends, and one that is then empty
    is missing. They are numbers where every one is written as a number prints (`NUMBER`), truth values where every one
    is True or False, and else the texts that they are.
    """
    dtype = values.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        if not _is_text(dtype.categories.to_series()):
            return values
    elif not _is_text(values):
        return values
    codes, found = pd.factorize(values)
    texts = [_text(each) for each in found]
    there = [text for text in texts if text]
    each: Any
    if there and all(NUMBER.fullmatch(text) for text in there):
        if all(WHOLE_NUMBER.fullmatch(text) for text in there):
            each = np.array([int(text or 0) for text in texts], dtype=np.int64)
            if len(there) < len(texts) or (codes < 0).any():
                each = each.astype(np.float64)
        else:
            each = np.array([float(text or "nan") for text in texts])
    elif there and all(text in TRUTH for text in there):
        each = np.array([TRUTH.get(text) for text in texts], dtype=object if "" in texts else bool)
    else:
        each = np.array(texts, dtype=object)
    missing = np.isin(codes, [-1, *(code for code, text in enumerate(texts) if not text)])
    if not len(found):
        return pd.Series(np.full(len(values), np.nan), name=values.name)
    column = each[codes]
    if missing.any():
        column = column.astype(object if column.dtype == bool else column.dtype)
        column[missing] = np.nan
    # of this dtype: else pandas copies each text into a kind of its own
    made: pd.Series = pd.Series(column, dtype=column.dtype, name=values.name)
    return made


def _is_text(values: pd.Series) -> bool:
    """Whether a column has texts, or bytes, and nothing else but gaps."""
    return pd.api.types.infer_dtype(values, skipna=True) in ("string", "bytes")


def _text(value: Any) -> str:
    """A label without the blanks at its ends. Raises UnicodeDecodeError for bytes that are no UTF-8."""
    return (value.decode("utf-8") if isinstance(value, bytes) else str(value)).strip()


def classes(labels: pd.Series, where: str) -> tuple[Integers, tuple[str, ...]]:
    """Class numbers int64 [rows] and the classes' names in the order of their numbers.

    Whole numbers (also written as floats), truth values and text are classes: numbers in ascending order,
    text in alphabetical order; which texts are numbers `typed` says. What is no class is found before (`is_quantity`)
    where the task is not given. Raises
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
        values = np.array([str(value) for value in values], dtype=object)
    y, found = pd.factorize(values, sort=True)
    counts = np.bincount(y)
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


def _padded(value: object) -> bool:
    """Whether a text has a zero before its digits, which numbers have not when they print."""
    return isinstance(value, str) and re.match(r"\s*[+-]?0\d", value) is not None


def _as_floats(values: pd.Series, padded: bool) -> Floats | None:
    """The column in float64, NaN where one value is no number; None where its kind is wrong altogether. padded: whether
    01 is a number"""
    dtype = values.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        values = values.astype(dtype.categories.dtype)
        dtype = values.dtype
    if pd.api.types.is_complex_dtype(dtype) or getattr(dtype, "kind", "O") in "mM":
        return None
    if not pd.api.types.is_numeric_dtype(dtype):
        if not padded:
            values = values.mask(values.map(_padded))
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
        if _padded(value):
            hint = "a number has no zero before its digits"
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


def check_header(names: list[str], source: str) -> None:
    """Raise DataError where there is no column, or one without a name, or two of the same name."""
    if not names:
        raise DataError(Problem(source, "the file has no header row", "a first row that names the columns"))
    unnamed = [str(index) for index, name in enumerate(names, start=1) if not name]
    if unnamed:
        raise DataError(
            Problem(
                source,
                f"column {', '.join(unnamed)} of {len(names)} has no name",
                "a name for every column",
                "row numbers are left out by pandas with to_csv(..., index=False), by R with row.names = FALSE",
            )
        )
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        message = f"more than one of its {len(names)} columns is called {', '.join(map(repr, twice))}"
        raise DataError(Problem(source, message, "a name of its own for every column"))
