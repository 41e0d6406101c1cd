"""Remedies that are run: change a sick cell's configuration, train the same seeds, until one is healthy and learns.

Every attempt is an ordinary run with its own results folder, so that what is reported can be looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gradlab.analyse.advice import remedies
from gradlab.analyse.decay import decay_per_layer
from gradlab.analyse.findings import ALL_WELL
from gradlab.analyse.records import Array, worst
from gradlab.analyse.records_from_tables import split_cells
from gradlab.analyse.remedy import Remedy
from gradlab.analyse.seeds import Difference, difference_over_common
from gradlab.analyse.verdicts.not_learning import VERDICT as NOT_LEARNING
from gradlab.base import atomic
from gradlab.base.errors import UserError
from gradlab.config import Request, to_toml
from gradlab.config.plan import Cell, make
from gradlab.config.sections import Config
from gradlab.lab.changes import with_changes
from gradlab.lab.experiment import execute
from gradlab.lab.observe import Observer
from gradlab.lab.rounds import in_rounds
from gradlab.tables import score
from gradlab.tables.score import ACCURACY, R2, Score

if TYPE_CHECKING:
    import pandas as pd

GOOD = 0.85
"""Share of the gap between chance and 1 that a repaired net's mean validation accuracy must close. A net that only
just learns still has a fault to find; on digits, where healthy nets end at 0.92 to 0.97, it means 0.87. How much of
numbers can be explained nobody knows: there a net is good when it explains some."""

TOO_LITTLE = (NOT_LEARNING.name,)
"""What a net without a fault is treated for that did not learn enough: as one that did not learn."""

MOST = 12
"""Attempts in all, at most: about two minutes of depth-20 nets."""

ROUNDS = 3
"""How many remedies may be laid one on another."""

REPAIRED = "repaired.toml"


@dataclass(frozen=True)
class Attempt:
    """One remedy that was run.

    changes:  every changed key against the sick configuration; remedy: the last change, with its reason and source
    verdicts: what the trained net is, and in how many seeds
    score:    what the net is measured by, an accuracy or R^2; value: its mean at the end, value_ci95: its interval
    decay, dead, gain: paired differences to the sick net over the common seeds, after minus before: of the decay per
        layer at birth, of the worst hidden layer's dead_fraction at the end, of the last score
    good:     healthy, and the accuracy closes GOOD of the gap between chance and 1, or R^2 is above 0
    """

    changes: Mapping[str, object]
    remedy: Remedy
    config: Config
    out: Path
    verdicts: tuple[str, ...]
    verdict_seeds: str
    score: Score
    value: float
    value_ci95: float
    decay: Difference
    dead: Difference
    gain: Difference
    good: bool

    @property
    def setting(self) -> Config:
        return self.config


@dataclass(frozen=True)
class Repair:
    """What was tried for one cell, in order; `best` is the attempt that was written to `file` (None without one)."""

    cell: Mapping[str, object]
    verdicts: tuple[str, ...]
    attempts: tuple[Attempt, ...]
    best: Attempt | None
    file: Path | None

    @property
    def repaired(self) -> bool:
        return self.best is not None and self.best.good


def try_remedies(
    config: Config,
    layers: pd.DataFrame,
    steps: pd.DataFrame,
    verdicts: Sequence[str],
    folder: Path,
    *,
    observer: Observer | None = None,
    most: int = MOST,
) -> Repair:
    """Run the remedies for `verdicts`, likeliest first, on the seeds of `config` until one is good.

    config: the sick cell's; layers, steps: its rows. folder: where attempts 1, 2, ... and `repaired.toml` are written.
    When a round of remedies is through without success, the next round starts from the best so far and from what is
    still wrong with it. Raises what `experiment.execute` raises; a remedy that the configuration does not allow is
    passed over.
    """
    before = _Measured.of(layers, steps)

    def of(current: Config, best: Attempt | None) -> list[Remedy]:
        wrong = tuple(verdicts)
        if best is not None:
            wrong = TOO_LITTLE if best.verdicts == ALL_WELL else best.verdicts
        return remedies(wrong, current.network, current.training)

    def attempt(changed: Config, remedy: Remedy, number: int, best: Attempt | None) -> Attempt | None:
        return _attempt(changed, config, remedy, before, folder / str(number), observer)

    attempts = in_rounds(
        config, of, lambda current, remedy: with_changes(current, remedy.changes), attempt, _worth,
        most=most, rounds=ROUNDS,
    )  # fmt: skip
    return _finish(attempts, layers, verdicts, folder)


def cell_config(request: Request, cell: Cell) -> Config:
    """The configuration of one cell of a request."""
    data = cell.data if "data.name" in request.grid else request.base.data
    return request.base.model_copy(update={"network": cell.network, "training": cell.training, "data": data})


def _worth(attempt: Attempt) -> tuple[bool, float]:
    return attempt.verdicts == ALL_WELL, attempt.value if np.isfinite(attempt.value) else -np.inf


def _finish(attempts: list[Attempt], layers: pd.DataFrame, verdicts: Sequence[str], folder: Path) -> Repair:
    (records,) = split_cells(layers)
    best = max(attempts, key=_worth, default=None)
    file = None
    if best is not None:
        file = folder / REPAIRED
        atomic.write_text(file, to_toml(best.config))
    return Repair(records.cell, tuple(verdicts), tuple(attempts), best, file)


def _attempt(
    config: Config, original: Config, remedy: Remedy, before: _Measured, out: Path, observer: Observer | None
) -> Attempt | None:
    """Train and judge one changed configuration; None where it is not allowed or its training failed."""
    run = config.run.model_copy(update={"out": str(out), "force": True})
    try:
        plan = make(Request(base=config.model_copy(update={"run": run}), grid={}, provenance={}))
    except UserError:
        return None
    outcome = execute(plan, observer)
    if outcome.failed:
        return None
    row = outcome.summary.iloc[0]
    after = _Measured.of(outcome.layers, outcome.steps)
    good = score.of_row(dict(row))
    value = float(row[good.mean])
    verdicts = tuple(str(row["verdict"]).split(","))
    chance = outcome.plan.cells[0].dataset().chance
    return Attempt(
        changes=_changes(original, config),
        remedy=remedy,
        config=config,
        out=out,
        verdicts=verdicts,
        verdict_seeds=str(row["verdict_seeds"]),
        score=good,
        value=value,
        value_ci95=float(row[good.half_width]),
        decay=after.against(before, "decay"),
        dead=after.against(before, "dead"),
        gain=after.against(before, "score"),
        good=verdicts == ALL_WELL
        and (value > 0 if chance is None else value - chance >= GOOD * (1 - chance)),
    )


def _changes(original: Config, config: Config) -> dict[str, object]:
    old, new = original.model_dump(), config.model_dump()
    return {
        f"{section}.{name}": value
        for section, values in new.items()
        for name, value in values.items()
        if value != old[section][name]
    }


@dataclass(frozen=True)
class _Measured:
    """What a remedy is measured by, a value for each seed."""

    seeds: tuple[int, ...]
    decay: Array
    dead: Array
    score: Array

    @classmethod
    def of(cls, layers: pd.DataFrame, steps: pd.DataFrame) -> _Measured:
        (records,) = split_cells(layers, steps)
        accuracy = records.last_of_run(ACCURACY.column)
        ended = np.isfinite(records.last_of_run("train_loss"))  # nothing is alive or dead where all is NaN
        return cls(
            seeds=tuple(int(seed) for seed in records.seeds),
            decay=decay_per_layer(records.first("delta_rms")),
            dead=np.where(ended, worst(records.last("dead_fraction")), np.nan),
            score=records.last_of_run(R2.column) if np.isnan(accuracy).all() else accuracy,
        )

    def against(self, other: _Measured, name: str) -> Difference:
        mine, theirs = (dict(zip(each.seeds, getattr(each, name), strict=True)) for each in (self, other))
        return difference_over_common(mine, theirs)
