"""Saved tables as frames: a results folder, or one CSV or Parquet file with the columns of layers.csv."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from gradlab.analyse.findings import Diagnosis
from gradlab.analyse.verdicts import diagnose
from gradlab.errors import DataError, Problem, nearest
from gradlab.store.schema import CELL, LAYERS, STEPS, SUMMARY, names

TEXTS = [column.name for column in (*CELL, *LAYERS) if column.kind == "str"]


@dataclass(frozen=True)
class Saved:
    """What was found at `path`: `layers_path` and `steps_path` are the files (None where there is no steps table).

    chance: by cell id, from the manifest; empty where there is none. folder: the results folder, None for a lone file
    """

    path: Path
    folder: Path | None
    layers: pd.DataFrame
    steps: pd.DataFrame | None
    layers_path: Path
    steps_path: Path | None
    chance: dict[str, float]
    finished: bool


def read_saved(path: Path) -> Saved:
    """Read a results folder, or a file with the columns of layers.csv, and the steps.csv beside a layers.csv.

    Raises DataError for a path that does not exist, a folder without a layers table, a file that is neither CSV nor
    Parquet, and another of gradlab's tables.
    """
    if not path.exists():
        raise DataError(Problem(str(path), "there is no such file or folder"))
    folder = path if path.is_dir() else path.parent if path.stem == "layers" else None
    layers_path = _table(path, "layers") if path.is_dir() else path
    if layers_path is None:
        hint = "a folder that gradlab run or gradlab compare wrote"
        raise DataError(Problem(str(path), "no layers.csv and no layers.parquet in this folder", hint))
    steps_path = _table(folder, "steps") if folder is not None else None
    layers = _read(layers_path)
    _is_layers(layers, layers_path)
    return Saved(
        path=path,
        folder=folder,
        layers=layers,
        steps=None if steps_path is None else _read(steps_path),
        layers_path=layers_path,
        steps_path=steps_path,
        chance={} if folder is None else _chance(folder / "manifest.json"),
        finished=folder is None or _finished(folder / "manifest.json"),
    )


def diagnose_saved(saved: Saved, ruleset: str = "gradlab") -> list[Diagnosis]:
    """`diagnose` on saved tables; a problem with them names the file. Raises DataError and ConfigError."""
    try:
        return diagnose(saved.layers, saved.steps, ruleset, saved.chance)
    except DataError as error:
        files = {"layers": saved.layers_path, "steps": saved.steps_path}
        raise DataError([_located(problem, files) for problem in error.problems]) from None


def _located(problem: Problem, files: dict[str, Path | None]) -> Problem:
    table, colon, column = problem.where.partition(":")
    return replace(problem, where=f"{files.get(table) or table}{colon}{column}")


def _table(folder: Path, name: str) -> Path | None:
    return next(
        (file for suffix in (".csv", ".parquet") if (file := folder / f"{name}{suffix}").is_file()), None
    )


def _read(path: Path) -> pd.DataFrame:
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        header = pd.read_csv(path, nrows=0)
        texts = {column: str for column in TEXTS if column in header.columns}
        return pd.read_csv(path, dtype=texts, keep_default_na=False, na_values=["", "nan"])
    except pd.errors.EmptyDataError:
        raise DataError(Problem(str(path), "the file is empty")) from None
    except ImportError as error:
        raise DataError(Problem(str(path), "reading Parquet needs pyarrow", hint=str(error))) from None
    except (UnicodeDecodeError, pd.errors.ParserError, ValueError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise DataError(Problem(str(path), f"it cannot be read as a table: {reason}")) from None


def _is_layers(frame: pd.DataFrame, path: Path) -> None:
    """Another of our tables is a likely slip; say which it is."""
    if {"layer", "delta_rms"} & set(frame.columns):
        return
    for table, schema in (("summary", SUMMARY), ("steps", STEPS)):
        if set(names(schema)) <= set(frame.columns):
            raise DataError(
                Problem(
                    str(path), f"this is a {table} table, which has no layers", "layers.csv or its folder"
                )
            )
    close = [
        f"{column!r}: {hint}"
        for column in frame.columns
        if (hint := nearest(str(column), ["layer", "delta_rms"]))
    ]
    raise DataError(
        Problem(
            str(path),
            "it has neither a column 'layer' nor 'delta_rms'",
            "the columns of layers.csv (gradlab list metrics)",
            "; ".join(close) or None,
        )
    )


def _finished(manifest: Path) -> bool:
    """Whether there is a manifest, and it does not say that the training was interrupted."""
    try:
        return json.loads(manifest.read_text(encoding="utf-8")).get("finished") is not False
    except OSError:
        return False
    except (ValueError, AttributeError):
        return True


def _chance(manifest: Path) -> dict[str, float]:
    """The chance level of each cell; nothing where an older manifest or none does not say."""
    try:
        found = json.loads(manifest.read_text(encoding="utf-8")).get("chance", {})
        return {str(cell): float(level) for cell, level in found.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
