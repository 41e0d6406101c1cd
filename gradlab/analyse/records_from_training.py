"""A cell's records straight from its training, without the detour over the rows of its tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from gradlab.analyse.records import Array, Records
from gradlab.store.stack_result import StackResult
from gradlab.tables.columns import STEP_COLUMNS


def records_of(cell: Mapping[str, object], results: Sequence[StackResult]) -> Records:
    """The same as `split_cells` finds in the cell's rows of layers.csv and steps.csv.

    cell: its cell columns. results: all its stacks, in the order of their seeds.
    """
    one = results[0]
    seeds = np.array([seed for result in results for seed in result.seeds], dtype=np.int64)
    every = np.concatenate([result.layers for result in results], axis=2).transpose(3, 2, 0, 1)
    scalars = np.concatenate([result.scalars for result in results], axis=1).transpose(2, 1, 0)
    shape = every.shape[1:]  # [seed, record, layer], the readout last
    full: dict[str, Array] = {}
    if shape[1]:
        fixed = {"fan_in": one.fan_in, "fan_out": one.fan_out, "batch": (one.batch,) * shape[2]}
        full = {
            name: np.broadcast_to(np.array(values, dtype=np.float64), shape) for name, values in fixed.items()
        }
        full |= dict(zip(one.layer_columns, every, strict=True))
        full["delta_rms_predicted"] = np.full(shape, np.nan)
        predicted = [result.predicted for result in results if result.predicted is not None]
        if predicted:
            full["delta_rms_predicted"][:, 0, :] = np.concatenate(predicted)
    present = np.ones((len(seeds), len(one.steps)), dtype=bool)
    return Records(
        cell=cell,
        seeds=seeds,
        steps=one.steps,
        layers=np.arange(1, len(one.names)),
        names=one.names[:-1],
        hidden={name: values[..., :-1] for name, values in full.items()},
        output={name: values[..., -1] for name, values in full.items()},
        run=dict(zip(STEP_COLUMNS, scalars, strict=True)),
        in_layers=present if full else np.zeros_like(present),
        in_steps=present,
        rows=np.broadcast_to(present[..., None], (*present.shape, len(one.names) - 1)),
    )
