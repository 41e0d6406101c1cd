"""The rows of layers.csv and steps.csv, checked and split into cells, as the arrays of `records.Records`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradlab.analyse.attending import attending
from gradlab.analyse.in_time import in_time
from gradlab.analyse.records import OF_PARAMETERS, SEVERAL, Array, Ints, Records
from gradlab.base.errors import DataError, Problem
from gradlab.tables.attention import ATTENTION
from gradlab.tables.checks import (
    INDEX,
    LAYER_COLUMNS,
    STEP_COLUMNS,
    TEXTS,
    WORDS,
    cell_columns_of,
    check_table,
)
from gradlab.tables.layers import TRAINS
from gradlab.tables.spec import TableSpec
from gradlab.tables.time import TIME

UNMEASURED = ("fan_in", "fan_out", "outputs", "batch", "nonfinite", "delta_rms_predicted")
"""Columns whose numbers say nothing about a layer on their own."""
ON_PATH = ("path", "into", "joins")
OF_A_ROW = ("name", "layer_activation", *ON_PATH)
"""Columns of words, each the same in every record of a row."""


def split_cells(
    layers: pd.DataFrame,
    steps: pd.DataFrame | None = None,
    cell_columns: Sequence[str] | None = None,
    time: pd.DataFrame | None = None,
    attention: pd.DataFrame | None = None,
) -> list[Records]:
    """One `Records` per cell, in the order in which the cells first appear in `layers`.

    layers, steps, time, attention: tables as in the CSV files of these names. cell_columns: what identifies a cell; by
    default every column left of `seed`. A layer that never has a delta_rms, though nothing in it is not finite, is left
    out: it has parameters and no output of its own.
    Raises DataError for an empty table, a missing column, a column that is not numeric, seeds, steps and layers that
    are no whole numbers, several rows for the same seed, step and layer, a cell of which nothing was measured, and a
    `steps` table without the columns that tell the cells apart.
    """
    for name, frame in (("layers", layers), ("steps", steps), ("time", time), ("attention", attention)):
        if not (isinstance(frame, pd.DataFrame) or (frame is None and name != "layers")):
            hint = "gradlab diagnose reads files and folders"
            raise DataError(Problem(name, f"it is a {type(frame).__name__}", "a pandas DataFrame", hint))
    columns = list(cell_columns) if cell_columns is not None else cell_columns_of(layers)
    check_table(layers, "layers", ("seed", "step", "layer", "delta_rms", *columns))
    if steps is not None:
        check_table(steps, "steps", INDEX)
    parts = _rows(layers, steps, columns)
    table, run = _Layers.of(layers), None if steps is None else _Steps.of(steps)
    first = {column: layers[column].iloc[[rows[0] for rows, _ in parts]].array for column in columns}
    found = []
    for place, (rows, own) in enumerate(parts):
        cell = {column: values[place] for column, values in first.items()}
        found.append(_arrays(cell, table.at(rows), None if run is None or own is None else run.at(own)))
    return [_with_beside(records, time, attention) for records in found]


def _with_beside(records: Records, time: pd.DataFrame | None, attention: pd.DataFrame | None) -> Records:
    """The records of a cell with what its recurrent layers do in time and its heads attend to. Raises DataError for a
    table without the columns that this needs."""
    if (own := _of_cell(records, time, TIME)) is not None:
        records = replace(records, in_time=in_time(own, records.seeds, records.steps))
    if (own := _of_cell(records, attention, ATTENTION)) is not None:
        records = replace(records, attention=attending(own, records.seeds, records.steps))
    return records


def _of_cell(records: Records, table: pd.DataFrame | None, spec: TableSpec) -> pd.DataFrame | None:
    if table is None or not len(table):
        return None
    if missing := [name for name in spec.every if name not in table.columns]:
        allowed = "the columns of gradlab list metrics"
        raise DataError([Problem(spec.name, f"no column {name!r}", allowed) for name in missing])
    own = "cell" in table.columns and "cell" in records.cell
    return table[table["cell"] == records.cell["cell"]] if own else table


def frames_of_cells(
    layers: pd.DataFrame, steps: pd.DataFrame | None = None, cell_columns: Sequence[str] | None = None
) -> Iterator[tuple[pd.DataFrame, pd.DataFrame | None]]:
    """The rows of each cell, in the order of `split_cells`, which has checked the tables."""
    columns = list(cell_columns) if cell_columns is not None else cell_columns_of(layers)
    for rows, own in _rows(layers, steps, columns):
        of_steps = None if steps is None or own is None else steps.iloc[own].reset_index(drop=True)
        yield layers.iloc[rows].reset_index(drop=True), of_steps


def _rows(
    layers: pd.DataFrame, steps: pd.DataFrame | None, columns: Sequence[str]
) -> list[tuple[Ints, Ints | None]]:
    """The numbers of each cell's rows in the two tables; None where `steps` has none of it."""
    keys = ["cell"] if "cell" in columns else columns
    parts = rows_of_cells(layers, keys)
    shared = [key for key in keys if steps is not None and key in steps.columns]
    if steps is not None and len(parts) > 1 and shared != keys:
        lost = ", ".join(key for key in keys if key not in shared)
        raise DataError(
            Problem("steps", f"no column {lost}, which tells the cells of layers apart", "the same column")
        )
    of_steps = rows_of_cells(steps, shared) if steps is not None else {}
    return [(rows, of_steps.get(key if shared else ())) for key, rows in parts.items()]


