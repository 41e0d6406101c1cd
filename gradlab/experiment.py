"""plan -> execute -> analyse -> write: the one path that `run`, `compare` and the library go."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from gradlab.analyse.predicted import predicted_delta
from gradlab.config import to_toml
from gradlab.observe import Observer, Silent
from gradlab.plan import Cell, Plan, Stack
from gradlab.store import atomic
from gradlab.store.folder import ResultsFolder
from gradlab.store.rows import layer_rows, step_rows
from gradlab.store.schema import CELL, LAYERS, LAYERS_FULL, STEPS, SUMMARY, Column, names
from gradlab.store.tables import Table, join, repeated, write_csv, write_parquet
from gradlab.train.result import StackResult

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Failure:
    """A cell whose training failed (a cell that diverges has not failed)."""

    cell: Cell
    message: str


@dataclass(frozen=True)
class Outcome:
    """What an experiment left behind.

    layers, steps, summary: the tables as frames, the cell columns first; empty fields are NaN
    cached: the results were there already and nothing was trained
    """

    plan: Plan
    out: Path
    files: tuple[Path, ...]
    layers: pd.DataFrame
    steps: pd.DataFrame
    summary: pd.DataFrame
    failed: tuple[Failure, ...]
    cached: bool
    timings: Mapping[str, float]


def execute(plan: Plan, observer: Observer | None = None) -> Outcome:
    """Train what the plan's folder does not hold yet, analyse all of it, and write the tables.

    Raises UserError when the folder holds something else, GradlabError when it cannot be written. A stack that
    fails is reported in `failed`; the others go on.
    """
    observer = observer or Silent()
    folder = ResultsFolder(plan)
    cached = folder.state() == "finished"
    started = perf_counter()
    if not cached:
        folder.prepare()
    results: dict[str, StackResult] = {}
    failed: list[Failure] = []
    try:
        stacks = plan.stacks()
        for stack in stacks:
            found = folder.finished(stack)
            if found is not None:
                results[stack.key] = found
        missing = [stack for stack in stacks if stack.key not in results]
        observer.begin(plan, sum(len(stack.seeds) * stack.cell.training.steps for stack in missing))
        cells = _Cells(plan, results, observer)
        for stack, result in _train(missing, observer):
            if isinstance(result, StackResult):
                folder.keep(stack, result)
                cells.add(stack, result)
            else:
                failed.append(Failure(stack.cell, result))
        return _write(plan, folder, cells, tuple(failed), cached and not missing, perf_counter() - started)
    except BaseException:
        folder.abandon()
        raise
    finally:
        observer.end()


def _train(stacks: list[Stack], observer: Observer) -> Iterator[tuple[Stack, StackResult | str]]:
    """Train stacks one after another in this process, on one torch thread; the caller's setting is restored."""
    if not stacks:
        return
    import torch

    from gradlab.train.loop import train_stack

    def watch(stack: Stack, step: int, made: int, shown: Mapping[str, Any] | None) -> None:
        observer.advance(stack.cell, made * len(stack.seeds))
        if shown is not None:
            observer.record(stack.cell, step, shown)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for stack in stacks:
            try:
                yield stack, train_stack(stack, stack.cell.dataset(), partial(watch, stack))
            except (RuntimeError, MemoryError) as error:
                if os.environ.get("GRADLAB_DEBUG"):
                    raise
                yield stack, f"{type(error).__name__}: {error}"
    finally:
        torch.set_num_threads(threads)


class _Cells:
    """The tables of the cells as they become complete: all seeds of a cell make its rows and its summary."""

    def __init__(self, plan: Plan, results: dict[str, StackResult], observer: Observer) -> None:
        self.plan = plan
        self.observer = observer
        self.results = results
        self.layers: dict[str, Table] = {}
        self.steps: dict[str, Table] = {}
        self.rows: dict[str, dict[str, Any]] = {}
        self.stacks: dict[str, list[Stack]] = {cell.id: [] for cell in plan.cells}
        for stack in plan.stacks():
            self.stacks[stack.cell.id].append(stack)
        for cell in plan.cells:
            self._complete(cell)

    def add(self, stack: Stack, result: StackResult) -> None:
        self.results[stack.key] = result
        self._complete(stack.cell)

    def _complete(self, cell: Cell) -> None:
        stacks = self.stacks[cell.id]
        if not all(stack.key in self.results for stack in stacks):
            return
        from gradlab.analyse import summarise

        results = [self.results[stack.key] for stack in stacks]
        columns = cell.columns()
        self.layers[cell.id] = join([layer_rows(columns, r, predicted_delta(cell, r)) for r in results])
        self.steps[cell.id] = join([step_rows(columns, result) for result in results])
        frame = summarise(
            self.layers[cell.id].frame(), self.steps[cell.id].frame(), list(columns), chance=_chance(cell)
        )
        self.rows[cell.id] = frame.iloc[0].to_dict()
        self.observer.cell_done(cell, self.rows[cell.id])


