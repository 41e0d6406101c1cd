"""The registry of figures, `plot` for a notebook, and saving them as files.

CELL figures are drawn from the frames of one cell, GRID figures from several, BOTH from either. Each returns a
Figure, or None where the records hold nothing to draw.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gradlab.base.errors import ConfigError, Problem, nearest
from gradlab.report import (
    cell_figures,
    grid_figures,
    histogram_figure,
    phase_figure,
    selections,
    shape_figures,
)
from gradlab.report.selections import Frames

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Maker = Callable[[Frames], "Figure | None"]

CELL: dict[str, Maker] = {
    "overview": cell_figures.overview,
    "gradients": cell_figures.gradients,
    "heatmap": cell_figures.heatmap,
    "units": cell_figures.units,
    "learning": cell_figures.learning,
    "prediction": cell_figures.prediction,
    "histograms": histogram_figure.histograms,
}
GRID: dict[str, Maker] = {
    "ranking": grid_figures.ranking,
    "by_depth": grid_figures.by_depth,
    "profiles": grid_figures.profiles,
    "decay": grid_figures.decay,
}
BOTH: dict[str, Maker] = {
    "activations": shape_figures.activation_shapes,
    "phase": phase_figure.phase,
}
FIGURES: dict[str, Maker] = CELL | GRID | BOTH
FORMATS = ("png", "svg", "pdf")
MOST_CELLS = 12
MOST_DETAILED = 4


def plot(result: Frames, name: str = "", cell: str = "") -> Figure:
    """One figure of a result, for a notebook.

    name: of the registry; by default `overview` for one cell, `by_depth` or `profiles` for several
    cell: hash of the cell that a figure of one cell shows; by default the first. Raises ConfigError for an unknown
    name or cell, or where the result holds nothing for this figure.
    """
    if not len(result.layers):
        raise ConfigError(Problem("name", "no layer was recorded, so there is nothing to draw"))
    cells = [str(cell) for cell in result.summary["cell"]]
    if not name:
        one = cell or len(cells) == 1
        name = "overview" if one else "by_depth" if result.summary["depth"].nunique() > 1 else "profiles"
    if name not in FIGURES:
        raise ConfigError(
            Problem("name", f"no figure {name!r}", ", ".join(FIGURES), nearest(name, list(FIGURES)))
        )
    if cell and cell not in cells:
        raise ConfigError(Problem("cell", f"no cell {cell!r} in this result", ", ".join(cells)))
    figure = FIGURES[name](selections.of_cell(result, cell or cells[0]) if name in CELL else result)
    if figure is None:
        raise ConfigError(
            Problem("name", f"this result has nothing to draw for {name!r}", hint="see its columns")
        )
    return figure


def save_all(result: Frames, folder: Path, formats: Sequence[str]) -> list[Path]:
    """Write every figure that the result feeds into `folder`, in each format; returns the paths.

    Up to MOST_DETAILED cells get each figure of a cell, more get the overview alone; with more than MOST_CELLS,
    the best and the worst of them.
    """
    ranked = [str(cell) for cell in selections.ranking(result.summary)["cell"]]
    if len(ranked) > MOST_CELLS:
        ranked = ranked[: MOST_CELLS // 2] + ranked[-(MOST_CELLS // 2) :]
    names = selections.labels(result.summary)
    written: list[Path] = []
    for name, draw in (BOTH if len(result.summary) == 1 else GRID | BOTH).items():
        written += save(draw(result), folder / name, formats)
    for cell in ranked:
        cut = selections.of_cell(result, cell)
        prefix = "" if len(result.summary) == 1 else f"{_slug(names[cell])}-{cell[:6]}-"
        for name in CELL if len(ranked) <= MOST_DETAILED else ["overview"]:
            written += save(CELL[name](cut), folder / f"{prefix}{name}", formats)
    return written


def save(figure: Figure | None, stem: Path, formats: Sequence[str]) -> list[Path]:
    """Write one figure as `stem`.png and so on; nothing for None. The same numbers write the same picture."""
    if figure is None:
        return []
    import matplotlib

    stem.parent.mkdir(parents=True, exist_ok=True)
    dates = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
    paths = []
    for kind in formats:
        path = stem.with_name(f"{stem.name}.{kind}")
        with matplotlib.rc_context({"svg.hashsalt": "gradlab"}):  # else the ids in an SVG are random
            figure.savefig(path, format=kind, dpi=200, metadata=dates[kind])
        paths.append(path)
    return paths


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower().replace("e+", "e")).strip("-")[:60]
