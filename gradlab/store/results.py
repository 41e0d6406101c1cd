"""A results folder read back, or a lone table: the one reader for whoever judges, draws, repairs or shows results."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from gradlab import sensors
from gradlab.base.errors import DataError, Problem
from gradlab.base.user_file import open_file, read_text
from gradlab.tables.cell import kinds_of
from gradlab.tables.checks import impossible, repeated
from gradlab.tables.csv_text import unescaped
from gradlab.tables.spec import TableSpec, names

if TYPE_CHECKING:
    import pandas as pd

JOURNAL, MANIFEST, CONFIG = ".journal", "manifest.json", "config.toml"
ENDINGS = (".csv", ".parquet")
"""A table's file, the first that is there."""
RESULTS = "a folder that gradlab run, compare or watch wrote, or its layers.csv"
AGAIN = "the command that made it writes it again"
WHOLE = {"depth", "width", "seed", "step", "layer", "seeds"}
"""Whole numbers that every row of a table of gradlab's has."""
MANIFEST_TYPES: dict[str, type] = {
    "failed": list, "timings": dict, "sha256": dict, "versions": dict, "argv": list, "device": list, "chance": dict,
    "prepared": list, "schema": int, "recipe": int, "cells": list, "seeds": list, "recording": dict, "data": dict,
    "weights": dict,
}  # fmt: skip


@dataclass
class Results:
    """What was found at `path`, a results folder or a lone file. Tables are read when they are asked for.

    A folder's tables may be of fewer cells than planned where the run was cut short.
    sources:  table -> its file; folder: None for a lone file
    manifest: that of manifest.json as far as it is sound, empty while a run is unfinished
    """

    path: Path
    folder: Path | None
    sources: Mapping[str, Path]
    manifest: Mapping[str, Any] = field(default_factory=dict)
    cached: bool = True
    _frames: dict[str, pd.DataFrame] = field(default_factory=dict, repr=False)

    @property
    def out(self) -> Path:
        return self.path

    @property
    def files(self) -> tuple[Path, ...]:
        """What a folder holds for its reader."""
        inside = () if self.folder is None else sorted(self.folder.iterdir())
        return tuple(path for path in inside if path.is_file() and not path.name.startswith("."))

    def table(self, name: str) -> pd.DataFrame | None:
        """One table as a frame, its columns of their spec's kinds; None where there is no file of it.

        Raises DataError naming the file, and the column, where it cannot be read as that table.
        """
        if name not in self._frames:
            if name not in self.sources:
                return None
            self._frames[name] = read_table(self.sources[name], sensors.tables()[name])
        return self._frames[name]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in sensors.tables():
            raise AttributeError(f"results have no {name!r}")
        return self.table(name)

    def require(self, names: Iterable[str]) -> None:
        """Read these tables, each with every column that its spec has. Raises DataError with all that is wrong."""
        problems: list[Problem] = []
        for name in names:
            try:
                frame = self.table(name)
                if frame is None:
                    raise missing_table(self.path, name)
                absent = [
                    column
                    for column in ["cell", *sensors.tables("standard")[name].every]
                    if column not in frame
                ]
                if absent:
                    message = f"columns are missing: {', '.join(absent)}"
                    problems.append(Problem(str(self.sources[name]), message, "a table that gradlab wrote"))
            except DataError as error:
                problems += error.problems
        if problems:
            raise DataError(problems)

    @property
    def config(self) -> str:
        """The text of config.toml; empty where there is none."""
        path = None if self.folder is None else self.folder / CONFIG
        try:
            return read_text(path, errors="replace") if path and path.exists() else ""
        except OSError as error:
            raise DataError(Problem(str(path), f"it cannot be read: {error.strerror}", hint=AGAIN)) from error

    @property
    def failed(self) -> tuple[str, ...]:
        """One line for each cell that failed."""
        return tuple(f"{item.get('cell')}: {item.get('message')}" for item in self.manifest.get("failed", []))

    @property
    def finished(self) -> bool:
        """Whether the run went through, as far as anybody can tell: a lone file is taken as whole, and so are tables
        that somebody has put into a folder."""
        if self.folder is None or not (self.manifest or (self.folder / JOURNAL).is_dir()):
            return True
        return bool(self.manifest) and self.manifest.get("finished") is not False

    @property
    def unknown(self) -> list[str]:
        """What a reader must know of the tables: a sentence for each thing that nobody can tell from what is here."""
        said = []
        if not self.finished:
            said.append("the run is unfinished, and only what was done until then is here")
        elif self.folder is not None and not self.manifest:
            said.append(
                f"no {MANIFEST} is here: whether the run went through, with which versions, and how accurate guessing "
                f"would be is not known"
            )
        if "steps" not in self.sources:
            said.append("no steps table is here: nothing can be said about learning")
        return said

    def add(self, name: str, frame: pd.DataFrame) -> None:
        """Put a table beside those that were found, which is made from them."""
        self._frames[name] = frame

    @property
    def chance(self) -> dict[str, float]:
        """Each cell's accuracy of always guessing the commonest class, as far as the manifest says a share."""
        found = self.manifest.get("chance", {})
        return {
            cell: float(level)
            for cell, level in found.items()
            if isinstance(level, int | float) and 0 <= level <= 1
        }


