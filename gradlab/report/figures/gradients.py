"""The gradients of one cell over its layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gradlab.report import axes, selections
from gradlab.report.axes import Decades
from gradlab.report.figure_spec import FigureSpec
from gradlab.report.quantities import GRADIENTS
from gradlab.report.selections import Frames

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_gradient(ax: Axes, data: Frames, column: str) -> None:
    """One gradient against layer at the first, a middle and the last record, and the theory's line for delta. Branches
    and heads of a user's model stand beside the line of the stream."""
    steps = selections.first_middle_last(selections.records(data.layers))
    profiles = [selections.profile(data.layers, step, column) for step in steps]
    theory = None
    if column == "delta_rms" and steps and "delta_rms_predicted" in data.layers:
        found = selections.profile(data.layers, steps[0], "delta_rms_predicted")
        theory = found if np.isfinite(found.median).any() else None
    own = axes.COLOURS[selections.look_of(data) % len(axes.COLOURS)]
    drawn = [v for p in profiles for v in (p.median, p.low, p.high)]
    scale = Decades.of(*drawn, *([theory.median] if theory else []))
    line, *beside = selections.lines(data.layers) if profiles else [[]]
    for nth, (step, found) in enumerate(zip(steps, profiles, strict=True)):
        look = {"color": own, "alpha": 1.0 if nth == len(profiles) - 1 else 0.35 + 0.25 * nth}
        name = f"step {step}" + (", stream" if beside else "")
        axes.draw_profile(ax, selections.part_of(found, line), nth, name, scale, **look)
        for place, layers in enumerate(beside):
            name = "branches" if place == 0 and nth == len(profiles) - 1 else "_"
            thin = look | {"linewidth": 0.5, "markersize": 2.0, "markerfacecolor": "white"}
            axes.draw_profile(ax, selections.part_of(found, layers), nth, name, scale, **thin)
    if theory:
        axes.draw_theory(ax, theory.at, scale.place(theory.median), f"theory, step {steps[0]}")
    axes.dress(ax, GRADIENTS[column].title, "layer (input at the left)")
    scale.dress(ax)
    if profiles:
        axes.layer_ticks(ax, int(profiles[0].at[-1]), readout=selections.has_readout(data))
    axes.legend(ax)


def draw(data: Frames) -> Figure | None:
    """Delta and weight gradient against layer at the first, a middle and the last record."""
    figure = axes.new_figure(3.0)
    for ax, column in zip(figure.subplots(1, len(GRADIENTS)), GRADIENTS, strict=True):
        draw_gradient(ax, data, column)
    axes.headline(figure, selections.title_of(data))
    return figure


FIGURE = FigureSpec(
    name="gradients",
    of="cell",
    summary="delta and weight gradient against layer: a line for the first, a middle and the last record (the median "
    "seed, with a band from the lowest to the highest), dotted the theory",
    draw=draw,
    order=2,
)
