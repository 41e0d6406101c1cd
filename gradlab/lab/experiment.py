"""plan -> execute -> analyse -> write: the one path that `run`, `compare` and the library go."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from gradlab.base import atomic, blas
from gradlab.config import to_toml
from gradlab.config.plan import Cell, Plan, Stack
from gradlab.lab import sweep
from gradlab.lab.cost import check_memory, worker_count
from gradlab.lab.interrupt import Interrupt, Interrupted
from gradlab.lab.job import Keep
from gradlab.lab.observe import Observer, Silent
from gradlab.lab.summary_builder import Cells
from gradlab.store.folder import ResultsFolder
from gradlab.tables.schema import CELL, names
from gradlab.tables.table import Table, frame, of_rows, read_rows, write_csv, write_parquet

if TYPE_CHECKING:
    import pandas as pd

SUMMARY_SECONDS = 1.0  # summary.csv is written again no sooner than this while cells come in ...
SUMMARY_SHARE = 0.05  # ... and takes no more than this share of the time, however many cells there are


@dataclass(frozen=True)
class Failure:
    """Seeds of a cell whose training failed (a cell that diverges has not failed)."""

    cell: Cell
    message: str
    seeds: tuple[int, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What an experiment left behind.

    layers, steps, summary: the tables as frames, the cell columns first; empty fields are NaN
    cached: the results were there already and nothing was trained
    """

    plan: Plan
    out: Path
    files: tuple[Path, ...]
    cells: Cells
    failed: tuple[Failure, ...]
    cached: bool
    timings: Mapping[str, float]

    @cached_property
    def layers(self) -> pd.DataFrame:
        return frame(self.cells.layers())

    @cached_property
    def steps(self) -> pd.DataFrame:
        return frame(self.cells.steps())

    @cached_property
    def jacobian(self) -> pd.DataFrame | None:
        """None where it was not asked for."""
        return frame(self.cells.jacobian()) if self.plan.recording.jacobian else None

    @cached_property
    def histograms(self) -> pd.DataFrame | None:
        """None where it was not asked for."""
        return frame(self.cells.histograms()) if self.plan.recording.histograms else None

    @cached_property
    def summary(self) -> pd.DataFrame:
        return frame(self.cells.summary())


def execute(plan: Plan, observer: Observer | None = None) -> Outcome:
    """Train what the plan's folder does not hold yet, analyse all of it, and write the tables.

    Raises UserError when the folder holds something else or another process writes there, GradlabError when it
    cannot be written, KeyboardInterrupt after Ctrl-C; whatever was finished before is kept, and the same plan
    continues. A stack that fails is reported in `failed`; the others go on.
    """
    observer = observer or Silent()
    folder = ResultsFolder(plan, observer.message)
    state = folder.state()
    finished = state == "finished"
    if state == "new" and plan.run.executor == "local":
        check_memory(plan.stacks())  # what is refused leaves no folder behind
    try:
        if not finished:
            folder.prepare()
        return _Execution(plan, folder, observer, finished).run()
    finally:
        observer.end()
        folder.close()


