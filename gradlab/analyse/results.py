"""Verdicts on saved tables: a results folder, or one CSV or Parquet file with the columns of layers.csv."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from gradlab.analyse.diagnosis import diagnose
from gradlab.analyse.findings import Diagnosis
from gradlab.analyse.summary import summarise
from gradlab.base.errors import DataError, Problem, nearest
from gradlab.store.results import Results, read_folder, read_layers
from gradlab.tables.attention import ATTENTION
from gradlab.tables.checks import cell_columns_of
from gradlab.tables.spec import names
from gradlab.tables.steps import STEPS
from gradlab.tables.summary import SUMMARY
from gradlab.tables.time import TIME


def read_saved(path: Path) -> Results:
    """Read a results folder, or a file with the columns of layers.csv, and the steps.csv beside a layers.csv.

    Raises DataError for a path that does not exist, a folder without a layers table, a file that is neither CSV nor
    Parquet, and another of gradlab's tables.
    """
    found = read_layers(path)
    _is_layers(found.layers, found.sources["layers"])
    return found


def read_whole(folder: Path) -> Results:
    """Read a results folder; where it has layers but no steps or no summary, these are made: steps without numbers, and
    a summary of what there is. Raises DataError with every problem."""
    found = read_folder(folder)
    layers = found.layers
    try:
        if found.summary is None and len(layers):
            found.add(SUMMARY.name, summarise(layers, found.steps, chance=found.chance))
    except DataError as error:
        raise DataError([_located(problem, found.sources) for problem in error.problems]) from None
    if found.steps is None:
        records = layers[[*cell_columns_of(layers), *names(STEPS.keys)]].drop_duplicates(ignore_index=True)
        found.add(STEPS.name, records.assign(**dict.fromkeys(names(STEPS.columns), np.nan)))
    return found


def diagnose_saved(saved: Results, ruleset: str = "gradlab") -> list[Diagnosis]:
    """`diagnose` on saved tables; a problem with them names the file. Raises DataError and ConfigError."""
    try:
        time, attention = (saved.table(spec.name) for spec in (TIME, ATTENTION))
        return diagnose(saved.layers, saved.steps, ruleset, saved.chance, time=time, attention=attention)
    except DataError as error:
        raise DataError([_located(problem, saved.sources) for problem in error.problems]) from None


def _located(problem: Problem, files: Mapping[str, Path]) -> Problem:
    table, colon, column = problem.where.partition(":")
    return replace(problem, where=f"{files.get(table) or table}{colon}{column}")


def _is_layers(frame: pd.DataFrame, path: Path) -> None:
    """Another of our tables is a likely slip; say which it is. One of another version has most of the columns."""
    if {"layer", "delta_rms"} & set(frame.columns):
        return
    for table in (SUMMARY, STEPS):
        own = set(names(table.columns))
        if 2 * len(own & set(frame.columns)) > len(own):
            message = f"this is a {table.name} table, which has no layers"
            raise DataError(Problem(str(path), message, "layers.csv or its folder"))
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
