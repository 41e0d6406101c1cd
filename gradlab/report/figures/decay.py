"""Measured against predicted decay per layer of many cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradlab.report import axes
from gradlab.report.figure_spec import FigureSpec
from gradlab.report.palette import looks
from gradlab.report.selections import Frames

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw(data: Frames) -> Figure | None:
    """Measured against predicted decay per layer, a cell a point; None where nothing is predicted."""
    summary = data.summary
    known = summary[summary["decay_per_layer_predicted"].notna() & summary["decay_per_layer_mean"].notna()]
    if not len(known):
        return None
    figure = axes.new_figure(3.6, 4.6)
    ax = figure.subplots()
    values = known[["decay_per_layer_predicted", "decay_per_layer_mean"]].to_numpy(dtype=float)
    places = looks({str(name): str(name) for name in summary["activation"]})
    for name, group in known.groupby("activation", sort=False):
        ax.errorbar(
            group["decay_per_layer_predicted"],
            group["decay_per_layer_mean"],
            group["decay_per_layer_ci95"].fillna(0),
            label=str(name),
            elinewidth=0.7,
            **(axes.style(places[str(name)]) | {"linestyle": "none"}),
        )
    low, high = float(values.min()) * 0.9, float(values.max()) * 1.1
    ax.plot([low, high], [low, high], color="black", linestyle=":", linewidth=1.0, label="equal")
    axes.dress(ax, r"factor of $\delta$ per layer, step 0", "predicted (mean field)", "measured")
    ax.set_xscale("log")
    ax.set_yscale("log")
    _plain_log_ticks(ax, low, high)
    axes.legend(ax)
    return figure


def _plain_log_ticks(ax: Axes, low: float, high: float) -> None:
    """Plain numbers as ticks of two short log axes."""
    candidates = [m * 10.0**p for p in range(-12, 4) for m in (1, 1.5, 2, 3, 5, 7)]
    places = [v for v in candidates if low <= v <= high]
    places = places[:: max(1, len(places) // 6)]
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_ticks(places, [f"{v:g}" for v in places])
    ax.minorticks_off()


FIGURE = FigureSpec(
    name="decay",
    of="grid",
    summary="measured against predicted factor of delta per layer at step 0: a point for each cell, a bar for its 95 % "
    "interval",
    draw=draw,
    order=4,
)
