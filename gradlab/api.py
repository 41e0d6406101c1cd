"""`gradlab.run` and `gradlab.compare`: the commands as functions of Python values."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradlab import sensors
from gradlab.base.errors import GradlabError
from gradlab.config import resolve
from gradlab.config.plan import MOST_CELLS, make
from gradlab.lab import experiment
from gradlab.lab.observe import Observer
from gradlab.lab.worker_server import prepare
from gradlab.report import figures

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


class Result:
    """The tables of a run or comparison, each a property of its name (columns: `gradlab list metrics`).

    layers:  one row per cell, seed, recorded step and layer
    steps:   one row per cell, seed and recorded step
    summary: one row per cell
    A table that is written when asked for (`jacobian`, `histograms`) is None unless it was.
    out:     the results folder; files: what it holds
    """

    layers: pd.DataFrame
    steps: pd.DataFrame
    summary: pd.DataFrame

    def __init__(self, outcome: experiment.Outcome) -> None:
        self.outcome = outcome
        self.out: Path = outcome.out
        self.files: tuple[Path, ...] = outcome.files
        for name in sensors.tables():
            setattr(self, name, outcome.table(name))  # now: the folder may be gone when they are looked at

    def plot(self, name: str = "", cell: str = "") -> Figure:
        """One figure: of one cell its overview, of several accuracy and attenuation against depth, or `name`.

        name: of `gradlab.report.figures.FIGURES`; cell: hash of the cell that a figure of one cell shows.
        Raises ConfigError for an unknown name or cell, and where there is nothing to draw.
        """
        return figures.plot(self, name, cell)

    def __repr__(self) -> str:
        shown = [f"{row.activation} depth {row.depth}: {row.verdict}" for row in self.summary.itertuples()]
        return "\n".join([f"gradlab results in {self.out}", *shown])

    def _repr_html_(self) -> str:
        table: str = self.summary.to_html(index=False)  # escapes what came from the user
        return table


def run(
    *,
    config: str | Path | None = None,
    trust: bool = False,
    observer: Observer | None = None,
    **settings: Any,
) -> Result:
    """Train one cell, several seeds. `settings` are the flags of `gradlab run` with underscores.

    trust: whether the file `config` may name code, `package.module:Attr`, which is then imported.

    Results are written as by the command, and read back when they are there already. Raises UserError with every
    problem of the configuration; GradlabError when a stack fails.
    """
    return _execute(config, trust, settings, observer, best_over=None, lists=False)


def compare(
    *,
    config: str | Path | None = None,
    trust: bool = False,
    best_over: str | None = None,
    yes: bool = False,
    observer: Observer | None = None,
    **settings: Any,
) -> Result:
    """Train a grid of cells; any setting of the network, the training or `data` may be a list. See `run`.

    yes: train a grid of more than 10,000 cells, too
    """
    return _execute(config, trust, settings, observer, best_over=best_over, lists=True, yes=yes)


def _execute(
    config: str | Path | None,
    trust: bool,
    settings: dict[str, Any],
    observer: Observer | None,
    *,
    best_over: str | None,
    lists: bool,
    yes: bool = False,
) -> Result:
    request = resolve(
        file=None if config is None else Path(config),
        trusted=trust,
        environment=os.environ,
        flags=settings,
        sets=(),
        lists=lists,
    )
    for warning in request.warnings:
        warnings.warn(warning, stacklevel=3)
    if lists:
        prepare(request.base.run)
    outcome = experiment.execute(
        make(request, best_over=best_over, most=None if yes else MOST_CELLS), observer
    )
    if outcome.failed:
        raise GradlabError("; ".join(f"{f.cell.network.activation}: {f.message}" for f in outcome.failed))
    return Result(outcome)
