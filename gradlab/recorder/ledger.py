"""The records of a model: numbers on the device until they are moved together, then rows of layers.csv."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradlab.nn.statistics import wide_dtype
from gradlab.sensors.metrics import GRADIENT_NORMS, UPDATE, Found
from gradlab.sensors.own_columns import Metrics
from gradlab.tables.layers import TRAINS, layer_table
from gradlab.tables.spec import names
from gradlab.tables.table import Table

Key = tuple[str, int]
"""A module's path and the number of its call in one forward pass, from 1."""
Array = NDArray[np.float64]
FLUSH_EVERY = 64  # records
ZERO = np.zeros((1, 1))


Place = tuple[Sequence[Key], str]
"""The keys and the column that numbers belong to."""


class OnPath(NamedTuple):
    """path: "stream", "branch 2", "head 1", "" where that is not known; into, joins: of the last call of a branch, the
    path that takes its output and how (a word of `tables.layers.JOINS`); else "" """

    path: str = ""
    into: str = ""
    joins: str = ""


NOWHERE = OnPath()


class Record:
    """One record in the making.

    Those put into the same place add up: the entries that are not finite come from several tensors.

    batch:   samples behind a key's batch columns; outputs: numbers that a key puts out for one of them
    order:   keys in the order in which they were executed
    trains:  places in TRAINS
    skipped: above 0 where the optimiser turned out to leave the weights alone
    """

    def __init__(self, step: int) -> None:
        self.step = step
        self.batch: dict[Key, int] = {}
        self.outputs: dict[Key, int] = {}
        self.order: list[Key] = []
        self.trains: dict[Key, int] = {}
        self.skipped: Tensor | None = None
        self.places: list[Place] = []
        self.numbers: list[Tensor | Array] = []  # [key or 1, replica or 1]
        self.on_host: dict[str, tuple[list[Key], list[float]]] = {}  # by column, to be laid together
        self.on_device: list[tuple[Tensor, list[int]]] = []  # laid together, and the places they belong to

    def put(self, keys: Sequence[Key], found: Found) -> None:
        """Numbers of one key or several, [key, replica] or the same in one axis, by column."""
        for column, numbers in found.items():
            if isinstance(numbers, Tensor):
                self.places.append((keys, column))
                self.numbers.append(numbers.reshape(len(keys), -1))
            else:
                where, every = self.on_host.setdefault(column, ([], []))
                where.extend(keys)
                every.extend(numbers)

    def column(self, name: str) -> dict[Key, float]:
        """The numbers that were put into a column, of a model of one replica; reading them waits for the device."""
        on_host: tuple[Sequence[Key], Sequence[float]] = self.on_host.get(name, ([], []))
        found = dict(zip(*on_host, strict=True))
        for (keys, column), each in zip(self.places, self.numbers, strict=True):
            if column == name:
                found |= zip(keys, torch.as_tensor(each).flatten().tolist(), strict=True)
        return found

    def put_zero(self, keys: Sequence[Key], column: str) -> None:
        self.places.append((keys, column))
        self.numbers.append(ZERO)

    def saw(self, keys: Sequence[Key]) -> None:
        """Keep the order of execution; a key that was not seen before goes behind the one it followed."""
        _merge(self.order, keys)

    def gather(self) -> None:
        """Keep no tensors but those on another device, laid together by format."""
        for column, (keys, numbers) in self.on_host.items():
            self.places.append((keys, column))
            self.numbers.append(np.reshape(numbers, (len(keys), -1)))
        alike: dict[tuple[torch.device, torch.dtype], list[int]] = {}
        for place, each in enumerate(self.numbers):
            if isinstance(each, Tensor) and _elsewhere(each):
                alike.setdefault((each.device, each.dtype), []).append(place)
            elif isinstance(each, Tensor):
                self.numbers[place] = each.numpy().copy()
        for places in alike.values():
            whole = torch.cat([torch.as_tensor(self.numbers[place]) for place in places])
            self.on_device.append((whole.to(wide_dtype(whole)), places))
            for place in places:
                self.numbers[place] = ZERO

    def fetch(self) -> None:
        """Move what was laid together to the host, each format in one piece."""
        for whole, places in self.on_device:
            lengths = [len(self.places[place][0]) for place in places]
            for place, part in zip(places, torch.split(whole.cpu(), lengths), strict=True):
                self.numbers[place] = part.numpy()
        self.on_device = []


