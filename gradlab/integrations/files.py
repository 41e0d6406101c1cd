"""What a callback writes its records into: a file of the rows of layers.csv, or a results folder."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any
from warnings import warn

import numpy as np
from numpy.typing import NDArray

from gradlab.base.errors import ConfigError, Problem, UserError
from gradlab.recorder.recorder import Recorder
from gradlab.recorder.saving import RecordTables, save
from gradlab.store.results import read_table
from gradlab.tables.attention import ATTENTION
from gradlab.tables.csv_text import unescaped
from gradlab.tables.layers import LAYERS
from gradlab.tables.spec import TableSpec
from gradlab.tables.steps import STEPS, STEPS_OF_ANY_MODEL
from gradlab.tables.table import Table, join, read_texts, write_csv
from gradlab.tables.time import TIME

KEY = "step"


class RecordFiles:
    """out: a file that ends in .csv, for the rows of layers.csv alone; else a folder, as `Recorder.save` writes it.

    A recorder that begins at step 0 replaces an earlier file, and an earlier folder of the same model. One that goes on
    later adds to them: the rows of earlier steps stay as they are, and those of steps that are trained once more give
    way. Raises ConfigError where the rows that are there have other columns, DataError where they are damaged; that is
    known before the training.
    """

    def __init__(self, out: str | Path, recorder: Recorder) -> None:
        self.path = Path(out)
        self.is_file = self.path.suffix == ".csv"
        self._layers = self._steps = self._time = self._attention = None
        if (first := recorder.next_step) > 0:
            layers = self.path if self.is_file else self.path / f"{LAYERS.name}.csv"
            self._layers = _before(first, layers, LAYERS, recorder.table())
            if not self.is_file:
                steps = self.path / f"{STEPS.name}.csv"
                self._steps = _before(first, steps, STEPS_OF_ANY_MODEL, recorder.steps_table())
                time = self.path / f"{TIME.name}.csv"
                self._time = _before(first, time, TIME, recorder.time_table())
                attention = self.path / f"{ATTENTION.name}.csv"
                self._attention = _before(first, attention, ATTENTION, recorder.attention_table())

    def write(self, recorder: Recorder) -> None:
        """Raises OSError or GradlabError. Without a record nothing is written. Where the folder holds another model's
        results these stay, and a new one beside it takes the records."""
        layers = recorder.table()
        if not len(layers):
            return
        layers = _joined(self._layers, layers)
        if self.is_file:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_csv(self.path, layers)
            return
        steps, time = _joined(self._steps, recorder.steps_table()), _joined(self._time, recorder.time_table())
        attention = _joined(self._attention, recorder.attention_table())
        tables = RecordTables(layers, steps, time, attention)
        try:
            _save(self.path, recorder, tables)
        except UserError as error:
            names = (self.path.with_name(f"{self.path.name}-{number}") for number in count(2))
            free = next(path for path in names if not path.exists())
            _save(free, recorder, tables)
            warn(f"gradlab has written its records to {free}: {error}", stacklevel=2)


def _save(path: Path, recorder: Recorder, tables: RecordTables) -> None:
    device = next(recorder.model.parameters()).device.type
    timings = {"seconds": recorder.seconds, "recording_overhead": 1 + recorder.overhead}
    path.parent.mkdir(parents=True, exist_ok=True)
    save(path, tables, type(recorder.model).__qualname__, device, timings, force=False)


def _before(first_step: int, path: Path, spec: TableSpec, table: Table) -> Table | None:
    """The rows in `path` of steps before the first one, with the columns of `table`, which will be added to them; None
    where there are none. Raises DataError where the file is damaged, ConfigError where it has other columns."""
    if not path.exists():
        return None
    read_table(path, spec)
    found = read_texts(path)
    there = found.header
    own = (
        there[there.index("seed") :] if "seed" in there else there
    )  # before it, the columns of a folder's cell
    if own != [*table.columns]:
        odd = ", ".join(sorted({*own} ^ {*table.columns})) or "in another order"
        message = f"{path} has other columns than these records ({odd})"
        hint = "record with the metrics of before, or write to another place"
        raise ConfigError(Problem("out", message, hint=hint))
    rows = [row for row in found.rows if int(row[there.index(KEY)]) < first_step]
    columns: dict[str, NDArray[Any]] = {}
    applies: dict[str, NDArray[np.bool_]] = {}
    for name in table.columns:
        texts = [row[there.index(name)] for row in rows]
        if table.kinds.get(name) == "str" or table.columns[name].dtype == object:
            columns[name] = np.array([unescaped(text) for text in texts], dtype=object)
            continue
        applies[name] = there_is = np.array([text != "" for text in texts], dtype=bool)
        numbers = np.array([float(text or "nan") for text in texts])
        whole = table.kinds.get(name) == "int" and there_is.all()
        columns[name] = numbers.astype(np.int64) if whole else numbers
    return Table(columns, applies, table.kinds) if rows else None


def _joined(earlier: Table | None, table: Table) -> Table:
    """Both tables' rows by seed, then step."""
    if earlier is None:
        return table
    every = join([earlier, table])
    order = np.argsort(every.columns["seed"], kind="stable")

    def sorted_(columns: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        return {name: column[order] for name, column in columns.items()}

    return Table(sorted_(every.columns), sorted_(every.applies), table.kinds)
