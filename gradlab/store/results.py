"""A results folder's files read back: a table as a frame, the manifest. What is made of them is the caller's matter."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradlab.base.errors import DataError, Problem
from gradlab.tables.table import KINDS

if TYPE_CHECKING:
    import pandas as pd

JOURNAL = ".journal"
MANIFEST_TYPES: dict[str, type] = {
    "failed": list, "timings": dict, "sha256": dict, "versions": dict, "argv": list, "device": str, "chance": dict,
}  # fmt: skip
WHOLE = {"depth", "width", "seed", "step", "layer", "seeds"}  # whole numbers that are never empty


def table_file(folder: Path, name: str) -> Path | None:
    """The file of a table, CSV before Parquet; None where there is neither."""
    files = (folder / f"{name}{suffix}" for suffix in (".csv", ".parquet"))
    return next((file for file in files if file.is_file()), None)


def missing_table(folder: Path, name: str) -> DataError:
    """The error of a folder that lacks a table: unfinished results, or none of gradlab's."""
    if (folder / JOURNAL).is_dir():
        hint = "the command that made it continues it"
        return DataError(
            Problem(str(folder), f"its run is unfinished: there is no table of {name} yet", hint=hint)
        )
    hint = "a folder that gradlab run, compare or watch wrote"
    return DataError(Problem(str(folder), f"no {name}.csv and no {name}.parquet in this folder", hint))


def read_table(path: Path, *, typed: bool) -> pd.DataFrame:
    """A CSV or Parquet file as a frame. Texts stay texts (a hash of digits alone too), an empty number is NaN, floats
    read back the same.

    typed: every known column must have the schema's type, as in a file that gradlab wrote; else pandas finds the types
    of the numbers, and a column that is none is the caller's to judge. Raises DataError naming the file.
    """
    import pandas as pd

    try:
        return pd.read_parquet(path) if path.suffix == ".parquet" else _read_csv(path, typed)
    except pd.errors.EmptyDataError:
        raise DataError(Problem(str(path), "the file is empty")) from None
    except ImportError as error:
        raise DataError(Problem(str(path), "reading Parquet needs pyarrow", hint=str(error))) from None
    except Exception as error:  # pandas and pyarrow raise many kinds for a file that is no table
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(Problem(str(path), f"it cannot be read as a table: {reason}")) from None


def _read_csv(path: Path, typed: bool) -> pd.DataFrame:
    import pandas as pd

    header = list(pd.read_csv(path, nrows=0, encoding="utf-8").columns)
    types: dict[str, Any] = {}
    for name in header:
        kind = KINDS.get(name)
        if kind == "str":
            types[name] = str
        elif kind is not None and typed:
            types[name] = "int64" if name in WHOLE else "float64"
    numbers = {name: ["", "nan"] for name in header if types.get(name) is not str}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer pandas rounds correctly by itself, and says so
        return pd.read_csv(
            path,
            dtype=types,
            keep_default_na=False,
            na_values=numbers,
            float_precision="round_trip",
            encoding="utf-8",
        )


def read_manifest(folder: Path) -> dict[str, Any]:
    """manifest.json; empty where there is none, as while a run is unfinished.

    An entry of another type than gradlab gives it is left out: somebody may have written the file by hand. Raises
    DataError where it is no JSON.
    """
    path = folder / "manifest.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(Problem(str(path), f"is not JSON: {error}")) from error
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


def chances(manifest: dict[str, Any]) -> dict[str, float]:
    """Each cell's accuracy of always guessing the commonest class, as far as a manifest (of any version) says."""
    found = manifest.get("chance", {})
    try:
        return {str(cell): float(level) for cell, level in found.items()}
    except (AttributeError, TypeError, ValueError):
        return {}
