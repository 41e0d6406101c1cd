"""The figures, found by being there: one file each, with its `FIGURE`. `plot` for a notebook, and saving as files."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gradlab.base.errors import ConfigError, Problem, unknown
from gradlab.base.registry import Registry, modules_of
from gradlab.report import selections
from gradlab.report.drawing import Drawing
from gradlab.report.figure_spec import FigureSpec, Of
from gradlab.report.selections import Frames

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS: tuple[Of, ...] = ("cell", "grid", "both")
MOST_CELLS = 12
MOST_WITH_EVERY_FIGURE = 4


def _found() -> dict[str, FigureSpec]:
    every: list[FigureSpec] = [module.FIGURE for module in modules_of(sys.modules[__name__])]
    assert len({figure.name for figure in every}) == len(every), "two figures of one name"
    every.sort(key=lambda figure: (KINDS.index(figure.of), figure.order, figure.name))
    return {figure.name: figure for figure in every}


FIGURES = Registry("figure", _found())


def of_kind(*kinds: Of) -> list[FigureSpec]:
    """The figures that are drawn from one cell, from several, or from either, in their order."""
    return [figure for figure in FIGURES.values() if figure.of in kinds]


def leading(*kinds: Of) -> list[FigureSpec]:
    """Those that people see where no figure is named."""
    return [figure for figure in of_kind(*kinds) if figure.leads]


def plot(result: Frames, name: str = "", cell: str = "") -> Figure:
    """One figure of a result, for a notebook.

    name: of the registry; by default the first leading figure that has something to draw
    cell: hash of the cell that a figure of one cell shows; by default the first. Raises ConfigError for an unknown
    name or cell, or where the result holds nothing for this figure.
    """
    if not len(result.layers):
        raise ConfigError(
            Problem("name", "no layer was recorded, so there is nothing to draw", "a run with records")
        )
    cells = [str(cell) for cell in result.summary["cell"]]
    one = cell or len(cells) == 1
    chosen = [FIGURES.find(name, "name")] if name else leading("cell" if one else "grid")
    if cell and cell not in cells:
        raise ConfigError(unknown("cell", "cell", cell, cells))
    for each in chosen:
        data = selections.of_cell(result, cell or cells[0]) if each.of == "cell" else result
        figure = each.draw(selections.as_labels(data))
        if figure is not None:
            return figure
    names = " or ".join(repr(each.name) for each in chosen)
    raise ConfigError(Problem("name", f"this result has nothing to draw for {names}", hint="see its columns"))


def every_drawing(result: Frames, folder: Path, formats: Sequence[str]) -> list[Drawing]:
    """Every figure that the result may feed, to be saved in `folder` in each format.

    Up to MOST_WITH_EVERY_FIGURE cells get each figure of a cell, more get the leading ones alone; with more than
    MOST_CELLS, the best and the worst of them.
    """
    result = selections.as_labels(result)
    one = len(result.summary) == 1
    cells = selections.best_and_worst(result.summary, MOST_CELLS)
    names = selections.labels(result.summary)
    drawings = [
        Drawing(figure, result, folder / figure.name, tuple(formats))
        for figure in (of_kind("both") if one else of_kind("grid", "both"))
    ]
    for cell in cells:
        cut = selections.of_cell(result, cell)
        prefix = "" if one else f"{_slug(names[cell])}-{cell[:7]}-"
        for figure in of_kind("cell") if len(cells) <= MOST_WITH_EVERY_FIGURE else leading("cell"):
            drawings.append(Drawing(figure, cut, folder / f"{prefix}{figure.name}", tuple(formats)))
    return drawings


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower().replace("e+", "e")).strip("-")[:60]
