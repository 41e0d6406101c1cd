"""The cells of a plan as their stacks come in: each complete one gets its row of the summary, and waits on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from typing import Any

import numpy as np

from gradlab.base.errors import GradlabError
from gradlab.config.plan import Cell, Plan, Stack
from gradlab.store.rows import histogram_rows, jacobian_rows, layer_rows, step_rows
from gradlab.store.stack_result import StackResult
from gradlab.tables.schema import CELL, HISTOGRAMS, JACOBIAN, LAYERS, LAYERS_FULL, STEPS, SUMMARY, names
from gradlab.tables.table import Table, join, of_rows

OPTIONAL = {
    "decay_per_layer_mean",
    "decay_per_layer_predicted",
    "dead_fraction_max",
    "saturated_fraction_max",
}
OF_LAYERS = {*OPTIONAL, "attenuation_mean", "attenuation_last_mean"}


class Cells:
    """What is known of every cell. Records of complete cells are not held in memory: `read` fetches them again.

    read: the records of a finished stack
    """

    def __init__(self, plan: Plan, read: Callable[[Stack], StackResult | None]) -> None:
        self.plan = plan
        self.rows: dict[str, dict[str, Any]] = {}
        self.timings: dict[str, float] = {}
        self._read = read
        self._stacks: dict[str, list[Stack]] = {cell.id: [] for cell in plan.cells}
        for stack in plan.stacks():
            self._stacks[stack.cell.id].append(stack)
        self._waiting: dict[str, dict[str, StackResult]] = {}

    def add(self, stack: Stack, result: StackResult) -> Mapping[str, Any] | None:
        """Take a stack's records; the cell's row of summary.csv when this was its last one."""
        for name, seconds in result.timings.items():
            self.timings[name] = self.timings.get(name, 0.0) + seconds
        cell = stack.cell
        waiting = self._waiting.setdefault(cell.id, {})
        waiting[stack.key] = result
        if len(waiting) < len(self._stacks[cell.id]):
            return None
        from gradlab.analyse.records_from_training import records_of
        from gradlab.analyse.summary import summary_row

        results = [waiting[other.key] for other in self._stacks[cell.id]]
        records, chance = records_of(cell.columns(), results), cell.dataset().chance
        self.rows[cell.id] = summary_row(records, chance, (cell.network, cell.training))
        del self._waiting[cell.id]
        return self.rows[cell.id]

    def kept(self) -> list[Cell]:
        """The cells of the tables, in the plan's order; with --best-over only the best value of each of the rest."""
        plan = self.plan
        done = [cell for cell in plan.cells if cell.id in self.rows]
        if plan.best_over is None:
            return done
        best: dict[tuple[Any, ...], Cell] = {}
        over = "dataset" if plan.best_over == "data" else plan.best_over

        def accuracy(cell: Cell) -> float:
            value = float(self.rows[cell.id]["val_accuracy_mean"])
            return -1.0 if np.isnan(value) else value

        for cell in done:
            others = {name: value for name, value in cell.columns().items() if name not in ("cell", over)}
            key = tuple(others.items())
            if key not in best or accuracy(cell) > accuracy(best[key]):
                best[key] = cell
        return list(best.values())

    def layers(self) -> Iterator[Table]:
        """The rows of layers.csv, cell by cell; at least one table, which may be empty."""
        full = LAYERS_FULL if self.plan.recording.metrics == "full" else ()
        yield self._empty(names((*LAYERS, *full)))
        for cell in self.kept():
            yield _layers(cell, self._results(cell))

    def steps(self) -> Iterator[Table]:
        """The rows of steps.csv, cell by cell; at least one table, which may be empty."""
        yield self._empty(names(STEPS))
        for cell in self.kept():
            yield _steps(cell, self._results(cell))

    def jacobian(self) -> Iterator[Table]:
        """The rows of jacobian.csv, cell by cell; at least one table, which may be empty."""
        yield self._empty(names(JACOBIAN))
        for cell in self.kept():
            yield join([jacobian_rows(cell.columns(), result) for result in self._results(cell)])

    def histograms(self) -> Iterator[Table]:
        """The rows of histograms.csv, cell by cell; at least one table, which may be empty."""
        yield self._empty(names(HISTOGRAMS))
        for cell in self.kept():
            yield join([histogram_rows(cell.columns(), result) for result in self._results(cell)])

    def summary(self) -> Iterator[Table]:
        """The rows of summary.csv; at least one table, which may be empty."""
        yield self._empty(names(SUMMARY))
        optional = OF_LAYERS if self.plan.recording.record == "off" else OPTIONAL
        if rows := [self.rows[cell.id] for cell in self.kept()]:
            yield _summary(rows, optional)

    def _results(self, cell: Cell) -> list[StackResult]:
        found = [self._read(stack) for stack in self._stacks[cell.id]]
        kept = [result for result in found if result is not None]
        if len(kept) < len(found):
            raise GradlabError(
                f"finished records of cell {cell.id} have left the journal",
                "the same command trains them again",
            )
        return kept

    def _empty(self, columns: list[str]) -> Table:
        return Table({name: np.empty(0) for name in (*names(CELL), *self.plan.varying, *columns)}, {})


def _layers(cell: Cell, results: Iterable[StackResult]) -> Table:
    columns = cell.columns()
    return join([layer_rows(columns, result, result.predicted) for result in results])


def _steps(cell: Cell, results: Iterable[StackResult]) -> Table:
    columns = cell.columns()
    return join([step_rows(columns, result) for result in results])


def _summary(rows: Sequence[Mapping[str, Any]], optional: Set[str]) -> Table:
    """Rows of summary.csv; what a cell does not have (an interval from one seed, a prediction) is empty."""
    columns = of_rows(rows)
    may_lack = {name for name in columns if name.endswith("_ci95") or name in optional}
    return Table(columns, {name: ~np.isnan(columns[name]) for name in may_lack})
