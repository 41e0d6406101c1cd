"""The records of a model: numbers on the device until they are moved together, then rows of layers.csv."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradlab.measure.columns import DERIVED, layer_columns
from gradlab.measure.statistics import wide_dtype
from gradlab.store import schema
from gradlab.store.tables import Table

Key = tuple[str, int]
Array = NDArray[np.float64]
Finish = Callable[[Array], Array]
Place = tuple[Key, str, Finish | None]
UPDATE_COLUMNS = ("update_ratio", "update_mean_abs")
FLUSH_EVERY = 64  # records


def share_of(entries: int) -> Finish:
    """A count as a share of `entries`."""
    return lambda count: count / entries


def rest_of(entries: int) -> Finish:
    """What is left of `entries` beside a count, as a share."""
    return lambda count: (entries - count) / entries


class Record:
    """One record in the making.

    Every number is [replica]; `put_all` takes [key, replica] at once. Numbers put into the same place add up: the
    entries that are not finite come from several tensors. What is left to do with a number (a count over its entries)
    is a function that runs on the host, since a small operation on the device costs as much as a reduction.

    batch:   samples behind a key's batch columns
    order:   keys in the order in which they were executed
    known:   numbers that are the same in every replica and never were on the device
    skipped: above 0 where the optimiser turned out to leave the weights alone
    """

    def __init__(self, step: int) -> None:
        self.step = step
        self.batch: dict[Key, int] = {}
        self.order: list[Key] = []
        self.skipped: Tensor | None = None
        self.known: list[tuple[Key, str, float]] = []
        self._single: list[tuple[Place, Tensor]] = []
        self._blocks: list[tuple[list[Place], Tensor]] = []

    def put(self, key: Key, column: str, numbers: Tensor, finish: Finish | None = None) -> None:
        self._single.append(((key, column, finish), numbers))

    def put_all(self, keys: Sequence[Key], column: str, numbers: Tensor) -> None:
        self._blocks.append(([(key, column, None) for key in keys], numbers))

    def saw(self, keys: Sequence[Key]) -> None:
        """Keep the order of execution; a key that was not seen before goes behind the one it followed."""
        _merge(self.order, keys)

    def close(self) -> list[tuple[list[Place], Tensor]]:
        """The numbers of each device as one tensor [number, replica], with their places."""
        singles: dict[tuple[torch.device, torch.dtype], list[tuple[Place, Tensor]]] = {}
        for place, numbers in self._single:
            singles.setdefault((numbers.device, numbers.dtype), []).append((place, numbers))
        blocks = [
            ([place for place, _ in part], torch.stack([x for _, x in part])) for part in singles.values()
        ]
        devices: dict[torch.device, list[tuple[list[Place], Tensor]]] = {}
        for places, block in blocks + self._blocks:
            devices.setdefault(block.device, []).append((places, block.to(wide_dtype(block))))
        self._single, self._blocks = [], []
        return [
            ([place for places, _ in part for place in places], torch.cat([block for _, block in part]))
            for part in devices.values()
        ]


def _merge(order: list[Key], keys: Sequence[Key]) -> None:
    known = set(order)
    previous: Key | None = None
    for key in keys:
        if key not in known:
            order.insert(order.index(previous) + 1 if previous is not None else 0, key)
            known.add(key)
        previous = key


class Ledger:
    """All records of a run.

    replicas: numbers per key and column; fans: fan_in and fan_out by module path, where it has them
    """

    def __init__(self, seeds: Sequence[int], fans: Mapping[str, tuple[int, int]], metrics: str) -> None:
        self.seeds, self.fans = tuple(seeds), fans
        self.columns = layer_columns("full" if metrics == "full" else "standard")
        self.order: list[Key] = []
        self.records = 0
        self._waiting: list[tuple[Record, list[tuple[list[Place], Tensor]]]] = []
        self._rows: list[tuple[int, Key, int | None, dict[str, Array]]] = []

    def add(self, record: Record) -> None:
        """Take a finished record; its numbers stay on the device until `flush`."""
        _merge(self.order, record.order)
        self._waiting.append((record, record.close()))
        self.records += 1
        if len(self._waiting) >= FLUSH_EVERY:
            self.flush()

    def flush(self) -> None:
        """Move the waiting numbers to the host."""
        for record, blocks in self._waiting:
            rows: dict[Key, dict[str, Array]] = {key: {} for key in record.order}
            skipped = record.skipped is not None and bool(record.skipped.sum() > 0)
            for key, column, value in record.known:
                rows[key][column] = np.full(len(self.seeds), value)
            for places, numbers in blocks:
                host = numbers.cpu().to(torch.float64).numpy()
                for (key, column, finish), values in zip(places, host, strict=True):
                    if skipped and column in UPDATE_COLUMNS:
                        continue
                    values = values if finish is None else finish(values)
                    rows[key][column] = rows[key].get(column, 0.0) + values
            self._rows += [(record.step, key, record.batch.get(key), rows[key]) for key in record.order]
        self._waiting = []

    def latest(self) -> tuple[int, dict[str, float]]:
        """Step and numbers of the newest record, by `gradlab/<column>/<module>`; with several replicas their mean."""
        self.flush()
        step = self._rows[-1][0]
        rows = [(key, found) for at, key, _, found in self._rows if at == step]
        return step, {
            f"gradlab/{name}/{row_name(key)}": float(v.mean())
            for key, found in rows
            for name, v in found.items()
        }

    def table(self) -> Table:
        """The rows by seed, then step, then layer; layers are numbered in order of execution."""
        self.flush()
        number = {key: place for place, key in enumerate(self.order, start=1)}
        rows = [
            (seed, step, number[key], key, batch, {name: values[replica] for name, values in found.items()})
            for replica, seed in enumerate(self.seeds)
            for step, key, batch, found in self._rows
        ]
        rows.sort(key=lambda row: row[:3])
        columns: dict[str, NDArray[Any]] = {
            "seed": np.array([row[0] for row in rows], dtype=np.int64),
            "step": np.array([row[1] for row in rows], dtype=np.int64),
            "layer": np.array([row[2] for row in rows], dtype=np.int64),
            "name": np.array([row_name(row[3]) for row in rows], dtype=object),
        }
        numbers: dict[str, list[float | None]] = {
            "fan_in": [float(self.fans[row[3][0]][0]) if row[3][0] in self.fans else None for row in rows],
            "fan_out": [float(self.fans[row[3][0]][1]) if row[3][0] in self.fans else None for row in rows],
            "batch": [None if row[4] is None else float(row[4]) for row in rows],
        }
        wanted = [name for name in schema.names(schema.LAYERS) if name in self.columns or name in DERIVED]
        for name in (*wanted, *(name for name in self.columns if name not in wanted)):
            numbers[name] = [row[5].get(name) for row in rows]
        applies = {}
        for name, found in numbers.items():
            columns[name] = np.array(
                [np.nan if value is None else value for value in found], dtype=np.float64
            )
            applies[name] = np.array([value is not None for value in found], dtype=bool)
            if name in ("fan_in", "fan_out", "batch") and applies[name].all():
                columns[name] = columns[name].astype(np.int64)
        return Table(columns, applies)


def row_name(key: Key) -> str:
    """The module's path, the model itself as `(model)`; from its second call on with the call's number."""
    name, call = key
    return (name or "(model)") + (f"#{call}" if call > 1 else "")
