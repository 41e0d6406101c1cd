"""`gradlab.run` and `gradlab.compare`: the commands as functions of Python values."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from gradlab import sensors
from gradlab.analyse.headline import headline
from gradlab.base.errors import GradlabError
from gradlab.config import resolve
from gradlab.config.plan import MOST_CELLS, make
from gradlab.config.typed import GridSettings, Settings, with_keywords
from gradlab.lab import experiment
from gradlab.lab.observe import Observer
from gradlab.lab.worker_server import prepare
from gradlab.report import figures, selections
from gradlab.report.card import card, row_verdict
from gradlab.report.notebook import of_notebook

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
    A notebook shows it as a card: what happened, the verdict, a picture and the numbers.
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

    @property
    def headline(self) -> str:
        """What happened, in one sentence."""
        return headline(self.summary, selections.optional_table(self, "time"))

    @property
    def verdict(self) -> str:
        """The verdicts with their seeds, `vanishing, not-learning (3/3 seeds)`; of several cells a line each."""
        found = {str(row["cell"]): row_verdict(row) for row in selections.rows_of(self.summary)}
        if len(found) == 1:
            return next(iter(found.values()))
        return "\n".join(f"{name}: {found[cell]}" for cell, name in selections.labels(self.summary).items())

    def report(self, formats: str = "html,png") -> Path:
        """Draw the page and the figures beside the tables, as `gradlab report` does; gives back the page, or the folder
        where `formats` has no html. Raises ConfigError for an unknown format."""
        from gradlab.report.build import build, parse_formats

        files = build([self.out], parse_formats(formats, "formats")).files
        return next((file for file in files if file.suffix == ".html"), self.out)

    def plot(self, name: str = "", cell: str = "") -> Figure:
        """One figure: of one cell its overview, of several accuracy and attenuation against depth, or `name`.

        name: of `gradlab.report.figures.FIGURES`; cell: hash of the cell that a figure of one cell shows.
        Raises ConfigError for an unknown name or cell, and where there is nothing to draw.
        """
        return figures.plot(self, name, cell)

    def __repr__(self) -> str:
        return f"{self.headline}.\n{self.verdict}\ngradlab results in {self.out}"

    def _repr_html_(self) -> str:
        return card(self)


@with_keywords
def run(
    *,
    config: str | Path | None = None,
    trust: bool = False,
    observer: Observer | None = None,
    **settings: Unpack[Settings],
) -> Result:
    """Train one cell, several seeds.

    config: a TOML file, or the name of one that comes with gradlab; what is given here goes before it
    trust: whether that file may name code, `package.module:Attr`, which is then imported.
    observer: is told how far it is; in a notebook bars show that, unless another is given

    Results are written as by the command `gradlab run`, and read back when they are there already. Raises UserError
    with every problem of the configuration; GradlabError when a stack fails.

    >>> import gradlab
    >>> result = gradlab.run(activation="sigmoid", depth=20, steps=100, seeds=1, out="results/sigmoid")
    >>> print(result.verdict)
    vanishing, not-learning (1/1 seeds)
    >>> bool(result.layers["delta_rms"].min() < 1e-12)
    True
    """
    return _execute(config, trust, settings, observer, best_over=None, lists=False)


@with_keywords
def compare(
    *,
    config: str | Path | None = None,
    trust: bool = False,
    best_over: str | None = None,
    yes: bool = False,
    observer: Observer | None = None,
    **settings: Unpack[GridSettings],
) -> Result:
    """Train a grid of cells; any setting of the network, the training or `data` may be a list. See `run`.

    best_over: of the values of this key, keep the one with the best mean validation accuracy
    yes: train a grid of more than 10,000 cells, too

    >>> import gradlab
    >>> result = gradlab.compare(activation=["sigmoid", "relu"], depth=[2, 3], steps=5, seeds=1, out="results/grid")
    >>> list(result.summary["activation"] + result.summary["depth"].astype(str))
    ['sigmoid2', 'sigmoid3', 'relu2', 'relu3']
    """
    return _execute(config, trust, settings, observer, best_over=best_over, lists=True, yes=yes)


def _execute(
    config: str | Path | None,
    trust: bool,
    settings: Mapping[str, Any],
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
    plan = make(request, best_over=best_over, most=None if yes else MOST_CELLS)
    outcome = experiment.execute(plan, observer or of_notebook())
    if outcome.failed:
        raise GradlabError("; ".join(f"{f.cell.network.activation}: {f.message}" for f in outcome.failed))
    return Result(outcome)
