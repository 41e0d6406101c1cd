"""A results folder read back: its tables as frames, its configuration and its manifest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradlab.base.errors import DataError, Problem
from gradlab.store.results import missing_table, read_manifest, read_table, table_file
from gradlab.tables import schema

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class SavedResult:
    """What a results folder holds. Its tables may be of fewer cells than planned where the run was cut short.

    config:   the text of config.toml; manifest: that of manifest.json, empty while a run is unfinished
    failed:   one line for each cell that failed
    histograms: None where they were not asked for
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
    histograms: pd.DataFrame | None = None


def load(folder: Path) -> SavedResult:
    """Read a results folder. Raises DataError with every file that is missing or not what it should be."""
    if not folder.is_dir():
        raise DataError(
            Problem(str(folder), "there is no such results folder", hint="see results/ for what there is")
        )
    problems: list[Problem] = []
    tables: dict[str, pd.DataFrame] = {}
    asked = {"histograms": schema.HISTOGRAMS} if table_file(folder, "histograms") else {}
    for name, columns in (schema.TABLES | asked).items():
        try:
            tables[name] = _read(folder, name, columns)
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError(problems)
    manifest = read_manifest(folder)
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
        failed=tuple(f"{item.get('cell')}: {item.get('message')}" for item in manifest.get("failed", [])),
        histograms=tables.get("histograms"),
    )


def _read(folder: Path, name: str, columns: tuple[schema.Column, ...]) -> pd.DataFrame:
    """One table, from CSV or else Parquet, with the types of the schema."""
    path = table_file(folder, name)
    if path is None:
        raise missing_table(folder, name)
    frame = read_table(path, typed=True)
    absent = [column for column in ["cell", *schema.names(columns)] if column not in frame]
    if absent:
        raise DataError(
            Problem(str(path), f"columns are missing: {', '.join(absent)}", "a table that gradlab wrote")
        )
    return frame


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
