"""From a stack's arrays to the rows of its tables: by seed, then step, then layer."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradlab.store.stack_result import StackResult
from gradlab.tables.columns import HISTOGRAM_COLUMNS, JACOBIAN_COLUMNS, QUANTITIES, STEP_COLUMNS
from gradlab.tables.table import Table, repeated

Array = NDArray[Any]


def layer_rows(cell: Mapping[str, Any], result: StackResult, predicted: NDArray[np.float64] | None) -> Table:
    """One row per seed, recorded step and layer.

    cell: the cell columns; predicted: delta_rms of every layer at step 0, [replica, layer], NaN where the theory
    is silent; None where it says nothing at all.
    """
    records, layers, replicas, _ = result.layers.shape
    shape = (replicas, records, layers)
    flat = partial(_along, shape)
    size = replicas * records * layers
    columns = {
        **repeated(cell, size),
        "seed": flat(np.array(result.seeds), 0),
        "step": flat(result.steps if records else np.empty(0, dtype=np.int64), 1),
        "layer": flat(np.arange(1, layers + 1), 2),
        "name": flat(np.array(result.names, dtype=object), 2),
        "fan_in": flat(np.array(result.fan_in), 2),
        "fan_out": flat(np.array(result.fan_out), 2),
        "batch": np.full(size, result.batch),
    }
    applies = {}
    for place, name in enumerate(result.layer_columns):
        columns[name] = result.layers[..., place].transpose(2, 0, 1).reshape(-1)
        applies[name] = np.broadcast_to(result.layer_applies[None, :, :, place], shape).reshape(-1)
        if name == "nonfinite":  # the last of the standard columns: the prediction stands beside it
            columns["delta_rms_predicted"] = _first_record(predicted, shape)
            applies["delta_rms_predicted"] = ~np.isnan(columns["delta_rms_predicted"])
    return Table(columns, applies)


def _along(shape: tuple[int, ...], array: Array, axis: int) -> Array:
    """An array along one axis of (replica, record, layer, ...), repeated over the others."""
    view = [1] * len(shape)
    view[axis] = len(array)
    return np.broadcast_to(array.reshape(view), shape).reshape(-1)


def _first_record(predicted: NDArray[np.float64] | None, shape: tuple[int, int, int]) -> Array:
    values = np.full(shape, np.nan)
    if predicted is not None and shape[1]:
        values[:, 0, :] = predicted
    return values.reshape(-1)


def step_rows(cell: Mapping[str, Any], result: StackResult) -> Table:
    """One row per seed and recorded step."""
    records, replicas, _ = result.scalars.shape
    columns = {
        **repeated(cell, replicas * records),
        "seed": np.repeat(np.array(result.seeds), records),
        "step": np.tile(result.steps, replicas),
    }
    applies = {}
    for place, name in enumerate(STEP_COLUMNS):
        columns[name] = result.scalars[..., place].T.reshape(-1)
        applies[name] = np.tile(result.scalar_applies[:, place], replicas)
    return Table(columns, applies)


def jacobian_rows(cell: Mapping[str, Any], result: StackResult) -> Table:
    """One row per seed, recorded step and Jacobian: the whole net's (layer 0), then each hidden layer's."""
    assert result.jacobian is not None
    records, rows, replicas, _ = result.jacobian.shape
    shape = (replicas, records, rows)
    flat = partial(_along, shape)
    size = replicas * records * rows
    columns = {
        **repeated(cell, size),
        "seed": flat(np.array(result.seeds), 0),
        "step": flat(result.steps if records else np.empty(0, dtype=np.int64), 1),
        "layer": flat(np.arange(rows), 2),
        "name": flat(np.array(["input_output", *result.names[:-1]], dtype=object), 2),
        "samples": np.full(size, result.jacobian_samples),
    }
    for place, name in enumerate(JACOBIAN_COLUMNS):
        columns[name] = result.jacobian[..., place].transpose(2, 0, 1).reshape(-1)
    predicted = _first_record(result.jacobian_predicted, shape)
    columns["singular_sq_mean_predicted"] = predicted
    return Table(columns, {"singular_sq_mean_predicted": ~np.isnan(predicted)})


def histogram_rows(cell: Mapping[str, Any], result: StackResult) -> Table:
    """One row per seed, recorded step, layer and quantity; the readout has no h."""
    assert result.histograms is not None
    records, layers, replicas, quantities, _ = result.histograms.shape
    shape = (replicas, records, layers, quantities)
    flat = partial(_along, shape)
    values = result.histograms.transpose(2, 0, 1, 3, 4).reshape(-1, len(HISTOGRAM_COLUMNS))
    kept = ~np.isnan(values[:, HISTOGRAM_COLUMNS.index("entries")])
    columns = {
        **repeated(cell, int(kept.sum())),
        "seed": flat(np.array(result.seeds), 0)[kept],
        "step": flat(result.steps if records else np.empty(0, dtype=np.int64), 1)[kept],
        "layer": flat(np.arange(1, layers + 1), 2)[kept],
        "name": flat(np.array(result.names, dtype=object), 2)[kept],
        "quantity": flat(np.array(QUANTITIES, dtype=object), 3)[kept],
    }
    for place, name in enumerate(HISTOGRAM_COLUMNS):
        found = values[kept, place]
        columns[name] = found if name in ("low", "high") else found.astype(np.int64)
    return Table(columns, {name: ~np.isnan(columns[name]) for name in ("low", "high")})
