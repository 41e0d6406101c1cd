"""The records of a training: on the device until they move to the host together, then one block a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradlab.sensors.sensor import Taken
from gradlab.tables.block import Block
from gradlab.tables.spec import TableSpec

FLUSH_EVERY = 64  # records kept on the device before they move to the host together


class RecordBook:
    """All records taken so far.

    empty: the block of each table without records, by its name; steps: the step of each record
    """

    def __init__(self, empty: Mapping[str, Block]) -> None:
        self.empty = dict(empty)
        self.steps: list[int] = []
        self.newest: Mapping[str, Taken] = {}
        self._waiting: list[Mapping[str, Taken]] = []
        self._values: dict[str, list[NDArray[np.float64]]] = {name: [] for name in empty}
        self._applies: dict[str, list[NDArray[np.bool_]]] = {name: [] for name in empty}

    def add(self, step: int, record: Mapping[str, Taken]) -> None:
        """Take what the sensors gave at one step, by table."""
        self.steps.append(step)
        self.newest = record
        self._waiting.append(record)
        if len(self._waiting) >= FLUSH_EVERY:
            self.flush()

    def flush(self) -> None:
        """Move the waiting records to the host in one go."""
        waiting, self._waiting = self._waiting, []
        for name in waiting[0] if waiting else ():
            self._values[name].append(
                to_host(torch.stack([record[name].values for record in waiting], dim=1))
            )
            self._applies[name].append(np.array([record[name].applies for record in waiting]))

    def blocks(self) -> dict[str, Block]:
        """Every table's records."""
        self.flush()
        return {name: block.with_records(*self._whole(name)) for name, block in self.empty.items()}

    def _whole(self, name: str) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        empty = self.empty[name]
        return (
            np.concatenate([empty.values, *self._values[name]], axis=1),
            np.concatenate([empty.applies, *self._applies[name]]),
        )

    def state(self) -> dict[str, Any]:
        """Arrays by name, for a checkpoint."""
        self.flush()
        found: dict[str, Any] = {"steps": np.array(self.steps, dtype=np.int64)}
        for name in self.empty:
            found[f"{name}/values"], found[f"{name}/applies"] = self._whole(name)
        return found

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.steps = state["steps"].tolist()
        for name in self.empty:
            self._values[name], self._applies[name] = [state[f"{name}/values"]], [state[f"{name}/applies"]]


def to_host(numbers: Tensor) -> NDArray[np.float64]:
    return numbers.cpu().to(torch.float64).numpy()


def taken(spec: TableSpec, columns: Mapping[str, Tensor], missing: Sequence[str] = ()) -> Taken:
    """A record of a table without axes, from its columns [replica]; those of `missing` do not apply."""
    applies = np.array([name not in missing for name in spec.recorded])
    return Taken(torch.stack([columns[name] for name in spec.recorded], dim=1), applies)
