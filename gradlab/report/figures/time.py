"""The back-propagated error of one cell over the steps of its recurrent layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gradlab.report import axes, selections
from gradlab.report.axes import Decades
from gradlab.report.figure_spec import FigureSpec
from gradlab.report.selections import Frames, Profile

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_LINES = 8
QUANTITIES = {
    "delta_rms": (r"$\delta$ of $h_t$ (rms)", "delta_rms_predicted"),
    "carried": ("left of the last output's", "carried_predicted"),
}
"""the panels from the left: column -> what its axis says, the theory's column"""


def draw(data: Frames) -> Figure | None:
    """A row of panels for the first record and one for the last; None where nothing is recurrent."""
    frame = selections.optional_table(data, "time")
    if frame is None:
        return None
    steps = selections.records(frame)
    steps = list(dict.fromkeys((steps[0], steps[-1])))
    names = [str(name) for name in frame["name"].unique()][:MOST_LINES]
    frame = frame[frame["step"].isin(steps) & frame["name"].isin(names)]
    figure = axes.new_figure(0.7 + 2.2 * len(steps))
    panels = figure.subplots(len(steps), len(QUANTITIES), squeeze=False, sharex=True)
    for place, (column, (label, theory)) in enumerate(QUANTITIES.items()):
        scale = Decades.of(frame[[column, theory]].to_numpy(dtype=np.float64))
        for ax, step in zip(panels[:, place], steps, strict=True):
            found = frame[frame["step"] == step]
            _lines(ax, found, names, scale, column, theory)
            below = "time (first input at the left)" if step == steps[-1] else ""
            axes.dress(ax, f"step {step}", below, label)
            scale.dress(ax)
    axes.legend_below(figure, axes.handles_of(panels.ravel().tolist()))
    axes.headline(figure, selections.title_of(data))
    return figure


def _lines(ax: Axes, frame: pd.DataFrame, names: list[str], scale: Decades, column: str, theory: str) -> None:
    """A line for each layer, the median seed with a band from the lowest to the highest, and the theory's, dotted."""
    for nth, name in enumerate(names):
        rows = frame[frame["name"] == name]
        if not rows[column].notna().any():
            continue
        groups = rows.groupby("time")
        at = np.array(list(groups.groups), dtype=np.float64)
        middle, low, high = (
            getattr(groups[column], how)().to_numpy(np.float64) for how in ("median", "min", "max")
        )
        axes.draw_profile(ax, Profile(at, middle, low, high), nth, name, scale, linestyle="-")
        predicted = groups[theory].median().to_numpy(np.float64)
        if np.isfinite(predicted).any():
            axes.draw_theory(ax, at, scale.place(predicted), "theory")


FIGURE = FigureSpec(
    name="time",
    of="cell",
    summary="delta over the steps of each recurrent layer at the first and the last record, and what is left in each "
    "step of a gradient that comes to the last output alone; dotted the theory of a plain RNN",
    draw=draw,
    order=8,
)
