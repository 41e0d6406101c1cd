"""The figure of a published result, redrawn from what was measured: one panel beside the other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gradlab.report import axes, drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from gradlab.papers.reproduction import Reproduction
    from gradlab.papers.rows import Panel, Series

PANELS_IN_A_ROW = 2


def figure(reproduction: Reproduction) -> Figure | None:
    """The panels of a reproduction in rows of two; None without any."""
    panels = reproduction.panels
    if not panels:
        return None
    columns = min(PANELS_IN_A_ROW, len(panels))
    rows = -(-len(panels) // columns)
    found = axes.new_figure(2.7 * rows + 0.3, 3.5 * columns + (1.0 if columns == 1 else 0.0))
    grid = found.subplots(rows, columns, squeeze=False)
    for ax, panel in zip(grid.ravel(), panels, strict=False):
        _draw(ax, panel)
    for ax in grid.ravel()[len(panels) :]:
        ax.remove()
    axes.headline(found, reproduction.paper.citation)
    return found


def save(reproduction: Reproduction, folder: Path) -> list[Path]:
    """Write the figure as NAME.png; returns the paths."""
    return drawing.save(figure(reproduction), folder / reproduction.paper.name, ["png"])


def _draw(ax: Axes, panel: Panel) -> None:
    axes.dress(ax, panel.title, panel.x, panel.y)
    for nth, series in enumerate(panel.series):
        _draw_series(ax, series, nth)
    if panel.log_x:
        ax.set_xscale("log")
    if panel.log_y:
        ax.set_yscale("log")
    ax.tick_params(which="minor", labelsize=axes.FONT - 1.5)
    axes.legend(ax)


def _draw_series(ax: Axes, series: Series, nth: int) -> None:
    look = axes.style(nth)
    x, y = np.asarray(series.x, dtype=float), np.asarray(series.y, dtype=float)
    if series.kind == "bars":
        ax.bar(x, y, color=look["color"], label=series.label)
    elif series.kind == "points":
        errors = None
        if len(series.low):
            errors = np.maximum(0.0, np.stack([y - np.asarray(series.low), np.asarray(series.high) - y]))
        ax.errorbar(x, y, yerr=errors, label=series.label, **(look | {"linestyle": "none"}))
    else:
        ax.plot(x, y, label=series.label, markevery=max(1, len(x) // axes.MOST_MARKS), **look)
        if len(series.low):
            ax.fill_between(x, series.low, series.high, color=look["color"], alpha=0.18, linewidth=0)
