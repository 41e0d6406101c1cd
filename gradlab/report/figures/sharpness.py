"""The sharpness of one cell over the steps, with the largest that plain gradient descent holds on a quadratic."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gradlab.report import axes, selections
from gradlab.report.axes import Decades
from gradlab.report.figure_spec import FigureSpec
from gradlab.report.figures.learning import draw_loss, needs_decades
from gradlab.report.selections import Array, Frames

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def draw(data: Frames) -> Figure | None:
    """Sharpness and loss against step; None where no sharpness was asked for."""
    frame = selections.optional_table(data, "sharpness")
    if frame is None:
        return None
    found = selections.course(frame, "sharpness")
    at, edge = edge_of(data.steps)
    drawn = [found.median, found.low, found.high, edge]
    # a largest eigenvalue may be below 0, at a maximum of the loss
    positive = bool((np.concatenate([found.low, found.median]) >= 0).all())
    scale = Decades.of(*drawn) if positive and needs_decades(np.concatenate(drawn)) else None
    figure = axes.new_figure(2.8)
    left, right = figure.subplots(1, 2)
    axes.draw_profile(left, found, 0, "sharpness", scale)
    if len(at):
        axes.draw_theory(left, at, scale.place(edge) if scale else edge, "2 / learning rate")
    axes.dress(left, "largest curvature of the probe's loss", "step")
    if scale:
        scale.dress(left)
    axes.step_axis(left, found.at)
    axes.legend(left)
    draw_loss(right, data)
    axes.headline(figure, selections.title_of(data))
    return figure


def edge_of(steps: pd.DataFrame) -> tuple[Array, Array]:
    """Steps, and 2 over the rate of each: the largest sharpness that plain gradient descent holds on a quadratic. Empty
    for optimisers with a memory or a scale of their own, whose edges lie elsewhere."""
    if not (steps["optimizer"] == "sgd").all():
        return np.empty(0), np.empty(0)
    rates = steps.dropna(subset=["learning_rate"]).groupby("step")["learning_rate"].first()
    rates = rates[rates > 0]
    return rates.index.to_numpy(dtype=np.float64), 2 / rates.to_numpy(dtype=np.float64)


FIGURE = FigureSpec(
    name="sharpness",
    of="cell",
    summary="largest eigenvalue of the Hessian of the probe's loss against step, the median seed with a band from the "
    "lowest to the highest, and 2 / learning rate, dotted, where plain gradient descent is at its edge; beside it the "
    "loss",
    draw=draw,
    order=9,
)
