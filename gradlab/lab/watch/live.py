"""What a terminal shows while a user's model trains: the newest loss, delta by layer, and the verdict so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from torch import nn

from gradlab.analyse.records_from_tables import split_cells
from gradlab.analyse.rule import judge
from gradlab.base.errors import DataError
from gradlab.recorder.saving import size_of
from gradlab.recorder.units import every_module
from gradlab.tables.table import Table, join

Newest = tuple[int, list[str], Mapping[str, Any]]
"""A step, the names of the layers that have a delta, and the numbers of the newest record by column."""


class Screen(Protocol):
    """What `gradlab.report.progress.Progress` is to a training."""

    def start(self, title: str, total_steps: int, verdicts: Callable[[], list[tuple[str, str]]]) -> None: ...

    def advance_to(self, steps: int, newest: Callable[[], Newest]) -> None: ...


@dataclass
class Live:
    """The view of one training after another.

    columns:  the cell's
    chance:   as for the verdict at the end
    finished: the tables of the seeds before, layers and steps
    """

    screen: Screen
    columns: Mapping[str, Any]
    chance: float | None
    finished: list[tuple[Table, Table]]
    _newest: Callable[[], tuple[Table, Table]] | None = None

    def start(self, title: str, total_steps: int) -> None:
        self.screen.start(title, total_steps, self.verdicts)

    def after_step(
        self,
        done: int,
        step: int,
        model: nn.Module,
        scalars: Callable[[], Mapping[str, float]],
        tables: Callable[[], tuple[Table, Table]],
    ) -> None:
        """One more step is made; where a picture is due, of the newest records.

        done: steps of all seeds so far; scalars: the newest row of steps.csv; tables: what this seed has recorded; both
              are asked for only where they are shown
        """
        self._newest = tables

        def newest() -> Newest:
            names, delta = newest_delta(tables()[0], model)
            return step, names, {**scalars(), **({"delta_rms": delta} if names else {})}

        self.screen.advance_to(done, newest)

    def forget(self) -> None:
        """The newest training is among the finished ones."""
        self._newest = None

    def verdicts(self) -> list[tuple[str, str]]:
        """Each verdict on the records so far, with the seeds it holds in; nothing before there are layers."""
        parts = [*self.finished, *([self._newest()] if self._newest else [])]
        layers, steps = (join([part[which] for part in parts]).frame() for which in (0, 1))
        if not len(layers) or layers["layer"].max() < 2:
            return []
        cell = {**self.columns, **size_of(join([part[0] for part in parts]))}
        for frame in (layers, steps):
            for name, value in reversed(cell.items()):
                frame.insert(0, name, value)
        try:
            (records,) = split_cells(layers, steps, [*cell])
        except DataError:  # nothing is measured yet of which a verdict could speak
            return []
        found = judge(records, self.chance)
        return list(zip(found.verdicts, found.seeds_text.split(","), strict=True))


def newest_delta(layers: Table, model: nn.Module) -> tuple[list[str], np.ndarray[Any, Any]]:
    """Of the newest record the layers that have a delta, by path and type (`encoder.0 Linear`), and their delta_rms
    [1, layer]."""
    if not len(layers):
        return [], np.empty((1, 0))
    step = layers.columns["step"]
    there = (step == step.max()) & layers.applies["delta_rms"]
    paths = [str(name) for name in layers.columns["name"][there]]
    modules, _ = every_module(model)
    kinds = [
        type(modules[base]).__name__ if (base := path.partition("#")[0]) in modules else "" for path in paths
    ]
    names = [f"{path} {kind}".strip() for path, kind in zip(paths, kinds, strict=True)]
    return names, layers.columns["delta_rms"][there][None].astype(float)
