"""Saved tables as frames: a results folder, or one CSV or Parquet file with the columns of layers.csv."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from gradlab.analyse.diagnosis import diagnose
from gradlab.analyse.findings import Diagnosis
from gradlab.base.errors import DataError, Problem, nearest
from gradlab.store.results import chances, missing_table, read_manifest, read_table, table_file
from gradlab.tables.schema import STEPS, SUMMARY, names


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
    layers_path = table_file(path, "layers") if path.is_dir() else path
    if layers_path is None:
        raise missing_table(path, "layers")
    steps_path = table_file(folder, "steps") if folder is not None else None
    layers = read_table(layers_path, typed=False)
    _is_layers(layers, layers_path)
    manifest = {} if folder is None else read_manifest(folder)
    return Saved(
        path=path,
        folder=folder,
        layers=layers,
        steps=None if steps_path is None else read_table(steps_path, typed=False),
        layers_path=layers_path,
        steps_path=steps_path,
        chance=chances(manifest),
        finished=folder is None or (bool(manifest) and manifest.get("finished") is not False),
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
