"""What a table is: its columns, what its rows are for, and what switches it on. Every table is an instance.

Whoever writes, reads, lists, estimates or draws tables loops over the specs and knows none of them by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any, Literal

Kind = Literal["int", "float", "str"]
Sort = Literal["place", "measured", "predicted"]
Places = Mapping[str, Any]
"""What the rows of a block are about, by place column: for each position of its axis, or one
number for all."""


@dataclass(frozen=True)
class Column:
    """One column of a table.

    name, kind, unit, meaning: as `gradlab list metrics` shows them; unit is "" for a pure number or a text
    sort:     "place" says what the row is about (layer, fan_in, batch), "measured" is a number of a record,
              "predicted" the theory's, added after the run
    along:    of a place in a block: the axis along which its values lie, or "" for one value for all
    empty:    NaN stands for a number that does not exist there, and is written as an empty field
    signed:   the number may be below 0
    of:       the table that the number is made from: it is empty where that has no records
    compared: made by comparisons, which NaN always fails: empty where z is not finite, so that a diverged net does not
              look free of dead and saturated units
    """

    name: str
    kind: Kind
    unit: str
    meaning: str
    sort: Sort = "measured"
    along: str = ""
    empty: bool = False
    of: str = ""
    signed: bool = False
    compared: bool = False


@dataclass(frozen=True)
class Option:
    """The switch of [recording] that asks for a table: `--name`, with its meaning for the help."""

    name: str
    meaning: str


@dataclass(frozen=True)
class TableSpec:
    """One table.

    name:    of its file, `name.csv`, and of the library's property
    row:     what a row is for, in words: "cell, seed, recorded step and layer"
    keys:    the columns behind the cell's that tell its rows apart in time: seed and step, or none
    axes:    the axes of its block behind (seed, record): ("layer",); empty for one row a record
    lengths: of its axes, but for that of the layers
    columns: the others, in the order in which they stand in the file
    needs:   the column without which a row of the block does not exist (NaN there); "" where every row does
    option:  what switches it on; None for a table that is always written
    folded:  columns of one kind that a list for people shows as one line
    """

    name: str
    row: str
    keys: tuple[Column, ...]
    columns: tuple[Column, ...]
    axes: tuple[str, ...] = ()
    lengths: Mapping[str, int] = field(default_factory=dict)
    needs: str = ""
    option: Option | None = None
    folded: Folded | None = None

    @cached_property
    def kinds(self) -> dict[str, Kind]:
        """Name -> kind of every column but the cell's."""
        return {column.name: column.kind for column in (*self.keys, *self.columns)}

    @cached_property
    def recorded(self) -> tuple[str, ...]:
        """The columns of its block, in their order: the measured and the predicted ones."""
        return names(column for column in self.columns if column.sort != "place")

    @cached_property
    def measured(self) -> tuple[str, ...]:
        return names(column for column in self.columns if column.sort == "measured")

    @property
    def places(self) -> tuple[Column, ...]:
        return tuple(column for column in self.columns if column.sort == "place")

    @property
    def every(self) -> tuple[str, ...]:
        """The names of its columns but the cell's, as they stand in the file."""
        return names((*self.keys, *self.columns))

    def numbers(self, layers: int) -> int:
        """How many numbers a record of one replica holds, with so many layers."""
        return prod(self.lengths.get(axis, layers) for axis in self.axes) * len(self.recorded)

    def described(self) -> list[Column]:
        """The columns as a list for people has them."""
        columns = [*self.keys, *self.columns]
        if self.folded is None:
            return columns
        inside = set(self.folded.names)
        return [column for column in columns if column.name not in inside] + [self.folded.shown]


@dataclass(frozen=True)
class Folded:
    """Columns that differ by a number alone, and the line that stands for all of them."""

    names: tuple[str, ...]
    shown: Column


def names(columns: Iterable[Column]) -> tuple[str, ...]:
    return tuple(column.name for column in columns)


def floats(*rows: tuple[str, str, str]) -> tuple[Column, ...]:
    """Measured numbers: (name, unit, meaning) each."""
    return tuple(Column(name, "float", unit, meaning) for name, unit, meaning in rows)


def place(name: str, kind: Kind, unit: str, meaning: str, along: str = "") -> Column:
    """What a row is about."""
    return Column(name, kind, unit, meaning, sort="place", along=along)


def predicted(name: str, unit: str, meaning: str) -> Column:
    """The theory's number, empty where it says nothing."""
    return Column(name, "float", unit, meaning, sort="predicted", empty=True)


SCHEMA_VERSION = 5
"""Rises when a table or a file of the journal is written in another way, so that an old folder is not continued."""