def _chance(cell: Cell) -> float:
    """Validation accuracy of always guessing the commonest class."""
    labels = cell.dataset().y_val
    return float(np.bincount(labels).max() / len(labels))


def _write(
    plan: Plan,
    folder: ResultsFolder,
    cells: _Cells,
    failed: tuple[Failure, ...],
    cached: bool,
    seconds: float,
) -> Outcome:
    kept = _kept(plan, cells.rows)
    full = LAYERS_FULL if plan.recording.metrics == "full" else ()
    tables = {
        "layers": _joined(plan, [cells.layers[name] for name in kept], (*LAYERS, *full)),
        "steps": _joined(plan, [cells.steps[name] for name in kept], STEPS),
        "summary": _joined(plan, [_summary_table(cells.rows[name]) for name in kept], SUMMARY),
    }
    timings = _timings(cells.results.values(), seconds)
    if cached:
        files = [path for path in sorted(folder.path.iterdir()) if path.is_file()]
    else:
        written = []
        for name, table in tables.items():
            if plan.run.tables in ("csv", "both"):
                write_csv(folder.file(f"{name}.csv"), table)
                written.append(f"{name}.csv")
            if plan.run.tables in ("parquet", "both"):
                write_parquet(folder.file(f"{name}.parquet"), table)
                written.append(f"{name}.parquet")
        atomic.write_text(folder.file("config.toml"), to_toml(plan.request.base, plan.request.grid))
        files = folder.finish(_manifest(plan, failed, timings), [*written, "config.toml"])
    return Outcome(
        plan=plan,
        out=folder.path,
        files=tuple(files),
        layers=tables["layers"].frame(),
        steps=tables["steps"].frame(),
        summary=tables["summary"].frame(),
        failed=failed,
        cached=cached,
        timings=timings,
    )


def _joined(plan: Plan, tables: list[Table], schema: tuple[Column, ...]) -> Table:
    if tables:
        return join(tables)
    return Table({name: np.empty(0) for name in (*names(CELL), *plan.varying, *names(schema))}, {})


OPTIONAL = {
    "decay_per_layer_mean",
    "decay_per_layer_predicted",
    "dead_fraction_max",
    "saturated_fraction_max",
}


def _summary_table(row: Mapping[str, Any]) -> Table:
    """A row of summary.csv; what a cell does not have (an interval from one seed, a prediction) is empty."""
    columns = repeated(row, 1)
    missing = {
        name
        for name, value in row.items()
        if isinstance(value, float) and np.isnan(value) and (name.endswith("_ci95") or name in OPTIONAL)
    }
    return Table(columns, {name: np.array([name not in missing]) for name in columns})


def _kept(plan: Plan, rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The cells of the tables, in the plan's order; with --best-over only the best value of each of the rest."""
    done = [cell for cell in plan.cells if cell.id in rows]
    if plan.best_over is None:
        return [cell.id for cell in done]
    best: dict[tuple[Any, ...], Cell] = {}

    def accuracy(cell: Cell) -> float:
        value = float(rows[cell.id]["val_accuracy_mean"])
        return -1.0 if np.isnan(value) else value

    for cell in done:
        others = {
            name: value for name, value in cell.columns().items() if name not in ("cell", plan.best_over)
        }
        key = tuple(others.items())
        if key not in best or accuracy(cell) > accuracy(best[key]):
            best[key] = cell
    return [cell.id for cell in best.values()]


def _timings(results: Any, seconds: float) -> dict[str, float]:
    """Seconds and steps over all stacks, and what a recorded step costs beside a plain one."""
    totals = {"seconds": seconds}
    for result in results:
        for name, value in result.timings.items():
            totals[name] = totals.get(name, 0.0) + value
    plain, recorded = totals.get("plain_steps", 0.0), totals.get("recorded_steps", 0.0)
    if plain and recorded:
        per_step = totals["plain_seconds"] / plain
        totals["recording_overhead"] = (totals["plain_seconds"] + totals["recorded_seconds"]) / (
            per_step * (plain + recorded)
        )
    return totals


def _manifest(plan: Plan, failed: tuple[Failure, ...], timings: Mapping[str, float]) -> dict[str, Any]:
    packages = {}
    for name in ("gradlab", "torch", "numpy", "scipy", "pandas", "scikit-learn"):
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "versions": {"python": platform.python_version(), **packages},
        "platform": platform.platform(),
        "device": sorted({cell.device for cell in plan.cells}),
        "threads": 1,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "argv": sys.argv,
        "best_over": plan.best_over,
        "chance": {cell.id: _chance(cell) for cell in plan.cells},
        "failed": [{"cell": failure.cell.id, "message": failure.message} for failure in failed],
        "timings": dict(timings),
    }
