"""The singular values of one cell's Jacobians, layer by layer and of the whole net."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gradlab.report import axes, selections
from gradlab.report.axes import Decades
from gradlab.report.figure_spec import FigureSpec
from gradlab.report.selections import Array, Frames, Profile

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOW, HIGH, PREDICTED = "singular_p05", "singular_p95", "predicted"
BAND: dict[str, Any] = {"color": axes.COLOURS[0], "alpha": 0.18, "linewidth": 0, "label": "5 to 95 %"}
EXTREME: dict[str, Any] = {"color": "0.6", "marker": ".", "linestyle": "-", "linewidth": 0.7}
LINES: dict[str, tuple[str, dict[str, Any]]] = {
    "singular_max": ("largest and smallest", EXTREME),
    "singular_min": ("", EXTREME),
    "singular_p50": ("median", axes.style(0)),
    "singular_rms": ("root mean square", axes.style(1)),
}
"""the lines from the back to the front: column, name in the legend, how it looks"""
DRAWN = [LOW, HIGH, *LINES, PREDICTED]


def draw(data: Frames) -> Figure | None:
    """A panel a record with the hidden layers, and one with the whole net; None where no Jacobian was asked for."""
    frame = selections.optional_table(data, "jacobian")
    if frame is None:
        return None
    steps = selections.first_middle_last(selections.records(frame))
    values = _medians(frame[frame["step"].isin(steps)])
    net, layers = values[values["layer"] == 0], values[values["layer"] > 0]
    figure = axes.new_figure(3.2, axes.WIDTH if len(steps) > 1 else 4.5)
    *panels, last = figure.subplots(1, len(steps) + 1, width_ratios=[*([3.0] * len(steps)), 1.6])
    scale = Decades.of(layers[DRAWN].to_numpy())
    for ax, step in zip(panels, steps, strict=True):
        found = layers[layers["step"] == step]
        draw_values(ax, found["layer"].to_numpy(dtype=np.float64), found, scale, joined=True)
        axes.dress(ax, f"step {step}", "layer (input at the left)")
        axes.layer_ticks(ax, int(layers["layer"].max()))
        ax.tick_params(labelleft=ax is panels[0])
    panels[0].set_ylabel("singular values of a layer's Jacobian", fontsize=axes.FONT)
    places = np.arange(len(steps), dtype=np.float64)
    draw_values(last, places, net, Decades.of(net[DRAWN].to_numpy()), joined=False)
    axes.dress(last, "whole net", "step")
    last.set_xticks(places, [str(step) for step in steps])
    last.set_xlim(-0.6, len(steps) - 0.4)
    axes.legend_below(figure, axes.handles_of(panels))
    axes.headline(figure, selections.title_of(data))
    return figure


def _medians(frame: pd.DataFrame) -> pd.DataFrame:
    """What is drawn, by step and layer: medians over the seeds. Where the net is not finite, a singular value is NaN
    and counts as infinite."""
    predicted = np.sqrt(frame["singular_sq_mean_predicted"])
    frame = frame.fillna({name: np.inf for name in frame if str(name).startswith("singular_")})
    frame = frame.assign(singular_rms=np.sqrt(frame["singular_sq_mean"]), predicted=predicted)
    return frame.groupby(["step", "layer"])[DRAWN].median().reset_index()


def draw_values(ax: Axes, at: Array, values: pd.DataFrame, scale: Decades, *, joined: bool) -> None:
    """Band and lines over the places `at`, or marks and bars where nothing joins them."""

    def of(column: str) -> Array:
        return values[column].to_numpy(dtype=np.float64)

    low, high = scale.place(of(LOW)), scale.place(of(HIGH))
    if joined and len(at) > 1:
        ax.fill_between(at, low, high, **BAND)
    else:
        ax.bar(at, high - low, 0.6, low, **BAND)
    more = {} if joined else {"linestyle": "none"}
    for column, (label, look) in LINES.items():
        found = of(column)
        axes.draw_profile(ax, Profile(at, found, found, found), 0, label, scale, **(look | more))
    if np.isfinite(of(PREDICTED)).any():
        axes.draw_theory(ax, at, scale.place(of(PREDICTED)), "root mean square in theory")
    scale.dress(ax)


FIGURE = FigureSpec(
    name="jacobian",
    of="cell",
    summary="singular values of each hidden layer's Jacobian at the first, a middle and the last record (median, root "
    "mean square, largest and smallest, a band from 5 to 95 %), dotted the theory; beside it those of the whole net",
    draw=draw,
    order=7,
)
