"""What was recorded of a cell, as arrays with named axes: [seed, record, layer] and [seed, record]."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gradlab.analyse.attending import Attending
from gradlab.analyse.in_time import InTime

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
OF_PARAMETERS = ("weight_grad_norm", "bias_grad_norm", "weight_norm", "update_ratio")
SEVERAL = " | "
"""Between the texts of a column of steps.csv that says more than one thing."""


@dataclass(frozen=True)
class Records:
    """What was recorded of one cell. Axes: S seeds, T records, L hidden layers (layer 1 first), nan where empty.

    cell:   the cell columns and their values
    seeds:  [S]; steps: [T], ascending, the union over seeds; layers: [L], the numbers of the hidden layers
    names:  their names
    hidden: column of layers.csv -> [S, T, L]; output: the readout's -> [S, T] (empty mapping where none is recorded)
    run:    column of steps.csv -> [S, T]
    in_layers, in_steps: [S, T], whether the table has that record of that seed
    rows:   [S, T, L], whether layers.csv has that row; a delta_rms that is nan there is not a number where `nonfinite`
            counts something, and one that the record does not have where it counts nothing
    activations: [L + 1], what is applied to each layer's outputs, the readout's last, "" for nothing
    readout: the readout's name
    words:  column of steps.csv -> its text
    parameters: of every row with parameters, also those that are no layer [S, T, R]: columns of layers.csv, and
            `trains` as places in TRAINS; owners: [R], their names
    paths: [L + 1], path, into and joins of each row as layers.csv has them, the readout's last; () where it has none
    in_time: the recurrent layers by name, step by step in time; attention: what attends, by name
    """

    cell: Mapping[str, object]
    seeds: NDArray[np.int64]
    steps: NDArray[np.int64]
    layers: NDArray[np.int64]
    names: tuple[str, ...]
    hidden: Mapping[str, Array]
    output: Mapping[str, Array]
    run: Mapping[str, Array]
    in_layers: NDArray[np.bool_]
    in_steps: NDArray[np.bool_]
    rows: NDArray[np.bool_]
    activations: tuple[str, ...] = ()
    readout: str = "output"
    words: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, Array] = field(default_factory=dict)
    owners: tuple[str, ...] = ()
    paths: tuple[tuple[str, str, str], ...] = ()
    in_time: Mapping[str, InTime] = field(default_factory=dict)
    attention: Mapping[str, Attending] = field(default_factory=dict)

    def first(self, column: str) -> Array:
        """[S, L]: the column at each seed's first record."""
        values: Array = self.layer(column)[np.arange(len(self.seeds)), self.in_layers.argmax(1)]
        return values

    def last(self, column: str) -> Array:
        """[S, L]: the column at each seed's last record."""
        return self.layer(column)[np.arange(len(self.seeds)), _last_true(self.in_layers)]

    def last_of_run(self, column: str) -> Array:
        """[S]: a column of steps.csv at each seed's last record."""
        return self.step(column)[np.arange(len(self.seeds)), _last_true(self.in_steps)]

    def layer(self, column: str) -> Array:
        """[S, T, L] of a column of layers.csv over the hidden layers; all nan where the table has no such column."""
        found = self.hidden.get(column)
        shape = (len(self.seeds), len(self.steps), len(self.layers))
        return np.full(shape, np.nan) if found is None else found

    def step(self, column: str) -> Array:
        """[S, T] of a column of steps.csv; all nan where there is none."""
        found = self.run.get(column)
        return np.full((len(self.seeds), len(self.steps)), np.nan) if found is None else found

    def every_layer(self, column: str) -> Array:
        """[S, T, L + 1]: the hidden layers and, last, the readout (nan where none is recorded)."""
        readout = self.output.get(column)
        if readout is None:
            readout = np.full((len(self.seeds), len(self.steps)), np.nan)
        return np.concatenate([self.layer(column), readout[..., None]], axis=-1)

    def known(self, column: str) -> Array:
        """[S]: the first number that a column of steps.csv has, of each seed; nan where it has none."""
        values = self.step(column)
        there = ~np.isnan(values)
        first: Array = np.take_along_axis(values, there.argmax(1)[:, None], 1)[:, 0]
        return np.where(there.any(1), first, np.nan)

    def activation(self, layer: int) -> str:
        """What is applied to the outputs of the layer with this index, L for the readout; "" for nothing. A table
        without that column has the cell's in every hidden layer."""
        if self.activations:
            return self.activations[layer]
        return str(self.cell.get("activation", "")) if layer < len(self.layers) else ""

    def place(self, layer: int | None) -> tuple[int | None, str | None]:
        """Number and name of the hidden layer with this index, the readout's for L; None for no layer."""
        if layer is None:
            return None, None
        if layer == len(self.layers):
            return int(self.layers[-1]) + 1, self.readout
        return int(self.layers[layer]), self.names[layer]


def worst(values: Array) -> Array:
    """The largest over the layers, [..., L] -> [...], nan where the column is empty in every layer."""
    return np.where(np.isnan(values).all(-1), np.nan, np.max(np.nan_to_num(values, nan=-np.inf), -1))


def _last_true(present: NDArray[np.bool_]) -> NDArray[np.int64]:
    """[S, T] -> [S]: index of the last True (the last record where there is none)."""
    last: NDArray[np.int64] = present.shape[1] - 1 - present[:, ::-1].argmax(1)
    return last
