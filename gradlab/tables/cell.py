"""The columns that every table begins with: which cell a row belongs to, and which record."""

from __future__ import annotations

from gradlab.tables.spec import Column, Kind, TableSpec, place

CELL: tuple[Column, ...] = (
    place("cell", "str", "", "hash of the cell's configuration, data and code: the same cell, the same name"),
    place("activation", "str", "", "activation with its parameters"),
    place("depth", "int", "layers", "number of hidden layers"),
    place("width", "int", "units", "units in each hidden layer"),
    place("init", "str", "", "initialiser as configured"),
    place("norm", "str", "", "normalisation"),
    place("residual", "str", "", "residual scheme"),
    place("optimizer", "str", "", "optimiser"),
    place("lr", "float", "", "learning rate as configured, before any schedule"),
    place("dataset", "str", "", "data set"),
)

RECORD: tuple[Column, ...] = (
    Column(
        "seed",
        "int",
        "",
        "seed of the replica: its initial weights and its batches",
        sort="place",
        signed=True,
    ),
    place("step", "int", "steps", "number of updates made before this record"),
)
"""The keys of a table whose rows are records."""


def kinds_of(table: TableSpec) -> dict[str, Kind]:
    """Name -> kind of every column of a table, the cell's included."""
    return {**{column.name: column.kind for column in CELL}, **table.kinds}
