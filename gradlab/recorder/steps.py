"""The rows of steps.csv of any model: numbers and words of each record, on the device until they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gradlab.recorder.task import Fact, Facts
from gradlab.tables.steps import STEPS_OF_ANY_MODEL
from gradlab.tables.table import Table


class StepLedger:
    """seeds: one a replica. Its numbers may be one of each replica, or one for all."""

    def __init__(self, seeds: Sequence[int]) -> None:
        self.seeds = tuple(seeds)
        self.steps: list[int] = []
        self._rows: list[Facts] = []
        self._of_all: Facts = {}  # what is the same in every record

    def add(self, step: int, facts: Facts) -> None:
        self.steps.append(step)
        self._rows.append({name: _on_host(fact) if _is_here(fact) else fact for name, fact in facts.items()})

    def settle(self, of_all: Facts | None = None) -> None:
        """Move what waits on a device to the host. of_all: what is known by now of all records together, such as the
        loss of the best constant output."""
        self._of_all |= of_all or {}
        for row in self._rows:
            for name, fact in row.items():
                row[name] = _on_host(fact)

    def last(self, name: str) -> float:
        """The last record's number, of all replicas together, or that of all records; nan where there is none."""
        found = self._of_all.get(name, self._rows[-1].get(name) if self._rows else None)
        return (
            float("nan") if found is None else float(np.mean(np.asarray(_on_host(found), dtype=np.float64)))
        )

    def table(self) -> Table:
        """By seed, then step."""
        self.settle()
        replicas, records = len(self.seeds), len(self.steps)
        columns: dict[str, NDArray[Any]] = {
            "seed": np.repeat(np.array(self.seeds, dtype=np.int64), records),
            "step": np.tile(np.array(self.steps, dtype=np.int64), replicas),
        }
        applies: dict[str, NDArray[np.bool_]] = {}
        for column in STEPS_OF_ANY_MODEL.columns:
            name = column.name
            if name in self._of_all:
                values: list[Any] = [self._of_all[name]] * records
            else:
                values = [row.get(name) for row in self._rows]
            if column.kind == "str":
                words = np.array(["" if value is None else str(value) for value in values], dtype=object)
                columns[name] = np.tile(words, replicas)
                continue
            numbers = np.full((replicas, records), np.nan)
            for record, value in enumerate(values):
                if value is not None:
                    numbers[:, record] = value
            columns[name] = numbers.reshape(-1)
            there = np.array([value is not None for value in values], dtype=bool)
            applies[name] = np.tile(there, replicas)
        return Table(columns, applies, STEPS_OF_ANY_MODEL.kinds)


def _is_here(fact: Fact) -> bool:
    """Whether reading it waits for no device."""
    return isinstance(fact, Tensor) and fact.device.type == "cpu"


def _on_host(fact: Fact) -> Fact:
    """A number, or one a replica as an array."""
    if not isinstance(fact, Tensor):
        return fact
    return fact.detach().cpu().double().numpy().copy() if fact.dim() else float(fact)