class _Steps(NamedTuple):
    """The rows of steps.csv as arrays [row]; `values` by column, numbers alone."""

    seed: Ints
    step: Ints
    values: dict[str, Array]
    words: dict[str, NDArray[np.object_]]

    @classmethod
    def of(cls, frame: pd.DataFrame) -> _Steps:
        known = [column for column in frame.columns if column in STEP_COLUMNS - WORDS and column not in INDEX]
        return cls(
            _integers(frame, "seed"),
            _integers(frame, "step"),
            _numbers(frame, known),
            {column: _texts(frame[column]) for column in frame.columns if column in WORDS},
        )

    def at(self, rows: Ints) -> _Steps:
        """Some of the rows."""
        return _Steps(
            self.seed[rows],
            self.step[rows],
            {k: v[rows] for k, v in self.values.items()},
            {k: v[rows] for k, v in self.words.items()},
        )


class _Layers(NamedTuple):
    """The rows of layers.csv as arrays [row]; `texts` by column, those that the table has."""

    seed: Ints
    step: Ints
    layer: Ints
    readout: NDArray[np.bool_]
    texts: dict[str, NDArray[np.object_]]
    values: dict[str, Array]

    @classmethod
    def of(cls, frame: pd.DataFrame) -> _Layers:
        texts = {column: _texts(frame[column]) for column in OF_A_ROW if column in frame.columns}
        values = _numbers(frame, [column for column in frame.columns if _is_value(column)])
        if "trains" in frame.columns:
            places = {word: float(place) for place, word in enumerate(TRAINS)}
            values["trains"] = np.array([places.get(word, np.nan) for word in _texts(frame["trains"])])
        seed, step, layer = (_integers(frame, column) for column in (*INDEX, "layer"))
        return cls(seed, step, layer, _is_readout(frame), texts, values)

    def at(self, rows: Ints) -> _Layers:
        """Some of the rows."""
        texts = {column: words[rows] for column, words in self.texts.items()}
        values = {column: v[rows] for column, v in self.values.items()}
        places = self.seed[rows], self.step[rows], self.layer[rows], self.readout[rows]
        return _Layers(*places, texts, values)


def _arrays(cell: Mapping[str, object], rows: _Layers, own: _Steps | None) -> Records:
    readout = rows.readout
    if readout.all():
        raise DataError(
            Problem(
                "layers",
                f"cell {cell.get('cell', '')}: no hidden layer, only the readout",
                "rows of hidden layers",
            )
        )
    seeds, seed_at = np.unique(rows.seed, return_inverse=True)
    steps = np.unique(rows.step if own is None else np.concatenate([rows.step, own.step]))
    step_at = np.searchsorted(steps, rows.step)
    layers = np.unique(rows.layer[~readout])
    layer_at = np.where(readout, len(layers), np.searchsorted(layers, rows.layer))
    place = (seed_at * len(steps) + step_at) * (len(layers) + 1) + layer_at
    if len(np.unique(place)) != len(place):
        hint = "tables of several cells need a column that tells them apart, left of `seed`"
        raise DataError(Problem("layers", "several rows for the same seed, step and layer", hint=hint))
    shape = (len(seeds), len(steps), len(layers) + 1)
    full = {column: _placed(values, place, shape) for column, values in rows.values.items()}
    in_layers = np.zeros((len(seeds), len(steps)), dtype=bool)
    in_layers[seed_at, step_at] = True
    there = np.zeros(int(np.prod(shape)), dtype=bool)
    there[place] = True
    kept = _with_delta(cell, full, there.reshape(shape))
    layered = {column: values for column, values in full.items() if column != "trains"}
    in_steps = np.zeros_like(in_layers)
    run: dict[str, Array] = {}
    words: dict[str, str] = {}
    if own is not None:
        own = own.at(np.flatnonzero(np.isin(own.seed, seeds)))
        where = np.searchsorted(seeds, own.seed) * len(steps) + np.searchsorted(steps, own.step)
        if len(np.unique(where)) != len(where):
            raise DataError(Problem("steps", "several rows for the same seed and step", "one row for each"))
        in_steps.ravel()[where] = True
        run = {column: _placed(values, where, shape[:2]) for column, values in own.values.items()}
        words = {name: SEVERAL.join(dict.fromkeys(filter(None, texts))) for name, texts in own.words.items()}
    at, first = np.unique(layer_at, return_index=True)
    named = dict(zip(at.tolist(), rows.texts["name"][first], strict=True)) if "name" in rows.texts else {}
    owners = tuple(str(named.get(i, f"layer {i + 1}")) for i in range(len(layers) + bool(readout.any())))
    said: dict[str, dict[int, str]] = {column: {} for column in rows.texts}
    for column, of_row in said.items():
        for place_, text in zip(layer_at.tolist(), rows.texts[column], strict=True):
            of_row[place_] = of_row.get(place_) or text
    used = (*np.flatnonzero(kept).tolist(), len(layers))
    applied = tuple(said["layer_activation"].get(i, "") for i in used) if "layer_activation" in said else ()
    on_paths = [[said.get(column, {}).get(i, "") for i in used] for column in ON_PATH]
    return Records(
        cell=cell,
        seeds=seeds,
        steps=steps,
        layers=layers[kept],
        names=tuple(str(named.get(i, f"layer {n}")) for i, n in enumerate(layers) if kept[i]),
        hidden={column: values[..., :-1][..., kept] for column, values in layered.items()},
        output={column: values[..., -1] for column, values in layered.items()} if readout.any() else {},
        run=run,
        in_layers=in_layers,
        in_steps=in_steps,
        rows=there.reshape(shape)[..., :-1][..., kept],
        activations=applied,
        paths=tuple(zip(*on_paths, strict=True)) if any(on_paths[0]) else (),
        readout=str(named.get(len(layers), "output")),
        words=words,
        parameters={
            name: full[name][..., : len(owners)] for name in (*OF_PARAMETERS, "trains") if name in full
        },
        owners=owners,
    )


