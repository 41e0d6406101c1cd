"""Tables of rows: one column of values each, with a mask that tells "does not exist" from "is not a number"."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradlab.base import atomic
from gradlab.base.user_file import open_file
from gradlab.tables.csv_text import escaped, unescaped
from gradlab.tables.spec import Kind

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Table:
    """Columns of equal length; `applies[name]` is False where a number does not exist, absent where all do.

    kinds: of the columns that a table's spec knows; the others are what their array is
    """

    columns: Mapping[str, NDArray[Any]]
    applies: Mapping[str, NDArray[np.bool_]]
    kinds: Mapping[str, Kind] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()))) if self.columns else 0

    def frame(self) -> pd.DataFrame:
        """A DataFrame of plain NumPy columns; a number that does not exist is NaN there."""
        import pandas as pd

        return pd.DataFrame(dict(self.columns))

    def fields(self, name: str) -> list[str]:
        """A column as it stands in a CSV file: floats so that they read back the same, nothing where none exists."""
        fields = _fields(self.columns[name], self.kinds.get(name))
        if name in self.applies:
            fields[~self.applies[name]] = ""
        found: list[str] = fields.tolist()
        return found


def _fields(values: NDArray[Any], kind: str | None) -> NDArray[np.object_]:
    """Each value as a field. Most columns hold few values many times, so each distinct one is written once."""
    if values.dtype == object or values.dtype.kind in "US":
        texts = [escaped(value) if isinstance(value, str) else str(value) for value in values.tolist()]
        quoted = {text: _quoted(text) for text in set(texts)}
        return np.array([quoted[text] for text in texts], dtype=object)
    bits = np.ascontiguousarray(values).view(f"u{values.itemsize}")  # tells -0.0 from 0.0
    _, first, place = np.unique(bits, return_index=True, return_inverse=True)
    whole = kind == "int" and values.dtype.kind == "f"
    distinct = [str(int(v)) if whole and np.isfinite(v) else repr(v) for v in values[first].tolist()]
    return np.array(distinct, dtype=object)[place]


def _quoted(text: str) -> str:
    """A text as a field of a CSV file, in quotes where it needs them: Python's own writer, before 3.13, leaves a bare
    carriage return, which ends the line for every reader."""
    return f'"{text.replace(chr(34), chr(34) * 2)}"' if any(sign in text for sign in ',"\r\n') else text


def join(tables: Sequence[Table]) -> Table:
    """The rows of several tables with the same columns, one after another."""
    names = list(tables[0].columns)
    masked = {name for table in tables for name in table.applies}

    def mask(table: Table, name: str) -> NDArray[np.bool_]:
        return table.applies.get(name, np.ones(len(table), dtype=bool))

    return Table(
        {name: np.concatenate([table.columns[name] for table in tables]) for name in names},
        {name: np.concatenate([mask(table, name) for table in tables]) for name in names if name in masked},
        tables[0].kinds,
    )


def of_rows(rows: Sequence[Mapping[str, Any]]) -> dict[str, NDArray[Any]]:
    """The columns of one row or more, all of the same keys."""
    return {name: _column([row[name] for row in rows]) for name in rows[0]}


def _column(values: Sequence[Any]) -> NDArray[Any]:
    numbers = len({type(value) for value in values}) == 1 and not isinstance(values[0], str | None)
    return np.array(values, dtype=None if numbers else object)


def repeated(row: Mapping[str, Any], length: int) -> dict[str, NDArray[Any]]:
    """Columns that hold the same value in every row."""
    return {
        name: np.full(length, value, dtype=object if isinstance(value, str | None) else None)
        for name, value in row.items()
    }


def frame(tables: Iterable[Table]) -> pd.DataFrame:
    """One DataFrame of several tables' rows; the first names the columns."""
    first, *others = tables
    return (join(others) if others else first).frame()


def write_csv(path: Path, tables: Table | Iterable[Table]) -> None:
    """Write a table, or several below each other under the first one's header.

    Atomically, as UTF-8 with Unix line ends; one table at a time is held in memory.
    """

    def fill(handle: IO[bytes]) -> None:
        text = io.TextIOWrapper(handle, encoding="utf-8", newline="")
        for place, table in enumerate([tables] if isinstance(tables, Table) else tables):
            if place == 0:
                text.write(",".join(map(_quoted, table.columns)) + "\n")
            rows = zip(*(table.fields(name) for name in table.columns), strict=True)
            text.writelines(f"{','.join(row)}\n" for row in rows)
        text.detach()

    atomic.write(path, fill)


def read_rows(path: Path, kinds: Mapping[str, Kind]) -> list[dict[str, Any]]:
    """The rows of a table that gradlab wrote, numbers as numbers; one that does not exist is NaN.

    kinds: of its columns; one that is not among them is a number where it reads as one
    """
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        with open_file(path, inf) as stream:
            found = pq.read_table(stream).to_pylist()
        return [{name: np.nan if value is None else value for name, value in row.items()} for row in found]
    with io.TextIOWrapper(open_file(path, inf), encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    return [{name: _value(text, kinds.get(name)) for name, text in row.items()} for row in rows]


def _value(text: str, kind: str | None) -> Any:
    if kind == "str":
        return unescaped(text)
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return unescaped(text) if kind is None else np.nan


@dataclass(frozen=True)
class Texts:
    """A table as it stands in a CSV file, field by field."""

    header: list[str]
    rows: list[list[str]]


def read_texts(path: Path) -> Texts:
    """A table that gradlab wrote; of a Parquet file, as its CSV would stand."""
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        with open_file(path, inf) as stream:
            found = pq.read_table(stream)
        columns = [
            ["" if v is None else escaped(v) if isinstance(v, str) else str(v) for v in column.to_pylist()]
            for column in found.columns
        ]
        return Texts(list(found.column_names), [list(row) for row in zip(*columns, strict=True)])
    with io.TextIOWrapper(open_file(path, inf), encoding="utf-8", newline="") as lines:
        header, *rows = csv.reader(lines)
    return Texts(header, rows)


def write_texts(path: Path, texts: Texts) -> None:
    """Write a table atomically, as UTF-8 with Unix line ends. Raises OSError."""
    lines = (",".join(map(_quoted, row)) for row in [texts.header, *texts.rows])
    atomic.write_text(path, "".join(f"{line}\n" for line in lines))


def write_parquet(path: Path, tables: Table | Iterable[Table]) -> None:
    """Write atomically; a number that does not exist is null, NaN stays NaN. Needs the extra `parquet`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    first, *others = [tables] if isinstance(tables, Table) else tables
    table = join(others) if others else first
    arrays = {}
    for name, values in table.columns.items():
        there = table.applies.get(name, np.ones(len(table), dtype=bool))
        if table.kinds.get(name) == "int" and values.dtype.kind == "f" and np.isfinite(values[there]).all():
            values = np.where(there, values, 0).astype(np.int64)
        arrays[name] = pa.array(values, mask=~there, from_pandas=False)

    def fill(handle: IO[bytes]) -> None:
        pq.write_table(pa.table(arrays), handle)

    atomic.write(path, fill)
