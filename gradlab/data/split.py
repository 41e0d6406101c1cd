"""The one split and the one standardisation that every data set goes through.

Written here, in a few lines of NumPy, because importing scikit-learn for it costs more than a second at every
start.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradlab.base.errors import DataError, Problem
from gradlab.data import cache
from gradlab.data.dataset import Dataset, Samples

if TYPE_CHECKING:
    from gradlab.data.dataset import Floats, Integers

KEPT_FROM = 1_000_000
"""Numbers of a table that is kept for later; a smaller one is read again faster than anybody notices."""
BLOCK_NUMBERS = 1 << 21
"""Numbers that are looked at together, 16 MB."""
SINGLE = "single_"
"""How the names of the float32 arrays of an entry begin."""
SPLIT_SEED = 20_240_229  # fixed: a result must not depend on how its data were split


def prepare(table: Samples, name: str, digest: str, size: int = 0) -> Dataset:
    """Split `table` (or keep the split it came with), shuffle the training rows, standardise on them: the inputs, and
    numbers that are to be predicted.

    The shuffle matters: the probe is the first training rows, and a source is often sorted by class. size: the bytes of
    the file that the table was read from, where it may be kept for later (`gradlab.data.cache`). Raises DataError for
    a column that float64 cannot standardise, and for a number that is the same in every training row.
    """
    if table.held_out is not None:
        train = _generator().permutation(len(table.y))
        x_other, y_other = table.held_out
        val = np.arange(len(y_other))
    else:
        classes = table.y.astype(np.int64, copy=False) if table.task == "classification" else None
        train, val = random_split(len(table.y)) if classes is None else stratified_split(classes)
        x_other, y_other = table.x, table.y
    scale = scale_of(table.x, train)
    _check(scale, (len(train), name, "input"), *_extremes(x_other, val))
    y_train, y_val = table.y[train], y_other[val]
    if table.task == "regression":
        y_train, y_val = _standardised(y_train.astype(np.float64), y_val.astype(np.float64), name)
    parts = {
        "x_train": _part(table.x, train, scale),
        "x_val": _part(x_other, val, scale),
        "y_train": _of(y_train),
        "y_val": _of(y_val),
    }
    facts = {
        "name": name,
        "digest": digest,
        "class_names": table.class_names,
        "task": table.task,
        "targets": table.targets,
        "either": table.either,
    }
    if size and table.x.size >= KEPT_FROM:
        singles = {
            f"{SINGLE}train": _part(table.x, train, scale, "float32"),
            f"{SINGLE}val": _part(x_other, val, scale, "float32"),
        }
        kept = cache.keep(digest, size, facts, parts | singles)
        if kept is not None:
            return of_kept(kept)
    return _dataset(facts, {each: part.whole() for each, part in parts.items()})


def of_kept(kept: cache.Kept, name: str = "") -> Dataset:
    """The data set of an entry of the cache. name: what its file is called now"""
    return _dataset(kept.facts | ({"name": name} if name else {}), kept.arrays)


def _dataset(facts: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Dataset:
    single = (arrays[SINGLE + "train"], arrays[SINGLE + "val"]) if SINGLE + "train" in arrays else None
    return Dataset(
        name=facts["name"],
        x_train=arrays["x_train"],
        y_train=arrays["y_train"],
        x_val=arrays["x_val"],
        y_val=arrays["y_val"],
        features=arrays["x_train"].shape[1],
        classes=len(facts["class_names"]),
        class_names=tuple(facts["class_names"]),
        digest=facts["digest"],
        task=facts["task"],
        targets=tuple(facts["targets"]),
        either=facts["either"],
        single=single,
    )


@dataclass(frozen=True)
class Scale:
    """How each column is shifted and scaled, [column].

    constant: which carry nothing to learn from, and become 0; low, high: the ends of the training rows
    """

    mean: Floats
    scale: Floats
    constant: NDArray[np.bool_]
    low: Floats
    high: Floats

    def of(self, rows: Floats) -> Floats:
        with np.errstate(
            all="ignore"
        ):  # numbers too large or too close for float64 are the caller's to report
            scaled = (rows - self.mean) / self.scale
        scaled[:, self.constant] = 0.0
        return scaled


def scale_of(x: Floats, rows: Integers) -> Scale:
    """The scale that gives each column of `x[rows]` mean 0 and variance 1.

    x: float64 [any row, column]. A few columns at a time, so that those rows are not there a second time. Each column's
    sums go over the rows in their order, as NumPy adds up whole tables; never a lone column, which it adds pairwise.
    (Constant is tested exactly: the standard deviation of a column of 0.1 rounds to 1e-17, not to 0.)
    """
    columns = x.shape[1]
    width = max(2, BLOCK_NUMBERS // max(len(rows), 1))
    starts = [*range(0, columns, width)]
    if len(starts) > 1 and columns - starts[-1] == 1:
        del starts[-1]
    mean, scale, low, high = (np.empty(columns) for _ in range(4))
    constant = np.empty(columns, dtype=bool)
    for start, end in zip(starts, [*starts[1:], columns], strict=True):
        block, of = np.take(x[:, start:end], rows, axis=0), slice(start, end)
        low[of], high[of] = block.min(axis=0), block.max(axis=0)
        constant[of] = low[of] == high[of]
        with np.errstate(all="ignore"):
            mean[of] = block.mean(axis=0)
            block -= mean[of]
            squares = np.einsum("nf,nf->f", block, block)
            scale[of] = np.where(constant[of], 1.0, np.sqrt(squares / len(rows)))
    scale[np.isinf(scale)] = np.nan  # else the whole column would become 0
    return Scale(mean, scale, constant, low, high)


def _part(x: Floats, rows: Integers, scale: Scale, dtype: str = "float64") -> cache.Part:
    """The rows of `x`, standardised, a few at a time."""

    def made() -> Iterator[NDArray[Any]]:
        with np.errstate(over="ignore"):
            for each in _in_parts(x, rows):
                yield scale.of(each).astype(dtype, copy=False)

    return cache.Part((len(rows), x.shape[1]), dtype, made)


def _of(array: NDArray[Any]) -> cache.Part:
    return cache.Part(array.shape, str(array.dtype), lambda: iter([array]))


def _in_parts(x: Floats, rows: Integers) -> Iterator[Floats]:
    count = max(1, BLOCK_NUMBERS // x.shape[1])
    for start in range(0, len(rows), count):
        yield x[rows[start : start + count]]


def _extremes(x: Floats, rows: Integers) -> tuple[Floats, Floats]:
    """The least and the largest number of each column of `x[rows]`."""
    parts = [(each.min(axis=0), each.max(axis=0)) for each in _in_parts(x, rows)]
    return np.min([low for low, _ in parts], axis=0), np.max([high for _, high in parts], axis=0)


def _check(scale: Scale, of: tuple[int, str, str], *ends: Floats) -> None:
    """Raise DataError for a column that float64 cannot standardise: what lies between two numbers that it can is
    finite, too. of: the training rows, the data set's name, the kind of column; ends: of the validation rows"""
    good = np.isfinite(scale.of(np.stack([scale.low, scale.high, *ends]))).all(axis=0)
    bad = np.flatnonzero(~good)
    if bad.size:
        rows, name, kind = of
        raise DataError(
            Problem(
                name,
                f"{kind} {bad[0] + 1} of {len(scale.mean)} cannot be standardised in float64 over its "
                f"{rows} training rows: its values are too large, or too close to each other",
                hint="rescale that column",
            )
        )


def _standardised(train: Floats, val: Floats, name: str) -> tuple[Floats, Floats]:
    """Numbers to predict, standardised on the training rows. Raises DataError where that cannot be."""
    constant = np.flatnonzero(train.min(axis=0) == train.max(axis=0))
    if constant.size:
        value = float(train[0, constant[0]])
        message = (
            f"target {constant[0] + 1} of {train.shape[1]} is {value!r} in all {len(train)} training rows"
        )
        raise DataError(Problem(name, message, "a number that varies"))
    scale = scale_of(train, np.arange(len(train)))
    _check(scale, (len(train), name, "target"), val.min(axis=0), val.max(axis=0))
    return scale.of(train), scale.of(val)


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


def _generator() -> np.random.RandomState:
    """RandomState, whose stream NumPy has promised never to change (NEP 19); Generator's may."""
    return np.random.RandomState(SPLIT_SEED)
