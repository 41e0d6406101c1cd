"""A user's own data set: a function that returns (X, y), checked as the columns of a file are."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from gradlab.base.own import Own
from gradlab.data.columns import check_header
from gradlab.data.dataset import AUTO, Samples
from gradlab.data.registry import RECIPE_VERSION
from gradlab.data.targets import table_of


def load_table(own: Own, task: str = AUTO) -> Samples:
    """Call the function. X: [row, ...] of numbers, y: [row] or [row, target]; NumPy arrays, tensors, frames, lists.

    Raises ConfigError where it fails or returns something else, DataError for data that cannot be learned as `task`.
    """
    with own.running():
        returned = own.attribute(**own.arguments)
        pair = isinstance(returned, tuple | list) and len(returned) == 2
        x, y = (_frame(returned[0]), _targets(returned[1])) if pair else (None, None)
    if x is None or y is None:
        shown = f"{len(returned)} things" if isinstance(returned, tuple | list) else type(returned).__name__
        raise own.refused(f"gave {shown}", "(X, y): rows of numbers and the target of each")
    source = f"{own.where} {own.text}"
    if len(x) != len(y):
        raise own.refused(f"gave {len(x)} rows of X and {len(y)} of y", "one target a row")
    if x.shape[1]:
        check_header([*x.columns], source)
    table = table_of(x, y, source, lambda name: f"{source}: {name}", task)
    return replace(table, either=False)  # who returns whole numbers chose them, and no file did


def digest_of(table: Samples, own: Own) -> str:
    """sha256 (hex) of the function's source and of what it returned."""
    task = "" if table.task == "classification" else f"task {table.task}\n"
    hashed = hashlib.sha256(f"recipe {RECIPE_VERSION}\n{own.source}\n{table.class_names}\n{task}".encode())
    for array in (table.x, table.y):
        hashed.update(f"{array.dtype} {array.shape}\n".encode() + np.ascontiguousarray(array).tobytes())
    return hashed.hexdigest()


def _frame(x: Any) -> pd.DataFrame:
    if isinstance(x, pd.DataFrame):
        return x.set_axis([str(name) for name in x.columns], axis=1).reset_index(drop=True)
    array = _array(x)
    flat = array.reshape(len(array), -1) if array.size else array.reshape(len(array), 0)
    return pd.DataFrame(flat, columns=[f"x[{index}]" for index in range(flat.shape[1])])


def _targets(y: Any) -> pd.DataFrame:
    if isinstance(y, pd.Series):
        return y.reset_index(drop=True).rename("y").to_frame()
    if isinstance(y, pd.DataFrame):
        return _frame(y)
    array = _array(y)
    if array.ndim == 0 or (array.size != len(array) and array.ndim != 2):
        raise ValueError(f"y has the shape {[*array.shape]}, not [rows] or [rows, targets]")
    flat = array.reshape(len(array), -1) if array.size else array.reshape(len(array), 1)
    names = ["y"] if flat.shape[1] == 1 else [f"y[{index}]" for index in range(flat.shape[1])]
    return pd.DataFrame(flat, columns=names)


def _array(values: Any) -> Any:
    """A tensor, on any device, or what NumPy takes for an array."""
    return values.detach().cpu().numpy() if hasattr(values, "detach") else np.asarray(values)
