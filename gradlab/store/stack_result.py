"""What training one stack leaves behind: its records as arrays, free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class StackResult:
    """The records of one stack.

    cell:          id of the cell; seeds: one a replica
    steps:         int64 [record], the step of each record
    layers:        float64 [record, layer, replica, column], columns `layer_columns`; no layers when `--record off`
    layer_applies: bool [record, layer, column]: False where the number does not exist (as opposed to being NaN)
    scalars:       float64 [record, replica, column], columns `measure.columns.STEP_COLUMNS`
    scalar_applies: bool [record, column]
    names, fan_in, fan_out: one a layer, the readout last
    batch:         samples in a batch
    input_sq:      float64 [replica, batch], mean square of each input of the first batch
    timings:       seconds and counts by name; not part of any table
    predicted:     float64 [replica, layer], mean-field delta_rms at step 0, NaN where the theory is silent; None
                   before it was asked
    jacobian:      float64 [record, row, replica, column], columns `measure.columns.JACOBIAN_COLUMNS`, row 0 the whole
                   net, row l hidden layer l; None where it was not asked for
    jacobian_samples:   rows of the probe that it was taken on
    jacobian_predicted: float64 [row], mean-field singular_sq_mean at step 0, NaN where the theory is silent
    histograms:    float64 [record, layer, replica, quantity, column], `measure.columns.QUANTITIES` and
                   `HISTOGRAM_COLUMNS`; None where they were not asked for
    """

    cell: str
    seeds: tuple[int, ...]
    steps: NDArray[np.int64]
    layers: NDArray[np.float64]
    layer_applies: NDArray[np.bool_]
    scalars: NDArray[np.float64]
    scalar_applies: NDArray[np.bool_]
    layer_columns: tuple[str, ...]
    names: tuple[str, ...]
    fan_in: tuple[int, ...]
    fan_out: tuple[int, ...]
    batch: int
    input_sq: NDArray[np.float64]
    timings: Mapping[str, float]
    predicted: NDArray[np.float64] | None = None
    jacobian: NDArray[np.float64] | None = None
    jacobian_samples: int = 0
    jacobian_predicted: NDArray[np.float64] | None = None
    histograms: NDArray[np.float64] | None = None
