"""A cell's records straight from its training, without the detour over the rows of its tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from gradlab.analyse.records import OF_PARAMETERS, Array, Records
from gradlab.store.stack_result import StackResult
from gradlab.tables.layers import TRAINS


def records_of(cell: Mapping[str, object], results: Sequence[StackResult]) -> Records:
    """The same as `split_cells` finds in the cell's rows of layers.csv and steps.csv.

    cell: its cell columns. results: all its stacks, in the order of their seeds.
    """
    one = results[0]
    seeds = np.array([seed for result in results for seed in result.seeds], dtype=np.int64)
    layers, places = _columns(results, "layers"), one.layers.places
    shape = (len(seeds), len(one.layers), len(places["name"]))  # [seed, record, layer], the readout last
    full: dict[str, Array] = {}
    if shape[1]:
        fixed = {name: places[name] for name in ("fan_in", "fan_out", "outputs", "batch")}
        full = {
            name: np.broadcast_to(np.array(values, dtype=np.float64), shape) for name, values in fixed.items()
        }
        full |= layers
    trains = np.array([TRAINS.index(word) for word in places["trains"]], dtype=np.float64)
    of_parameters = {name: full[name] for name in OF_PARAMETERS if name in full}
    present = np.ones((len(seeds), len(one.steps)), dtype=bool)
    names = tuple(places["name"])
    return Records(
        cell=cell,
        seeds=seeds,
        steps=one.steps,
        layers=np.arange(1, len(names)),
        names=names[:-1],
        hidden={name: values[..., :-1] for name, values in full.items()},
        output={name: values[..., -1] for name, values in full.items()},
        run=_columns(results, "steps"),
        in_layers=present if full else np.zeros_like(present),
        in_steps=present,
        rows=np.broadcast_to(present[..., None], (*present.shape, len(names) - 1)),
        activations=tuple(places["layer_activation"]),
        readout=names[-1],
        parameters=of_parameters | {"trains": np.broadcast_to(trains, shape)} if full else {},
        owners=names,
    )


def _columns(results: Sequence[StackResult], table: str) -> dict[str, Array]:
    """The columns of a table over all seeds, [seed, record, ...] each."""
    blocks = [result.blocks[table] for result in results]
    return {name: np.concatenate([block.column(name) for block in blocks]) for name in blocks[0].columns}
