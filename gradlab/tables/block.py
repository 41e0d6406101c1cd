"""The records of one table as an array with one axis order, from the sensor to the journal to the rows.

The order is [replica, record, *axes of the table, column]: the order in which the rows stand in the file, so that
rows are a reshape and the analysis takes a column as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradlab.tables.spec import Places, TableSpec
from gradlab.tables.table import Table, repeated

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Block:
    """Records of one table.

    table:   its name; columns: those of the last axis
    values:  float64 [replica, record, *axes, column]
    applies: bool [record, *axes, column]: False where the number does not exist (as opposed to being NaN)
    places:  what the rows are about
    """

    table: str
    columns: tuple[str, ...]
    values: Array
    applies: Bools
    places: Places

    @classmethod
    def empty(cls, spec: TableSpec, replicas: int, places: Places) -> Block:
        """A block without records; the length of an axis is that of the places along it."""
        shape = tuple(_length(spec, axis, places) for axis in spec.axes)
        columns = spec.recorded
        values = np.empty((replicas, 0, *shape, len(columns)))
        return cls(spec.name, columns, values, np.empty(values.shape[1:], dtype=bool), dict(places))

    def __len__(self) -> int:
        """Number of records."""
        return int(self.values.shape[1])

    def column(self, name: str) -> Array:
        """One column, [replica, record, *axes]: a view."""
        found: Array = self.values[..., self.columns.index(name)]
        return found

    def with_records(self, values: Array, applies: Bools) -> Block:
        """The same table with these records."""
        assert values.shape[0] == len(self.values) and values.shape[2:] == self.values.shape[2:]
        assert applies.shape == values.shape[1:]
        return replace(self, values=values, applies=applies)

    def rows(
        self, spec: TableSpec, cell: Mapping[str, Any], seeds: Sequence[int], steps: Sequence[int]
    ) -> Table:
        """A row for each replica, record and position: by seed, then step, then the axes in their order.

        cell: the cell columns; seeds: one a replica; steps: one a record
        """
        shape = self.values.shape[:-1]
        flat = self.values.reshape(-1, len(self.columns))
        there = slice(None) if not spec.needs else ~np.isnan(flat[:, self.columns.index(spec.needs)])
        size = len(flat[there])
        columns: dict[str, NDArray[Any]] = repeated(cell, size)
        axis = {name: 2 + place for place, name in enumerate(spec.axes)}
        for at, (column, along) in enumerate(zip(spec.keys, (seeds, steps), strict=True)):
            columns[column.name] = _along(shape, np.array(along[: shape[at]], dtype=np.int64), at)[there]
        applies: dict[str, Bools] = {}
        exists = np.broadcast_to(self.applies, (*shape, len(self.columns))).reshape(flat.shape)
        for column in spec.columns:
            if column.sort == "place":
                value = self.places[column.name]
                if column.along:
                    kind = object if column.kind == "str" else None
                    columns[column.name] = _along(shape, np.array(value, dtype=kind), axis[column.along])[
                        there
                    ]
                else:
                    columns[column.name] = np.full(size, value)
                continue
            place = self.columns.index(column.name)
            values = flat[there, place]
            if spec.needs and column.kind == "int":
                values = values.astype(np.int64)
            columns[column.name] = values
            applies[column.name] = ~np.isnan(values) if column.empty else exists[there, place]
        return Table(columns, applies, spec.kinds)


def _length(spec: TableSpec, axis: str, places: Places) -> int:
    """Positions along an axis."""
    values: Sequence[Any] = next(places[column.name] for column in spec.places if column.along == axis)
    return len(values)


def _along(shape: tuple[int, ...], array: NDArray[Any], axis: int) -> NDArray[Any]:
    """An array along one axis of (replica, record, ...), repeated over the others, as rows."""
    view = [1] * len(shape)
    view[axis] = len(array)
    return np.broadcast_to(array.reshape(view), shape).reshape(-1)