def _elsewhere(numbers: Tensor) -> bool:
    """Whether reading them would wait for a device."""
    return numbers.device.type != "cpu"


def _layout(record: Record) -> tuple[list[Key], list[Place], bool]:
    """Equal for records that can be settled together."""
    skipped = record.skipped is not None and bool(record.skipped.sum() > 0)
    return record.order, record.places, skipped


def _merge(order: list[Key], keys: Sequence[Key]) -> None:
    if not order:
        order.extend(keys)
    if order == keys:
        return
    known = set(order)
    previous: Key | None = None
    for key in keys:
        if key not in known:
            order.insert(order.index(previous) + 1 if previous is not None else 0, key)
            known.add(key)
        previous = key


@dataclass(frozen=True)
class Rows:
    """Records of one layout on the host. values: [record, row, column, replica]; applies: [row, column]; batch,
    outputs, trains: [record, row], -1 where empty.

    Few objects, however many numbers: Python's garbage collector looks at each of them again and again.
    """

    steps: tuple[int, ...]
    keys: tuple[Key, ...]
    batch: NDArray[np.int64]
    outputs: NDArray[np.int64]
    trains: NDArray[np.int64]
    values: Array
    applies: NDArray[np.bool_]


class Ledger:
    """All records of a run.

    fans: fan_in and fan_out by module path, where it has them; activations: what is applied to a call's outputs
    paths: on which path a call is, where the graph of the first record says it
    """

    def __init__(self, seeds: Sequence[int], metrics: Metrics) -> None:
        self.seeds = tuple(seeds)
        self.fans: dict[str, tuple[int, int]] = {}
        self.activations: dict[Key, str] = {}
        self.paths: dict[Key, OnPath] = {}
        self.spec = layer_table(metrics.text)
        self.order: list[Key] = []
        self.records = 0
        self._recorded = GRADIENT_NORMS if metrics.level == "gradients" else self.spec.recorded
        self._place = {name: place for place, name in enumerate(self._recorded)}
        self._waiting: list[Record] = []
        self._rows: list[Rows] = []

    def add(self, record: Record) -> None:
        """Take a finished record. Its numbers stay as they are until `flush`: many at once take less time."""
        _merge(self.order, record.order)
        self.records += 1
        record.gather()
        self._waiting.append(record)
        if len(self._waiting) >= FLUSH_EVERY:
            self.flush()

    def flush(self) -> None:
        """Settle the waiting records, those that follow each other with one layout together."""
        waiting, self._waiting = self._waiting, []
        for (order, places, skipped), records in groupby(waiting, _layout):
            self._rows.append(self._settled(order, places, skipped, list(records)))

    def _settled(
        self, order: Sequence[Key], places: Sequence[Place], skipped: bool, records: Sequence[Record]
    ) -> Rows:
        row = {key: place for place, key in enumerate(order)}
        values = np.zeros((len(records), len(row), len(self._recorded), len(self.seeds)))
        applies = np.zeros(values.shape[1:3], dtype=bool)
        for record in records:
            record.fetch()
        for number, (keys, column) in enumerate(places):
            if skipped and column in UPDATE:
                continue
            host = np.array([record.numbers[number] for record in records], dtype=np.float64)
            rows, place = [row[key] for key in keys], self._place[column]
            values[:, rows, place] += host
            applies[rows, place] = True
        values[:, ~applies] = np.nan
        if (z_std := self._place.get("z_std")) is not None:
            lost = applies[:, z_std, None] & ~np.isfinite(values[:, :, z_std])
            for name in names(column for column in self.spec.columns if column.compared):
                values[:, :, self._place[name]][lost] = np.nan
        batch, outputs, trains = (
            np.array([[numbers.get(key, -1) for key in order] for numbers in of_records], dtype=np.int64)
            for of_records in (
                [each.batch for each in records],
                [each.outputs for each in records],
                [each.trains for each in records],
            )
        )
        steps = tuple(each.step for each in records)
        return Rows(steps, tuple(order), batch, outputs, trains, values, applies)

    def latest(self) -> tuple[int, dict[str, float]]:
        """Step and numbers of the newest record, by `gradlab/<column>/<module>`; with several replicas their mean."""
        self.flush()
        rows = self._rows[-1]
        return rows.steps[-1], {
            f"gradlab/{self._recorded[place]}/{row_name(rows.keys[row])}": float(
                rows.values[-1, row, place].mean()
            )
            for row, place in np.argwhere(rows.applies).tolist()
        }

    def table(self) -> Table:
        """The rows by seed, then step, then layer; layers are numbered in order of execution."""
        self.flush()
        number = {key: place for place, key in enumerate(self.order, start=1)}
        keys = [key for rows in self._rows for _ in rows.steps for key in rows.keys]
        step = np.array(
            [step for rows in self._rows for step in rows.steps for _ in rows.keys], dtype=np.int64
        )
        layer = np.array([number[key] for key in keys], dtype=np.int64)
        sort = np.lexsort((layer, step))
        keys = [keys[place] for place in sort]
        count, width, replicas = len(keys), len(self._recorded), len(self.seeds)
        values = np.concatenate(
            [
                np.zeros((0, width, replicas)),
                *(rows.values.reshape(-1, width, replicas) for rows in self._rows),
            ]
        )[sort]
        there = np.concatenate(
            [np.zeros((0, width), dtype=bool), *(np.tile(r.applies, (len(r.steps), 1)) for r in self._rows)]
        )[sort]
        batch, outputs, trains = (
            np.concatenate([np.zeros(0, dtype=np.int64), *(part.reshape(-1) for part in parts)])[sort]
            for parts in (
                [rows.batch for rows in self._rows],
                [rows.outputs for rows in self._rows],
                [rows.trains for rows in self._rows],
            )
        )

        def repeated(column: NDArray[Any]) -> NDArray[Any]:
            return np.tile(column, replicas)

        columns: dict[str, NDArray[Any]] = {
            "seed": np.repeat(np.array(self.seeds, dtype=np.int64), count),
            "step": repeated(step[sort]),
            "layer": repeated(layer[sort]),
            "name": repeated(np.array([row_name(key) for key in keys], dtype=object)),
            "layer_activation": repeated(
                np.array([self.activations.get(key, "") for key in keys], dtype=object)
            ),
            "trains": repeated(np.array([*TRAINS, ""], dtype=object)[trains]),
            **{
                name: repeated(
                    np.array([getattr(self.paths.get(key, NOWHERE), name) for key in keys], dtype=object)
                )
                for name in OnPath._fields
            },
        }
        applies: dict[str, NDArray[np.bool_]] = {}
        fans = np.array([self.fans.get(key[0], (-1, -1)) for key in keys], dtype=np.int64).reshape(-1, 2)
        for name, whole in (
            ("fan_in", fans[:, 0]),
            ("fan_out", fans[:, 1]),
            ("outputs", outputs),
            ("batch", batch),
        ):
            applies[name] = repeated(whole >= 0)
            full = whole if (whole >= 0).all() else np.where(whole >= 0, whole, np.nan)
            columns[name] = repeated(full)
        for column in self.spec.columns:
            if column.sort == "place":
                continue
            name = column.name
            place = self._place.get(name)
            if place is None:
                columns[name], applies[name] = (
                    np.full(count * replicas, np.nan),
                    np.zeros(count * replicas, bool),
                )
            else:
                columns[name] = values[:, place].T.reshape(-1)
                applies[name] = ~np.isnan(columns[name]) if column.empty else repeated(there[:, place])
        return Table({name: columns[name] for name in self.spec.every}, applies, self.spec.kinds)


def row_name(key: Key) -> str:
    """The module's path, the model itself as `(model)`; from its second call on with the call's number."""
    name, call = key
    return (name or "(model)") + (f"#{call}" if call > 1 else "")