def read_folder(folder: Path) -> Results:
    """A results folder with every table that a run always writes. One with neither journal nor manifest is tables that
    somebody has put there: it needs layers alone, and each table that is there is checked.

    Raises DataError with every file that is missing or not what it should be.
    """
    if not folder.is_dir():
        message, hint = "there is no such results folder", "see results/ for what there is"
        if folder.exists():
            message, hint = "it is no results folder", "gradlab diagnose reads a single table, too"
        raise DataError(Problem(str(folder), message, hint=hint))
    found = Results(folder, folder, _sources(folder), read_manifest(folder))
    loose = not (found.manifest or (folder / JOURNAL).is_dir())
    needed = ("layers",) if loose else ("layers", "steps", "summary")
    found.require(dict.fromkeys([*needed, *(name for name in sensors.beside() if name in found.sources)]))
    return found


def read_layers(path: Path) -> Results:
    """A results folder of which layers.csv is wanted, or one file with its columns and the steps.csv beside it.

    Raises DataError for a path that does not exist, a folder without a layers table, and a file that is no table.
    """
    if not path.exists():
        raise DataError(Problem(str(path), "there is no such file or folder", RESULTS))
    folder = path if path.is_dir() else path.parent if path.stem == "layers" else None
    sources = {} if folder is None else _sources(folder)
    if not path.is_dir():
        sources["layers"] = path
    elif "layers" not in sources:
        raise missing_table(path, "layers")
    found = Results(path, folder, sources, {} if folder is None else read_manifest(folder))
    for name in ("layers", "steps"):
        found.table(name)
    return found


def _sources(folder: Path) -> dict[str, Path]:
    """table -> its file, of the tables that a folder has."""
    found = {}
    for name in sensors.tables():
        files = (folder / f"{name}{ending}" for ending in ENDINGS)
        if (file := next((file for file in files if file.is_file()), None)) is not None:
            found[name] = file
    return found


def missing_table(folder: Path, name: str) -> DataError:
    """The error of a folder that lacks a table: unfinished results, or none of gradlab's."""
    if (folder / JOURNAL).is_dir():
        hint = "the command that made it continues it"
        return DataError(
            Problem(str(folder), f"its run is unfinished: there is no table of {name} yet", hint=hint)
        )
    hint = RESULTS
    return DataError(Problem(str(folder), f"no {name}.csv and no {name}.parquet in this folder", hint))


def read_table(path: Path, spec: TableSpec) -> pd.DataFrame:
    """A CSV or Parquet file as a frame. Texts stay texts (a hash of digits alone too), an empty number is NaN, floats
    read back the same; columns that the table does not know are what pandas finds.

    Raises DataError naming the file, and the column whose values are of another kind or cannot be; where a header
    stands among the rows; and where rows repeat.
    """
    import pandas as pd

    try:
        with open_file(path) as stream:
            frame = pd.read_parquet(stream) if path.suffix == ".parquet" else _read_csv(stream, path, spec)
    except DataError:
        raise
    except pd.errors.EmptyDataError:
        raise DataError(Problem(str(path), "the file is empty", hint=AGAIN)) from None
    except ImportError as error:
        raise DataError(Problem(str(path), "reading Parquet needs pyarrow", hint=str(error))) from None
    except Exception as error:  # pandas and pyarrow raise many kinds for a file that is no table
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(Problem(str(path), f"it cannot be read as a table: {reason}", hint=AGAIN)) from None
    frame = _of_kinds(frame, path, spec)
    if problems := impossible(frame, spec.name) or repeated(frame, spec):
        raise DataError(
            [replace(each, where=f"{path}{each.where.removeprefix(spec.name)}") for each in problems]
        )
    return frame


