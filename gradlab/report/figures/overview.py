"""The four pictures of a cell that belong together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradlab.report import axes, selections
from gradlab.report.figure_spec import FigureSpec
from gradlab.report.figures.gradients import draw_gradient
from gradlab.report.figures.heatmap import draw_delta_map
from gradlab.report.figures.learning import draw_score
from gradlab.report.selections import Frames

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(data: Frames) -> Figure | None:
    """The four pictures of a cell that belong together: delta, its map over steps, the weight gradient, learning."""
    figure = axes.new_figure(5.4)
    panels = figure.subplots(2, 2)
    draw_gradient(panels[0, 0], data, "delta_rms")
    draw_delta_map(panels[0, 1], data, figure)
    draw_gradient(panels[1, 0], data, "weight_grad_norm")
    draw_score(panels[1, 1], data)
    row = selections.rows_of(data.summary)[0]
    verdict = str(row["verdict"]).replace(",", ", ") if isinstance(row["verdict"], str) else ""
    axes.headline(figure, f"{selections.title_of(data)}: {verdict}" if verdict else selections.title_of(data))
    return figure


FIGURE = FigureSpec(
    name="overview",
    of="cell",
    summary="delta against layer and over the records, weight gradient against layer, accuracy against step: the "
    "median seed, with bands from the lowest to the highest",
    draw=draw,
    order=1,
    leads=True,
)
