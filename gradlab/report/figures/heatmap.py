"""One cell's back-propagated error over layers and steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gradlab.report import axes, selections
from gradlab.report.figure_spec import FigureSpec
from gradlab.report.selections import Frames

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_delta_map(ax: Axes, data: Frames, figure: Figure) -> None:
    """log10 delta, layer x record; exact zeros and non-finite values are hatched, each in its own way."""
    steps, layers, values = selections.grid(data.layers, "delta_rms")
    logs = selections.log10(values)
    mesh = axes.draw_map(ax, steps, layers, logs, selections.map_limits(values), selections.has_readout(data))
    axes.mark_fields(ax, layers, values == 0, "////", "0.45", "exactly 0")
    axes.mark_fields(ax, layers, np.isinf(values), "xxxx", axes.COLOURS[1], "inf or nan")
    axes.dress(ax, r"$\log_{10}\,\delta$ (rms)", "step (records)", "layer")
    ax.grid(False)
    bar = figure.colorbar(mesh, ax=ax, pad=0.02)
    bar.ax.tick_params(labelsize=axes.FONT - 0.5)
    bar.outline.set_linewidth(0.4)
    if ax.get_legend_handles_labels()[0]:
        axes.legend(
            ax, loc="lower right", bbox_to_anchor=(1.03, 0.97), ncols=2, handlelength=1.6, columnspacing=1.0
        )


def draw(data: Frames) -> Figure | None:
    """log10 delta over layers and steps."""
    figure = axes.new_figure(3.0, 5.0)
    ax = figure.subplots()
    draw_delta_map(ax, data, figure)
    axes.headline(figure, selections.title_of(data))
    return figure


FIGURE = FigureSpec(
    name="heatmap",
    of="cell",
    summary="log10 of delta over layers and records, the median seed; hatched where it is exactly 0 or not finite",
    draw=draw,
    order=3,
)
