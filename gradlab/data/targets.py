"""Which columns of a frame are the target, what kind of target they are, and the table that comes of it.

`--task` says the kind; under `auto` the columns do, and nothing else: one column of text, truth values or few whole
numbers is classes, several columns of 0 and 1 are labels, and everything else is numbers to predict.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gradlab.base.errors import DataError, Problem, attempt, nearest
from gradlab.data.columns import SHOWN, classes, count_rows, is_quantity, numbers, typed
from gradlab.data.dataset import AUTO, Samples

if TYPE_CHECKING:
    from gradlab.data.dataset import Floats, Targets, Task

FEWEST_ROWS = 8
"""Rows that numbers and labels need: two of them are for validation."""
Place = Callable[[str], str]
"""How an error names a target column."""


def table_from_frame(
    frame: pd.DataFrame, target: str | Sequence[str], source: str, task: str = AUTO
) -> Samples:
    """The target columns of `frame` as `task` says, every other column as an input.

    target: as `target_columns` reads it, or the columns themselves
    source: what to call the data in an error (the file as the user wrote it). Raises DataError, with one
            problem for each column that is not numbers (the first SHOWN of them).
    """
    columns = [str(column) for column in frame.columns]
    frame.columns = pd.Index(columns)
    chosen = target_columns(target, columns, source, len(frame)) if isinstance(target, str) else [*target]
    inputs = frame.drop(columns=chosen)
    return table_of(inputs, frame[chosen], source, lambda name: f"{source}: column {name!r}", task)


def target_columns(text: str, columns: Sequence[str], source: str, rows: int) -> list[str]:
    """The columns that `--target` names: the one of that name, else those between its commas. `y` also stands for
    `y[0]`, `y[1]` ..., as an array of several columns is called. Raises DataError for a name that is no column's."""
    found: list[str] = []
    for name in [text] if text in columns else [part.strip() for part in text.split(",")]:
        group = (
            [name]
            if name in columns
            else [c for c in columns if re.fullmatch(rf"{re.escape(name)}\[\d+\]", c)]
        )
        if not group:
            raise no_such_target(name, columns, source, rows)
        found += [each for each in group if each not in found]
    return found


def table_of(
    inputs: pd.DataFrame, targets: pd.DataFrame, source: str, place: Place, task: str = AUTO
) -> Samples:
    """Columns of inputs and the target of each row, checked. source, place: what to call the data and a target column
    in an error. Raises DataError as `table_from_frame` does."""
    named = tuple(str(name) for name in targets.columns)
    if not inputs.shape[1]:
        only = repr(named[0]) if len(named) == 1 else ", ".join(map(repr, named))
        message = f"{only} is its only column" if len(named) == 1 else f"{only} are its only columns"
        raise DataError(Problem(source, message, "at least one column of inputs"))
    if inputs.empty:
        raise DataError(Problem(source, "it has columns but no rows", "at least two rows of each class"))
    return samples_of(lambda: numbers(inputs, source), targets, source, place, task)


def samples_of(
    inputs: Callable[[], Floats], targets: pd.DataFrame, source: str, place: Place, task: str
) -> Samples:
    """As `table_of`, of inputs [row, column] that a call gives, or refuses with a DataError."""
    named = tuple(str(name) for name in targets.columns)
    targets = pd.DataFrame({name: typed(targets[name]) for name in targets})
    problems: list[Problem] = []
    target = attempt(problems, lambda: _target(targets, source, place, task))
    x = attempt(problems, inputs)
    if problems:
        raise DataError(problems)
    kind, y, class_names = target
    either = task == AUTO and kind == "classification" and _whole_numbers(targets.iloc[:, 0])
    return Samples(x, y, class_names, task=kind, targets=named, either=either)


def task_of(targets: pd.DataFrame) -> Task:
    """What the columns are where the user does not say."""
    if targets.shape[1] == 1:
        return "regression" if is_quantity(targets.iloc[:, 0]) else "classification"
    return "multilabel" if all(_zero_or_one(targets[name]) for name in targets) else "regression"


def no_such_target(target: str, columns: Sequence[str], source: str, rows: int) -> DataError:
    """The error for a target column that is not named, or not there."""
    size = f"{len(columns)} column{'' if len(columns) == 1 else 's'} and {count_rows(rows)}"
    listed = ", ".join(columns[:SHOWN]) + (", ..." if len(columns) > SHOWN else "")
    if not target:
        question = "which column holds the class, or the number to predict?"
        return DataError(
            Problem(source, f"it has {size}; {question}", listed, "name it with --target COLUMN")
        )
    return DataError(
        Problem(source, f"it has {size}, no column {target!r}", listed, nearest(target, columns))
    )


def _target(
    targets: pd.DataFrame, source: str, place: Place, task: str
) -> tuple[Task, Targets, tuple[str, ...]]:
    names = [str(name) for name in targets.columns]
    kind = task_of(targets) if task == AUTO else task
    if kind == "classification":
        if len(names) > 1:
            message = f"{len(names)} columns ({', '.join(names)}) are no class of a row"
            raise DataError(Problem(source, message, "one --target, or --task regression or multilabel"))
        y, class_names = classes(targets.iloc[:, 0], place(names[0]))
        return "classification", y, class_names
    values = numbers(targets, source, place)
    if len(values) < FEWEST_ROWS:
        message = f"it has {count_rows(len(values))}"
        raise DataError(Problem(source, message, f"{FEWEST_ROWS} rows or more, two of them to validate"))
    if kind == "multilabel":
        _check_labels(values, [place(name) for name in names])
        return "multilabel", values, ()
    return "regression", values, ()


def _check_labels(values: Floats, places: Sequence[str]) -> None:
    """Raise DataError for each label that is something else than 0 or 1."""
    problems = []
    for column, where in zip(values.T, places, strict=True):
        odd = np.flatnonzero((column != 0) & (column != 1))
        if odd.size:
            message = f"row {odd[0] + 1} of {len(column)} is {float(column[odd[0]]):g}"
            problems.append(Problem(where, message, "0 or 1 in every row of a label"))
    if problems:
        raise DataError(problems)


def _whole_numbers(values: pd.Series) -> bool:
    """Whether classes are numbers of a numeric column."""
    dtype = values.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return False
    return pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_bool_dtype(dtype)


def _zero_or_one(values: pd.Series) -> bool:
    numeric = pd.api.types.is_numeric_dtype(values.dtype) and not pd.api.types.is_complex_dtype(values.dtype)
    return numeric and bool(values.isin([0, 1]).all())
