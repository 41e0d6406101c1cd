"""plan -> execute -> analyse -> write: the one path that `run`, `compare` and the library go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from gradlab.base import atomic
from gradlab.base.errors import UserError
from gradlab.config import to_toml
from gradlab.config.plan import Cell, Plan, Stack
from gradlab.lab import sweep
from gradlab.lab.cost import check_memory
from gradlab.lab.division import Division
from gradlab.lab.interrupt import Interrupt, Interrupted
from gradlab.lab.job import Keep
from gradlab.lab.observe import Observer, Silent
from gradlab.lab.summary_builder import Cells
from gradlab.store.folder import Claim, ResultsFolder
from gradlab.store.provenance import provenance
from gradlab.store.stack_result import StackResult
from gradlab.tables.cell import CELL, kinds_of
from gradlab.tables.layers import LAYERS
from gradlab.tables.spec import TableSpec, names
from gradlab.tables.steps import STEPS
from gradlab.tables.summary import FAILURES, SUMMARY
from gradlab.tables.table import Table, frame, of_rows, read_rows

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

    `table` gives each table as a frame, the cell columns first; empty fields are NaN.
    cached: the results were there already and nothing was trained
    """

    plan: Plan
    out: Path
    files: tuple[Path, ...]
    cells: Cells
    failed: tuple[Failure, ...]
    cached: bool
    timings: Mapping[str, float]
    _frames: dict[str, pd.DataFrame | None] = field(default_factory=dict, repr=False)

    def table(self, name: str) -> pd.DataFrame | None:
        """One table as a frame; None for one that was not asked for."""
        if name not in self._frames:
            known = {**self.plan.recording.tables(), SUMMARY.name: SUMMARY}
            self._frames[name] = frame(self.cells.rows_of(known[name])) if name in known else None
        return self._frames[name]

    @property
    def layers(self) -> pd.DataFrame:
        return self._always(LAYERS)

    @property
    def steps(self) -> pd.DataFrame:
        return self._always(STEPS)

    @property
    def summary(self) -> pd.DataFrame:
        return self._always(SUMMARY)

    def _always(self, table: TableSpec) -> pd.DataFrame:
        found = self.table(table.name)
        assert found is not None
        return found


def execute(plan: Plan, observer: Observer | None = None) -> Outcome:
    """Train what the plan's folder does not hold yet, analyse all of it, and write the tables.

    Raises UserError when the folder holds something else or another process writes there, GradlabError when it
    cannot be written, KeyboardInterrupt after Ctrl-C; whatever was finished before is kept, and the same plan
    continues. A stack that fails is reported in `failed`; the others go on.
    """
    observer = observer or Silent()
    folder = ResultsFolder(Claim.of(plan), observer.message)
    state = folder.state()
    finished = state == "finished"
    if state == "new" and plan.run.executor == "local":
        check_memory(plan.stacks())  # what is refused leaves no folder behind
    try:
        if not finished:
            folder.prepare()
        try:
            return _Execution(plan, folder, observer, finished).run()
        except UserError:  # such as Ray that is not installed: nothing was trained
            if state == "new" and not any(folder.journal.glob("*.npz")):
                folder.forget()
            raise
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
        division, workers = Division.of(self.plan.run, missing, self.folder.begun())
        parts = [unit for unit in division.units if division.whole(unit) is not unit]
        kept = {part.key: (part, result) for part in parts if (result := self.folder.finished(part))}
        units = [unit for unit in division.units if unit.key not in kept]
        self.observer.begin(self.plan, sum(len(u.seeds) * u.cell.training.steps for u in units))
        for cell, row in done:
            self.observer.cell_done(cell, row)
        with Interrupt() as interrupt:
            try:
                for part, result in kept.values():
                    self._take(division, part, result)
                self._train(division, units, min(workers, len(units)), interrupt)
            except Interrupted:
                self._interrupted()
                raise
            return self._outcome()

    def _load_summary(self) -> None:
        """The rows of a finished experiment, without analysing it again."""
        ending = "parquet" if self.plan.run.tables == "parquet" else "csv"
        for row in read_rows(self.folder.file(f"{SUMMARY.name}.{ending}"), kinds_of(SUMMARY)):
            self.cells.rows[row["cell"]] = row

    def _train(self, division: Division, units: Sequence[Stack], workers: int, interrupt: Interrupt) -> None:
        local = self.plan.run.executor == "local"
        if local and (warning := check_memory(units)):
            self.observer.message(f"warning: {warning}")
        failed: set[str] = set()
        trained = sweep.train(
            units,
            self.plan.run,
            workers=workers,
            watch=self._watch,
            say=self.observer.message,
            keep=self._keep(),
            interrupt=interrupt,
        )
        with closing(trained):
            for unit, result in trained:
                if not isinstance(result, str):
                    self._take(division, unit, result)
                    continue
                stack = division.whole(unit)
                if stack.key not in failed:  # whatever parts it was divided into
                    failed.add(stack.key)
                    self.failed.append(Failure(stack.cell, result, stack.seeds))
                    self.observer.message(
                        f"cell {stack.cell.id}, seeds {_span(stack.seeds)} failed: {result}"
                    )
                if self.plan.run.on_error == "stop":
                    break

    def _take(self, division: Division, unit: Stack, result: StackResult) -> None:
        """Keep what a unit left behind, and count its stack in when that is whole."""
        stack, whole = division.whole(unit), division.add(unit, result)
        if whole is None:
            self.folder.keep(unit, result)
            return
        self.folder.keep(stack, whole, division.parts(stack))
        row = self.cells.add(stack, whole)
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
        self._write(SUMMARY)
        took = perf_counter() - began
        self.summary_due = perf_counter() + max(SUMMARY_SECONDS, took / SUMMARY_SHARE)

    def _tables(self) -> list[TableSpec]:
        """What is written, in this order."""
        layers, steps, *asked = self.plan.recording.tables().values()
        return [layers, steps, SUMMARY, *asked]

    def _write(self, table: TableSpec) -> list[str]:
        """Write one table in every wanted format; the files' names."""
        return self.folder.write(table.name, self.cells.rows_of(table), self.plan.run.tables)

    def _outcome(self) -> Outcome:
        plan, folder, cells = self.plan, self.folder, self.cells
        if self.finished:
            files, timings = folder.files(), dict(folder.manifest()["timings"])
        else:
            began = perf_counter()
            written = [
                *(file for table in self._tables() for file in self._write(table)),
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
        """Which seeds of which cells failed, and why; no file when none did."""
        if not self.failed:
            self.folder.file(f"{FAILURES.name}.csv").unlink(missing_ok=True)
            return []
        columns = [*names(CELL), *self.plan.varying, *FAILURES.every]
        rows = [{**f.cell.columns(), "seeds": _span(f.seeds), "message": f.message} for f in self.failed]
        found = of_rows([{name: row[name] for name in columns} for row in rows])
        return self.folder.write(FAILURES.name, [Table(found, {}, FAILURES.kinds)], "csv")


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
    return {
        **provenance({cell.device for cell in plan.cells}),
        "best_over": plan.best_over,
        "data": {cell.data.name: cell.digest for cell in plan.cells},
        "chance": {cell.id: chance for cell in plan.cells if (chance := cell.dataset().chance) is not None},
        "failed": [{"cell": failure.cell.id, "message": failure.message} for failure in failed],
        "timings": dict(timings),
    }