def _with_delta(
    cell: Mapping[str, object], full: Mapping[str, Array], there: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """[L]: whether a hidden layer has a delta_rms anywhere, or one that is not a number; where none has, all are kept.

    Raises DataError where nothing else was measured of them either.
    """
    has = np.asarray(~np.isnan(full["delta_rms"]).all((0, 1)))
    counts = full.get("nonfinite")
    lost = np.zeros_like(has) if counts is None else np.asarray((np.nan_to_num(counts) > 0).any((0, 1)))
    if not (has | lost)[:-1].any():
        if any(
            np.isfinite(values[..., :-1]).any() for name, values in full.items() if name not in UNMEASURED
        ):
            return np.ones(len(has) - 1, dtype=bool)
        message = f"cell {cell['cell']}: " if "cell" in cell else ""
        raise DataError(
            Problem(
                "layers: delta_rms",
                f"{message}no row of a hidden layer has a value to judge",
                "numbers in some rows",
            )
        )
    uncounted = np.asarray((there & (True if counts is None else np.isnan(counts))).any((0, 1)))
    kept: NDArray[np.bool_] = (has | lost | uncounted)[:-1]
    return kept


def _is_value(column: str) -> bool:
    return column in LAYER_COLUMNS - TEXTS and column not in (*INDEX, "layer")


def _is_readout(rows: pd.DataFrame) -> NDArray[np.bool_]:
    """The readout's rows: named `output`, or above the cell's depth where the table says it."""
    last = np.zeros(len(rows), dtype=bool)
    if "name" in rows.columns:
        last |= (rows["name"] == "output").to_numpy()
    if "depth" in rows.columns:
        last |= (rows["layer"] > pd.to_numeric(rows["depth"], errors="coerce")).to_numpy()
    return last


def rows_of_cells(frame: pd.DataFrame, keys: Sequence[str]) -> dict[tuple[object, ...], Ints]:
    """The numbers of each cell's rows, ascending, cells in the order in which they appear."""
    if not keys:
        return {(): np.arange(len(frame))}
    texts = [frame[key].astype(str) for key in keys]  # so that an empty value is a value like any other
    number = frame.groupby(texts, sort=False).ngroup().to_numpy()
    rows = np.argsort(number, kind="stable")
    parts = np.split(rows, np.flatnonzero(np.diff(number[rows])) + 1)
    firsts = [part[0] for part in parts]
    return dict(zip(zip(*(text.iloc[firsts] for text in texts), strict=True), parts, strict=True))


def _texts(column: pd.Series[Any]) -> NDArray[np.object_]:
    """A column of words; "" where it has none."""
    return column.astype(object).where(column.notna(), "").astype(str).to_numpy(object)


def _integers(frame: pd.DataFrame, column: str) -> Ints:
    return frame[column].to_numpy(np.int64)


def _numbers(frame: pd.DataFrame, columns: Sequence[str]) -> dict[str, Array]:
    return {
        column: pd.to_numeric(frame[column], errors="coerce").to_numpy(np.float64, na_value=np.nan)
        for column in columns
    }


def _placed(values: Array, place: Ints, shape: tuple[int, ...]) -> Array:
    result = np.full(int(np.prod(shape)), np.nan)
    result[place] = values
    return result.reshape(shape)
