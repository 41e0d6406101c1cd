"""The activation functions of the cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradlab.report import axes
from gradlab.report.figure_spec import FigureSpec
from gradlab.report.palette import looks
from gradlab.report.selections import Frames
from gradlab.report.shapes import known, sample

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_SHAPES = 12


def draw(data: Frames) -> Figure | None:
    """phi and phi' of every activation in the results; None where none is elementwise."""
    found = known([str(name) for name in data.summary["activation"]])[:MOST_SHAPES]
    if not found:
        return None
    figure = axes.new_figure(2.9 if len(found) <= 4 else 3.4)
    left, right = figure.subplots(1, 2)
    places = looks({str(name): str(name) for name in data.summary["activation"]})
    for activation in found:
        z, phi, slope = sample(activation)
        look = axes.style(places[activation.text]) | {"marker": ""}
        left.plot(z, phi, label=activation.text, **look)
        right.plot(z, slope, **look)
    axes.dress(left, r"activation $\varphi(z)$", "z")
    left.set_ylim(max(left.get_ylim()[0], -4.2), min(left.get_ylim()[1], 4.2))
    axes.dress(right, r"slope $\varphi'(z)$", "z")
    right.axhline(1.0, color="0.6", linewidth=0.7)
    axes.legend_below(figure, axes.handles_of([left]))
    return figure


FIGURE = FigureSpec(
    name="activations",
    of="both",
    summary="phi(z) and its slope, a line for each activation",
    draw=draw,
    order=1,
)
