"""Dead and saturated units of one cell over layers and steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradlab.report import axes, explained, selections
from gradlab.report.figure_spec import FigureSpec
from gradlab.report.quantities import LEAST_SHARE, SHARES
from gradlab.report.selections import Frames

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(data: Frames) -> Figure | None:
    """Share of dead and of saturated units over layers and steps; None where the activation has no slope, or no layer
    in no record has any to speak of."""
    hidden = explained.hidden_of(data)
    shown = [
        (column, title)
        for column, title in SHARES.items()
        if column in hidden and hidden[column].notna().any()
    ]
    if not any(hidden[column].max() >= LEAST_SHARE for column, _ in shown):
        return None
    figure = axes.new_figure(2.8)
    panels = figure.subplots(1, len(shown), squeeze=False)[0]
    for ax, (column, title) in zip(panels, shown, strict=True):
        steps, layers, values = selections.grid(hidden, column)
        mesh = axes.draw_map(ax, steps, layers, values, (0.0, 1.0))
        axes.dress(ax, f"share of {title}", "step (records)", "layer")
        ax.grid(False)
    bar = figure.colorbar(mesh, ax=panels, pad=0.02)
    bar.ax.tick_params(labelsize=axes.FONT - 0.5)
    axes.headline(figure, selections.title_of(data))
    return figure


FIGURE = FigureSpec(
    name="units",
    of="cell",
    summary="shares of dead units and of saturated outputs over layers and records, the median seed",
    draw=draw,
    order=4,
)