class _Execution:
    """One plan on its way from its folder's journal to its tables."""

    def __init__(self, plan: Plan, folder: ResultsFolder, observer: Observer, finished: bool) -> None:
        self.plan, self.folder, self.observer = plan, folder, observer
        self.finished = finished
        self.started = perf_counter()
        self.cells = Cells(plan, folder.finished)
        self.failed: list[Failure] = []
        self.summary_due = 0.0

    def run(self) -> Outcome:
        missing, done = [], []
        for stack in self.plan.stacks():
            result = self.folder.finished(stack)
            if result is None:
                missing.append(stack)
            elif not self.finished and (row := self.cells.add(stack, result)) is not None:
                done.append((stack.cell, row))
        if self.finished:
            if missing:  # files of the journal were lost or damaged after the end
                self.finished = False
                self.folder.prepare()
                return self.run()
            self._load_summary()
        self.observer.begin(self.plan, sum(len(s.seeds) * s.cell.training.steps for s in missing))
        for cell, row in done:
            self.observer.cell_done(cell, row)
        with Interrupt() as interrupt:
            try:
                self._train(missing, interrupt)
            except Interrupted:
                self._interrupted()
                raise
            return self._outcome()

    def _load_summary(self) -> None:
        """The rows of a finished experiment, without analysing it again."""
        name = "summary.parquet" if self.plan.run.tables == "parquet" else "summary.csv"
        for row in read_rows(self.folder.file(name)):
            self.cells.rows[row["cell"]] = row

    def _train(self, stacks: Sequence[Stack], interrupt: Interrupt) -> None:
        local = self.plan.run.executor == "local"
        if local and (warning := check_memory(stacks)):
            self.observer.message(f"warning: {warning}")
        workers = worker_count(self.plan, stacks)
        trained = sweep.train(
            stacks,
            self.plan.run,
            workers=workers,
            watch=self._watch,
            say=self.observer.message,
            keep=self._keep(),
            interrupt=interrupt,
        )
        with closing(trained):
            for stack, result in trained:
                if isinstance(result, str):
                    self.failed.append(Failure(stack.cell, result, stack.seeds))
                    self.observer.message(
                        f"cell {stack.cell.id}, seeds {_span(stack.seeds)} failed: {result}"
                    )
                    if self.plan.run.on_error == "stop":
                        break
                    continue
                self.folder.keep(stack, result)
                row = self.cells.add(stack, result)
                if row is not None:
                    self.observer.cell_done(stack.cell, row)
                if perf_counter() > self.summary_due:
                    self._write_summary()

    def _keep(self) -> Keep:
        run, folder = self.plan.run, self.folder
        return Keep(
            folder.journal.absolute(), run.checkpoint, folder.weights.absolute() if run.save_weights else None
        )

    def _watch(self, stack: Stack, step: int, made: int, shown: Mapping[str, Any] | None) -> None:
        self.observer.advance(stack.cell, made * len(stack.seeds))
        if shown is not None:
            self.observer.record(stack.cell, step, {**shown, "seeds": np.array(stack.seeds)})

    def _interrupted(self) -> None:
        self._write_summary()
        self.observer.message(
            f"interrupted: {len(self.cells.rows)} of {len(self.plan.cells)} cells are finished and kept in "
            f"{self.folder.path}; the same command continues"
        )

    def _write_summary(self) -> None:
        """Make the summary complete for what is finished."""
        began = perf_counter()
        self._write("summary", self.cells.summary())
        took = perf_counter() - began
        self.summary_due = perf_counter() + max(SUMMARY_SECONDS, took / SUMMARY_SHARE)

    def _write(self, name: str, tables: Any) -> list[str]:
        """Write one table in every wanted format; the files' names."""
        formats = {"csv": ["csv"], "parquet": ["parquet"], "both": ["csv", "parquet"]}[self.plan.run.tables]
        tables = tables if len(formats) == 1 else list(tables)
        for ending in formats:
            write = write_csv if ending == "csv" else write_parquet
            try:
                write(self.folder.file(f"{name}.{ending}"), tables)
            except OSError as error:
                raise self.folder.unwritable(error) from error
        return [f"{name}.{ending}" for ending in formats]

    def _outcome(self) -> Outcome:
        plan, folder, cells = self.plan, self.folder, self.cells
        if self.finished:
            files, timings = folder.files(), dict(folder.manifest()["timings"])
        else:
            began = perf_counter()
            written = [
                *self._write("layers", cells.layers()),
                *self._write("steps", cells.steps()),
                *self._write("summary", cells.summary()),
                *(self._write("jacobian", cells.jacobian()) if plan.recording.jacobian else ()),
                *(self._write("histograms", cells.histograms()) if plan.recording.histograms else ()),
                *self._write_failures(),
                "config.toml",
            ]
            try:
                atomic.write_text(folder.file("config.toml"), to_toml(plan.request.base, plan.request.grid))
                now = perf_counter()
                timings = {**_timings(cells.timings, now - self.started), "writing_seconds": now - began}
                files = folder.finish(_manifest(plan, self.failed, timings), written)
            except OSError as error:
                raise folder.unwritable(error) from error
        return Outcome(plan, folder.path, tuple(files), cells, tuple(self.failed), self.finished, timings)

    def _write_failures(self) -> list[str]:
        """failures.csv: which seeds of which cells failed, and why; no file when none did."""
        if not self.failed:
            self.folder.file("failures.csv").unlink(missing_ok=True)
            return []
        columns = [*names(CELL), *self.plan.varying, "seeds", "message"]
        rows = [{**f.cell.columns(), "seeds": _span(f.seeds), "message": f.message} for f in self.failed]
        found = of_rows([{name: row[name] for name in columns} for row in rows])
        write_csv(self.folder.file("failures.csv"), Table(found, {}))
        return ["failures.csv"]


def _span(seeds: Sequence[int]) -> str:
    """`0` or `0-7`."""
    return str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]}-{seeds[-1]}"


def _timings(stacks: Mapping[str, float], seconds: float) -> dict[str, float]:
    """Seconds and steps over all stacks, and what a recorded step costs beside a plain one."""
    totals = {"seconds": seconds, **stacks}
    plain, recorded = totals.get("plain_steps", 0.0), totals.get("recorded_steps", 0.0)
    if plain and recorded:
        per_step = totals["plain_seconds"] / plain
        totals["recording_overhead"] = (totals["plain_seconds"] + totals["recorded_seconds"]) / (
            per_step * (plain + recorded)
        )
    return totals


def _manifest(plan: Plan, failed: Sequence[Failure], timings: Mapping[str, float]) -> dict[str, Any]:
    packages = {}
    for name in ("gradlab", "torch", "numpy", "scipy", "pandas", "scikit-learn"):
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    devices = sorted({cell.device for cell in plan.cells})
    return {
        "versions": {"python": platform.python_version(), **packages},
        "products": blas.name() if "cpu" in devices else "torch",
        "platform": platform.platform(),
        "device": devices,
        "threads": 1,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "argv": sys.argv,
        "best_over": plan.best_over,
        "chance": {cell.id: cell.dataset().chance for cell in plan.cells},
        "failed": [{"cell": failure.cell.id, "message": failure.message} for failure in failed],
        "timings": dict(timings),
    }
