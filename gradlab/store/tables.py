"""Tables of rows: one column of values each, with a mask that tells "does not exist" from "is not a number"."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradlab.store import atomic
from gradlab.store.schema import CELL, LAYERS, LAYERS_FULL, STEPS, SUMMARY

if TYPE_CHECKING:
    import pandas as pd

KINDS = {column.name: column.kind for column in (*CELL, *LAYERS, *LAYERS_FULL, *STEPS, *SUMMARY)}


@dataclass(frozen=True)
class Table:
    """Columns of equal length; `applies[name]` is False where a number does not exist, absent where all do."""

    columns: Mapping[str, NDArray[Any]]
    applies: Mapping[str, NDArray[np.bool_]]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()))) if self.columns else 0

    def frame(self) -> pd.DataFrame:
        """A DataFrame of plain NumPy columns; a number that does not exist is NaN there."""
        import pandas as pd

        return pd.DataFrame(dict(self.columns))

    def texts(self, name: str) -> list[str]:
        """A column as it is written: floats so that they read back the same, nothing where none exists."""
        values, applies = self.columns[name], self.applies.get(name)
        texts = _texts(values, KINDS.get(name))
        if applies is None:
            return texts
        return [text if there else "" for text, there in zip(texts, applies, strict=True)]


def _texts(values: NDArray[Any], kind: str | None) -> list[str]:
    if values.dtype == object or values.dtype.kind in "US":
        return [str(value) for value in values.tolist()]
    if kind == "int" and values.dtype.kind == "f":
        return [str(int(v)) if np.isfinite(v) else repr(v) for v in values.tolist()]
    return [repr(value) for value in values.tolist()]


def join(tables: Sequence[Table]) -> Table:
    """The rows of several tables with the same columns, one after another."""
    names = list(tables[0].columns)
    masked = {name for table in tables for name in table.applies}

    def mask(table: Table, name: str) -> NDArray[np.bool_]:
        return table.applies.get(name, np.ones(len(table), dtype=bool))

    return Table(
        {name: np.concatenate([table.columns[name] for table in tables]) for name in names},
        {name: np.concatenate([mask(table, name) for table in tables]) for name in names if name in masked},
    )


def repeated(row: Mapping[str, Any], length: int) -> dict[str, NDArray[Any]]:
    """Columns that hold the same value in every row."""
    return {
        name: np.full(length, value, dtype=object if isinstance(value, str | None) else None)
        for name, value in row.items()
    }


def write_csv(path: Path, table: Table) -> None:
    """Write atomically, as UTF-8 with Unix line ends."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows(zip(*(table.texts(name) for name in table.columns), strict=True))
    atomic.write_text(path, text.getvalue())


def write_parquet(path: Path, table: Table) -> None:
    """Write atomically; a number that does not exist is null, NaN stays NaN. Needs the extra `parquet`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays = {}
    for name, values in table.columns.items():
        there = table.applies.get(name, np.ones(len(table), dtype=bool))
        if KINDS.get(name) == "int" and values.dtype.kind == "f" and np.isfinite(values[there]).all():
            values = np.where(there, values, 0).astype(np.int64)
        arrays[name] = pa.array(values, mask=~there, from_pandas=False)

    def fill(handle: IO[bytes]) -> None:
        pq.write_table(pa.table(arrays), handle)

    atomic.write(path, fill)
