"""The one split and the one standardisation that every data set goes through.

Written here, in a few lines of NumPy, because importing scikit-learn for it costs more than a second at every
start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gradlab.base.errors import DataError, Problem
from gradlab.data.dataset import Dataset, Samples

if TYPE_CHECKING:
    from gradlab.data.dataset import Floats, Integers

SPLIT_SEED = 20_240_229  # fixed: a result must not depend on how its data were split


def prepare(table: Samples, name: str, digest: str) -> Dataset:
    """Split `table` (or keep the split it came with), shuffle the training rows, standardise on them: the inputs, and
    numbers that are to be predicted.

    The shuffle matters: the probe is the first training rows, and a source is often sorted by class. Raises
    DataError for a column that float64 cannot standardise, and for a number that is the same in every training row.
    """
    if table.held_out is None:
        if table.task == "classification":
            train, val = stratified_split(table.y.astype(np.int64, copy=False))
        else:
            train, val = random_split(len(table.y))
        x_train, y_train, x_val, y_val = table.x[train], table.y[train], table.x[val], table.y[val]
    else:
        order = _generator().permutation(len(table.y))
        x_train, y_train = table.x[order], table.y[order]
        x_val, y_val = table.held_out
    x_train, x_val = _standardised(x_train, x_val, name, "input")
    if table.task == "regression":
        constant = np.flatnonzero(y_train.min(axis=0) == y_train.max(axis=0))
        if constant.size:
            value = float(y_train[0, constant[0]])
            message = f"target {constant[0] + 1} of {y_train.shape[1]} is {value!r} in all {len(y_train)} training rows"
            raise DataError(Problem(name, message, "a number that varies"))
        y_train, y_val = _standardised(y_train.astype(np.float64), y_val.astype(np.float64), name, "target")
    return Dataset(
        name=name,
        x_train=x_train,
        y_train=y_train,
        x_val=x_val,
        y_val=y_val,
        features=x_train.shape[1],
        classes=len(table.class_names),
        class_names=table.class_names,
        digest=digest,
        task=table.task,
        targets=table.targets,
        either=table.either,
    )


def _standardised(train: Floats, val: Floats, name: str, kind: str) -> tuple[Floats, Floats]:
    """`standardise`. Raises DataError for a column that float64 cannot standardise."""
    train, val = standardise(train, val)
    with np.errstate(invalid="ignore"):  # one value that is not finite spoils its column's sum
        bad = np.flatnonzero(~np.isfinite(train.sum(axis=0) + val.sum(axis=0)))
    if bad.size:
        raise DataError(
            Problem(
                name,
                f"{kind} {bad[0] + 1} of {train.shape[1]} cannot be standardised in float64 over its "
                f"{len(train)} training rows: its values are too large, or too close to each other",
                hint="rescale that column",
            )
        )
    return train, val


def random_split(rows: int) -> tuple[Integers, Integers]:
    """Row numbers of the training and the validation part, shuffled; the same on every call. A fifth of the rows,
    rounded, is for validation."""
    order = _generator().permutation(rows)
    held_out = max(1, (rows + 2) // 5)
    return order[held_out:], order[:held_out]


def stratified_split(y: Integers) -> tuple[Integers, Integers]:
    """Row numbers of the training and the validation part, each shuffled; the same on every call.

    y: int64 [rows], at least two rows a class. A fifth of each class, rounded to whole rows but at least one,
    is for validation.
    """
    generator = _generator()
    train, val = [], []
    for label in np.unique(y):
        rows = generator.permutation(np.flatnonzero(y == label))
        held_out = max(1, (len(rows) + 2) // 5)
        val.append(rows[:held_out])
        train.append(rows[held_out:])
    return generator.permutation(np.concatenate(train)), generator.permutation(np.concatenate(val))


def standardise(x_train: Floats, x_val: Floats) -> tuple[Floats, Floats]:
    """Both parts, shifted and scaled so that each column of the training part has mean 0 and variance 1.

    x_train: float64 [rows, features], x_val: float64 [other rows, features]. A column that is constant in the
    training part carries nothing to learn from: it becomes 0 in both parts. (Constant is tested exactly: the
    standard deviation of a column of 0.1 rounds to 1e-17, not to 0.)
    """
    constant = x_train.min(axis=0) == x_train.max(axis=0)
    with np.errstate(all="ignore"):  # numbers too large or too close for float64 are the caller's to report
        mean = x_train.mean(axis=0)
        x_train, x_val = x_train - mean, x_val - mean
        squares = np.einsum("nf,nf->f", x_train, x_train)  # x_train.std would copy a large array once more
        scale = np.where(constant, 1.0, np.sqrt(squares / len(x_train)))
        scale[np.isinf(scale)] = np.nan  # else the whole column would become 0
        for part in (x_train, x_val):
            part /= scale
            part[:, constant] = 0.0
    return x_train, x_val


def _generator() -> np.random.RandomState:
    """RandomState, whose stream NumPy has promised never to change (NEP 19); Generator's may."""
    return np.random.RandomState(SPLIT_SEED)
