"""Measured against predicted back-propagated error of one cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gradlab.analyse.agreement import agreement
from gradlab.report import axes, selections
from gradlab.report.figure_spec import FigureSpec
from gradlab.report.selections import Frames, Profile

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def measured_over_predicted(layers: Frames) -> Profile | None:
    """delta_rms of step 0 divided by the theory's, over layers; None where nothing is predicted."""
    frame = layers.layers
    if "delta_rms_predicted" not in frame or not len(frame):
        return None
    first = frame[frame["step"] == frame["step"].min()]
    first = first.assign(ratio=first["delta_rms"] / first["delta_rms_predicted"].where(lambda v: v > 0))
    found = selections.profile(first, int(first["step"].iloc[0]), "ratio")
    return found if np.isfinite(found.median).any() else None


def draw(data: Frames) -> Figure | None:
    """Measured over predicted delta at step 0, layer by layer; None where nothing is predicted."""
    ratio = measured_over_predicted(data)
    if ratio is None:
        return None
    figure = axes.new_figure(2.6, 4.5)
    ax = figure.subplots()
    axes.draw_profile(ax, ratio, selections.look_of(data), r"measured / predicted $\delta$, step 0")
    ax.axhline(1.0, color="black", linestyle=":", linewidth=1.2, label="theory")
    found = agreement(data.layers)
    if found is not None and np.isfinite(found.high).any():
        known = np.isfinite(found.high)
        ax.fill_between(
            found.layers[known],
            found.low[known],
            found.high[known],
            color="black",
            alpha=0.08,
            linewidth=0,
            label="finite width, 4 sigma (mean of the seeds)",
        )
    axes.dress(
        ax,
        selections.fold(selections.title_of(data), 60),
        "layer (input at the left)",
        "measured / predicted",
    )
    axes.layer_ticks(ax, int(ratio.at[-1]), readout=selections.has_readout(data))
    axes.legend(ax)
    return figure


FIGURE = FigureSpec(
    name="prediction",
    of="cell",
    summary="measured over predicted delta at step 0 against layer: the median seed, with a band from the lowest to "
    "the highest, and the band in which finite width explains the difference",
    draw=draw,
    order=6,
)
