"""A results folder read back: its tables as frames, its configuration and its manifest."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradlab.errors import DataError, Problem
from gradlab.store import schema
from gradlab.store.tables import KINDS

if TYPE_CHECKING:
    import pandas as pd

WHOLE = {"depth", "width", "seed", "step", "layer", "seeds"}  # whole numbers that are never empty


@dataclass(frozen=True)
class SavedResult:
    """What a results folder holds. Its tables may be of fewer cells than planned where the run was cut short.

    config:   the text of config.toml; manifest: that of manifest.json, empty while a run is unfinished
    failed:   one line for each cell that failed
    """

    out: Path
    files: tuple[Path, ...]
    layers: pd.DataFrame
    steps: pd.DataFrame
    summary: pd.DataFrame
    config: str
    manifest: dict[str, Any]
    failed: tuple[str, ...] = ()
    cached: bool = True


def load(folder: Path) -> SavedResult:
    """Read a results folder. Raises DataError with every file that is missing or not what it should be."""
    if not folder.is_dir():
        raise DataError(
            Problem(str(folder), "there is no such results folder", hint="see results/ for what there is")
        )
    problems: list[Problem] = []
    tables: dict[str, pd.DataFrame] = {}
    for name, columns in schema.TABLES.items():
        try:
            tables[name] = _read(folder, name, columns)
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError(problems)
    manifest = _manifest(folder)
    return SavedResult(
        out=folder,
        files=tuple(
            path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith(".")
        ),
        layers=tables["layers"],
        steps=tables["steps"],
        summary=tables["summary"],
        config=_text(folder / "config.toml"),
        manifest=manifest,
        failed=tuple(f"{item['cell']}: {item['message']}" for item in manifest.get("failed", [])),
    )


def _read(folder: Path, name: str, columns: tuple[schema.Column, ...]) -> pd.DataFrame:
    """One table, from CSV or else Parquet, with the types of the schema."""
    import pandas as pd

    csv, parquet = folder / f"{name}.csv", folder / f"{name}.parquet"
    path = csv if csv.exists() else parquet
    if not path.exists():
        raise DataError(Problem(str(csv), "the file is missing", "a results folder that gradlab wrote"))
    try:
        frame = _read_csv(path) if path is csv else pd.read_parquet(path)
    except Exception as error:  # pandas raises many kinds for a file that is no table
        raise DataError(Problem(str(path), f"cannot be read as a table: {error}")) from error
    missing = [column for column in ["cell", *schema.names(columns)] if column not in frame]
    if missing:
        raise DataError(
            Problem(str(path), f"columns are missing: {', '.join(missing)}", "a table that gradlab wrote")
        )
    return frame


def _read_csv(path: Path) -> pd.DataFrame:
    """Texts stay texts (a hash of digits alone too), an empty number is NaN, floats read back the same."""
    import pandas as pd

    header = list(pd.read_csv(path, nrows=0, encoding="utf-8").columns)
    types: dict[str, Any] = {}
    for name in header:
        kind = KINDS.get(name)
        if kind is not None:
            types[name] = str if kind == "str" else "int64" if name in WHOLE else "float64"
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


def _manifest(folder: Path) -> dict[str, Any]:
    text = _text(folder / "manifest.json")
    try:
        found = json.loads(text) if text else {}
    except ValueError as error:
        raise DataError(Problem(str(folder / "manifest.json"), f"is not JSON: {error}")) from error
    return found if isinstance(found, dict) else {}


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
