"""Small comparisons to run in tests, an observer that takes notes, and the bytes of a results folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gradlab.config import resolve
from gradlab.config.plan import Cell, Plan, make
from gradlab.lab.observe import Silent

TABLES = ("layers.csv", "steps.csv", "summary.csv")
GRID = {"activation": ["relu", "sigmoid"], "depth": [2, 3]}
SMALL = {"width": 8, "batch_size": 16, "steps": 6, "seeds": 2, "probe": "32"}


def plan_of(out: Path, *, best_over: str | None = None, **settings: Any) -> Plan:
    """A comparison of four small cells, with some settings changed."""
    flags = {**GRID, **SMALL, **settings, "out": str(out)}
    request = resolve(file=None, environment={}, flags=flags, sets=(), lists=True)
    return make(request, best_over=best_over)


def table_bytes(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in TABLES}


class Notes(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.cells: list[str] = []
        self.total = self.steps = self.ends = 0

    def begin(self, plan: Plan, total_steps: int) -> None:
        self.total = total_steps

    def advance(self, cell: Cell, steps: int) -> None:
        self.steps += steps

    def cell_done(self, cell: Cell, row: Mapping[str, Any]) -> None:
        self.cells.append(cell.id)

    def message(self, text: str) -> None:
        self.messages.append(text)

    def end(self) -> None:
        self.ends += 1
