"""A results folder of any model's records, like one of `gradlab run`: `report`, `diagnose` and `compare` read it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gradlab.analyse.origin import OWN_LOOP
from gradlab.analyse.records import Records
from gradlab.analyse.records_from_tables import split_cells
from gradlab.analyse.summary import summary_row
from gradlab.base import atomic
from gradlab.base.identity import identity_of
from gradlab.config.sections import Recording, Run
from gradlab.store.folder import Claim, ResultsFolder
from gradlab.store.provenance import provenance
from gradlab.store.results import CONFIG, Results, read_folder
from gradlab.tables.attention import ATTENTION
from gradlab.tables.layers import LAYERS
from gradlab.tables.steps import STEPS
from gradlab.tables.summary import SUMMARY, summary_table
from gradlab.tables.table import Table, join, of_rows, repeated
from gradlab.tables.time import TIME


class RecordTables(NamedTuple):
    """What a recorder has of one seed. time, attention: without a row where nothing is recurrent, or attends"""

    layers: Table
    steps: Table
    time: Table
    attention: Table


def records_of(tables: Sequence[RecordTables], cell: Mapping[str, Any]) -> Records:
    """The records of one cell, of one seed after another. Raises DataError where nothing was measured."""
    layers, steps, time, attention = (table.frame() for table in _of_cell(tables, cell))
    (records,) = split_cells(layers, steps, [*cell], time, attention)
    return records


def _of_cell(tables: Sequence[RecordTables], cell: Mapping[str, Any]) -> RecordTables:
    """The seeds' rows below each other, behind the cell's columns."""
    return RecordTables(
        *(
            join([replace(part, columns={**repeated(cell, len(part)), **part.columns}) for part in of_seeds])
            for of_seeds in zip(*tables, strict=True)
        )
    )


def cell_columns(
    cell: str, model: str, optimizer: str, rate: float, source: str, sizes: Mapping[str, int]
) -> dict[str, Any]:
    """The cell columns of a user's model: `own` where a column describes gradlab's nets."""
    return {
        "cell": cell,
        "activation": model,
        **sizes,
        "init": "own",
        "norm": "own",
        "residual": "own",
        "optimizer": optimizer,
        "lr": rate,
        "dataset": source,
    }


def size_of(layers: Table) -> dict[str, int]:
    """The depth and width of what was recorded: its rows but the last, and the widest."""
    fan_out = layers.columns["fan_out"].astype(float)
    wide = fan_out[np.isfinite(fan_out)]
    return {
        "depth": max(int(layers.columns["layer"].max()) - 1, 1),
        "width": int(wide.max()) if len(wide) else 0,
    }


def write(
    folder: ResultsFolder,
    cell: Mapping[str, Any],
    parts: Sequence[RecordTables],
    *,
    devices: Collection[str],
    timings: Mapping[str, float],
    chance: float | None = None,
    config: str = "",
    interrupted: Mapping[str, Any] | None = None,
    prepared: Sequence[str] = (),
    data: Mapping[str, str] | None = None,
) -> None:
    """The tables of one cell, its summary, its configuration where there is one, and last the manifest.

    parts: of one seed after another; interrupted: where the user stopped, if so
    data: the digest of the data set, by its name, where gradlab has read it
    prepared: what was done to the model and its batches before, which no configuration says
    Raises GradlabError where it cannot be written, and DataError where nothing was measured.
    """
    summary = summary_table(of_rows([summary_row(records_of(parts, cell), chance)]))
    layers, steps, *beside = _of_cell(parts, cell)
    tables = {LAYERS.name: layers, STEPS.name: steps, SUMMARY.name: summary}
    tables |= {spec.name: table for spec, table in zip((TIME, ATTENTION), beside, strict=True) if len(table)}
    written = [file for name, table in tables.items() for file in folder.write(name, [table], "csv")]
    manifest = {
        **provenance(devices),
        "data": dict(data or {}),
        "chance": {} if chance is None else {cell["cell"]: chance},
        "failed": [],
        "timings": dict(timings),
        **({} if interrupted is None else {"interrupted": dict(interrupted)}),
        **({"prepared": [*prepared]} if prepared else {}),
    }
    try:
        if config:
            atomic.write_text(folder.file(CONFIG), config)
            written.append(CONFIG)
        folder.finish(manifest, written, finished=interrupted is None)
    except OSError as error:
        raise folder.unwritable(error) from error


def save(
    path: str | Path,
    tables: RecordTables,
    model: str,
    device: str,
    timings: Mapping[str, float],
    force: bool,
) -> Results:
    """One recorder's records as a results folder. Raises UserError where the folder holds something else."""
    layers, steps, *_ = tables
    words = [text for text in steps.columns["optimizer_used"].tolist() if text]
    rates = steps.columns["learning_rate"]
    known = rates[np.isfinite(rates)]
    seeds = tuple(dict.fromkeys(int(seed) for seed in layers.columns["seed"].tolist()))
    rate = float(known[0]) if len(known) else float("nan")
    modules = [*dict.fromkeys(layers.columns["name"].tolist())]  # each once, however many records there are
    cell = identity_of([model, words[:1], rate, modules[:64], list(seeds)])
    columns = cell_columns(cell, model, words[0] if words else "unknown", rate, OWN_LOOP, size_of(layers))
    run = Run(out=str(path), force=force)
    folder = ResultsFolder(Claim(cell, (cell,), seeds, Recording(), run, Path(path)))
    if folder.state() == "finished" and not force:  # the same model again: what is there is older
        folder = ResultsFolder(
            Claim(cell, (cell,), seeds, Recording(), run.model_copy(update={"force": True}), Path(path))
        )
    try:
        folder.prepare()
        write(folder, columns, [tables], devices={device}, timings=timings)
    finally:
        folder.close()
    return read_folder(folder.path)
