"""How one cell learns: loss, and accuracy or R^2, over the steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gradlab.report import axes, selections
from gradlab.report.axes import Decades
from gradlab.report.figure_spec import FigureSpec
from gradlab.report.quantities import LOSSES, SCORES
from gradlab.report.selections import Array, Frames
from gradlab.tables import score

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


TRAINING = len(axes.COLOURS) - 1
FLOOR = -1.0
"""the lowest R^2 that is drawn: an untrained net may be far below, and what matters is between 0 and 1"""


def needs_decades(values: Array) -> bool:
    """Whether a linear axis would hide something: values over two decades, or what is not finite."""
    positive = values[np.isfinite(values) & (values > 0)]
    return bool(np.isinf(values).any()) or bool(positive.size and positive.max() > 100 * positive.min())


def _look(data: Frames, column: str) -> int:
    """The activation's own look on the validation split; grey on the training batch, as on the page."""
    return TRAINING if column.startswith("train") else selections.look_of(data)


def draw_loss(ax: Axes, data: Frames) -> None:
    """Loss against step: on a linear axis, or in decades where it blew up."""
    courses = {column: selections.course(data.steps, column) for column in LOSSES}
    courses = {column: found for column, found in courses.items() if not np.isnan(found.median).all()}
    drawn = [v for found in courses.values() for v in (found.median, found.low, found.high)]
    scale = Decades.of(*drawn) if drawn and needs_decades(np.concatenate(drawn)) else None
    at = np.empty(0)
    for column, found in courses.items():
        axes.draw_profile(ax, found, _look(data, column), LOSSES[column], scale)
        at = found.at
    axes.dress(ax, "loss", "step")
    if scale:
        scale.dress(ax)
    axes.step_axis(ax, at)
    axes.legend(ax)


def draw_score(ax: Axes, data: Frames) -> None:
    """Accuracy against step, from 0 to 1; R^2 where numbers are learned."""
    good = score.of_table(data.steps)
    lowest = [0.0]
    for column, label in SCORES.items():
        if column not in data.steps:
            continue
        found = selections.course(data.steps, column)
        if np.isfinite(found.median).any():
            axes.draw_profile(ax, found, _look(data, column), label)
            lowest += [float(value) for value in found.low if np.isfinite(value)]
    axes.dress(ax, good.short, "step")
    axes.step_axis(ax, np.asarray(data.steps["step"], dtype=np.float64))
    ax.set_ylim(max(min(lowest), FLOOR) - 0.02, 1.02)
    axes.legend(ax)


def draw(data: Frames) -> Figure | None:
    """Loss, and accuracy or R^2, against step."""
    if not len(data.steps):
        return None
    figure = axes.new_figure(2.8)
    left, right = figure.subplots(1, 2)
    draw_loss(left, data)
    draw_score(right, data)
    axes.headline(figure, selections.title_of(data))
    return figure


FIGURE = FigureSpec(
    name="learning",
    of="cell",
    summary="loss and accuracy (or R^2) against step, on the training batch and on the validation split: the median "
    "seed, with a band from the lowest to the highest",
    draw=draw,
    order=5,
)