def _of_kinds(frame: pd.DataFrame, path: Path, spec: TableSpec) -> pd.DataFrame:
    """The frame with its columns of numbers as int64 where every row has a whole number of a whole kind, else float64.

    Raises DataError for a column of numbers that holds something else, and where a row does not say which it is.
    """
    import numpy as np
    import pandas as pd

    if frame.columns.has_duplicates:
        double = frame.columns[frame.columns.duplicated()][0]
        raise DataError(Problem(str(path), f"two columns are called {double!r}", "each name once"))
    if any((frame[name] == name).any() for name in frame.columns[:1]):
        hint = "gradlab merge joins results folders"
        raise DataError(Problem(str(path), "a second header stands among the rows", "one table", hint))
    problems = []
    needed = {*names(spec.keys), *spec.axes}
    for name, kind in kinds_of(spec).items():
        if kind == "str" or name not in frame:
            continue
        column, where = frame[name], f"{path}: {name}"
        if not pd.api.types.is_numeric_dtype(column) and not column.isna().all():
            bad = column[pd.to_numeric(column, errors="coerce").isna() & column.notna()]
            shown = f" ({bad.iloc[0]!r})" if len(bad) else ""
            problems.append(Problem(where, f"not a column of numbers{shown}", hint=AGAIN))
            continue
        values = column.to_numpy(np.float64, na_value=np.nan)
        odd = values[~(np.isfinite(values) & (values == np.floor(values)))]
        if kind == "int" and name in needed and odd.size:
            message = "a row has no value" if np.isnan(odd).any() else f"not a whole number ({odd[0]:g})"
            problems.append(Problem(where, message, hint=AGAIN))
        frame[name] = values.astype(np.int64) if kind == "int" and name in WHOLE and not odd.size else values
    if problems:
        raise DataError(problems)
    return frame


def _read_csv(stream: IO[bytes], path: Path, spec: TableSpec) -> pd.DataFrame:
    import pandas as pd

    kinds = kinds_of(spec)
    first = pd.read_csv(stream, nrows=1, header=None, dtype=str, encoding="utf-8").iloc[0]
    header = [str(name) for name in first]
    stream.seek(0)
    if double := [name for place, name in enumerate(header) if name in header[:place]]:
        raise DataError(Problem(str(path), f"two columns are called {double[0]!r}", "each name once"))
    texts = {name: str for name in header if kinds.get(name) == "str"}
    numbers = {name: ["", "nan"] for name in header if name not in texts}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer pandas rounds correctly by itself, and says so
        frame = pd.read_csv(
            stream,
            dtype=texts,
            keep_default_na=False,
            na_values=numbers,
            float_precision="round_trip",
            encoding="utf-8",
        )
    for name in frame.select_dtypes(exclude="number"):
        odd = {text: unescaped(text) for text in frame[name].unique() if str(text).startswith("'")}
        if odd:
            frame[name] = frame[name].replace(odd)
    return frame


def read_manifest(folder: Path) -> dict[str, Any]:
    """manifest.json; empty where there is none, as while a run is unfinished.

    An entry of another type than gradlab gives it is left out: somebody may have written the file by hand. Raises
    DataError where it is no JSON.
    """
    path = folder / MANIFEST
    try:
        found = json.loads(read_text(path, most=None)) if path.exists() else {}
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(Problem(str(path), f"is not JSON: {error}", hint=AGAIN)) from error
    if not isinstance(found, dict):
        return {}
    sound: dict[str, Any] = {
        key: value for key, value in found.items() if isinstance(value, MANIFEST_TYPES.get(key, object))
    }
    if "failed" in sound:
        sound["failed"] = [each for each in sound["failed"] if isinstance(each, dict)]
    if "timings" in sound:
        numbers = sound["timings"].items()
        sound["timings"] = {name: value for name, value in numbers if isinstance(value, int | float)}
    return sound
