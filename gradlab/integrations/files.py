"""The files that a callback writes its records into: the rows of layers.csv, and those of steps.csv."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from gradlab.base.errors import ConfigError, Problem
from gradlab.recorder.recorder import Recorder
from gradlab.tables.table import Table, write_csv

LAYERS, STEPS = "layers.csv", "steps.csv"
Rows = list[dict[str, str]]


class RecordFiles:
    """out: a file that ends in .csv, for the rows of layers.csv alone; else a folder, for layers.csv and steps.csv.

    A recorder that begins at step 0 replaces what is there. One that goes on later adds to it: the rows of earlier
    steps stay as they are, letter by letter, and those of the steps that are trained once more give way. Raises
    ConfigError where the rows that are there have other columns; that is known before the training.
    """

    def __init__(self, out: str | Path, recorder: Recorder) -> None:
        path = Path(out)
        alone = path.suffix == ".csv"
        self.folder = path.parent if alone else path
        self.layers = path if alone else path / LAYERS
        self.steps = None if alone else path / STEPS
        first = recorder.next_step
        self._layers = _before(first, self.layers, recorder.table())
        self._steps = _before(first, self.steps, recorder.steps_table()) if self.steps else []

    def write(self, recorder: Recorder) -> None:
        """Raises OSError. Without a record the files stay as they are."""
        layers = recorder.table()
        if not len(layers):
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        write_csv(self.layers, _after(self._layers, layers))
        if self.steps is not None:
            write_csv(self.steps, _after(self._steps, recorder.steps_table()))


def _before(first_step: int, path: Path, table: Table) -> Rows:
    """The rows in `path` of steps before the first one; none for a run that begins. table: what will be added"""
    if first_step == 0 or not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as handle:
        reader = csv.DictReader(handle)
        if reader.fieldnames != [*table.columns]:
            odd = sorted({*(reader.fieldnames or [])} ^ {*table.columns})
            message = f"{path} has other columns than these records ({', '.join(odd) or 'in another order'})"
            hint = "record with the metrics of before, or write into another file"
            raise ConfigError(Problem("out", message, hint=hint))
        return [row for row in reader if int(row["step"]) < first_step]


def _after(rows: Rows, table: Table) -> list[Table]:
    """A table behind rows as they stand in a file."""
    if not rows:
        return [table]
    columns = {name: np.array([row[name] for row in rows], dtype=object) for name in table.columns}
    return [Table(columns, {}), table]
