"""The cells of a plan as their stacks come in: each complete one gets its row of the summary, and waits on disk."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import numpy as np

from gradlab.analyse.records_from_training import records_of
from gradlab.base.errors import GradlabError
from gradlab.config.plan import Cell, Plan, Stack
from gradlab.store.stack_result import StackResult
from gradlab.tables import score
from gradlab.tables.cell import CELL
from gradlab.tables.spec import TableSpec, names
from gradlab.tables.summary import SUMMARY, summary_table
from gradlab.tables.table import Table, join, of_rows


class Cells:
    """What is known of every cell. Records of complete cells are not held in memory: `read` fetches them again.

    read: the records of a finished stack, of some tables
    """

    def __init__(self, plan: Plan, read: Callable[[Stack, Collection[str]], StackResult | None]) -> None:
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

        def worth(cell: Cell) -> float:
            row = self.rows[cell.id]
            value = float(row[score.of_row(row).mean])
            return -np.inf if np.isnan(value) else value

        for cell in done:
            others = {name: value for name, value in cell.columns().items() if name not in ("cell", over)}
            key = tuple(others.items())
            if key not in best or worth(cell) > worth(best[key]):
                best[key] = cell
        return list(best.values())

    def rows_of(self, table: TableSpec) -> Iterator[Table]:
        """The rows of one table, cell by cell; at least one part, which may be empty."""
        every = (*names(CELL), *self.plan.varying, *table.every)
        yield Table({name: np.empty(0) for name in every}, {}, table.kinds)
        if table == SUMMARY:
            yield from self._summary()
            return
        for cell in self.kept():
            columns = cell.columns()
            parts = ((result.blocks[table.name], result) for result in self._results(cell, table))
            yield join([block.rows(table, columns, r.seeds, r.steps.tolist()) for block, r in parts])

    def _summary(self) -> Iterator[Table]:
        """Rows of summary.csv; what a cell does not have (an interval from one seed, a prediction) is empty."""
        if not (rows := [self.rows[cell.id] for cell in self.kept()]):
            return
        unrecorded = ("layers",) if self.plan.recording.record == "off" else ()
        yield summary_table(of_rows(rows), unrecorded)

    def _results(self, cell: Cell, table: TableSpec) -> list[StackResult]:
        found = [self._read(stack, [table.name]) for stack in self._stacks[cell.id]]
        kept = [result for result in found if result is not None]
        if len(kept) < len(found):
            raise GradlabError(
                f"finished records of cell {cell.id} have left the journal",
                "the same command trains them again",
            )
        return kept
