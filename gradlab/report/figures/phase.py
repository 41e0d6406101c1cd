"""The phase diagram: where in the plane of sigma_w and sigma_b the gradient lives, and where the nets stand."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from gradlab import activations, theory
from gradlab.activations import Activation
from gradlab.base.errors import GradlabError
from gradlab.parts import inits
from gradlab.report import axes, palette, selections
from gradlab.report.figure_spec import FigureSpec
from gradlab.report.selections import Array, Frames
from gradlab.report.shapes import known

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_PANELS = 4
CELLS = "cells of this result"
TITLE = 22  # characters of a panel's title on a line
SIGMA_B = 1.5 * np.linspace(0.0, 1.0, 20) ** 2  # denser at 0, where tanh's line bends


@lru_cache
def critical_line(name: str) -> tuple[Array, Array]:
    """(sigma_w, sigma_b) of an activation's critical points; sigma_w is NaN where there is none."""
    activation = activations.get(name, "activation")
    moment_curve = theory.curve(activation)
    found = [
        theory.critical(activation, sigma_b=float(b), moment_curve=moment_curve).sigma_w for b in SIGMA_B
    ]
    return np.array([np.nan if w is None else w for w in found]), SIGMA_B


def standing(row: dict[str, Any], activation: Activation) -> tuple[float, float] | None:
    """(sigma_w, sigma_b) of a cell's hidden layers; None where its initialiser or norm is outside the theory."""
    try:
        init = inits.get(str(row["init"]), activation)
    except GradlabError:
        return None
    plain = str(row["norm"]) == "none" and str(row["residual"]) == "none"
    if init.sigma_w is None or not init.predicted or init.bias or not plain:
        return None
    width = int(row["width"])
    return init.sigma_w(width, width), init.sigma_b(width, width)


def _panels(data: Frames) -> Iterator[tuple[Activation, list[dict[str, Any]]]]:
    for activation in known([str(name) for name in data.summary["activation"]]):
        cells = [row for row in selections.rows_of(data.summary) if row["activation"] == activation.text]
        if any(standing(row, activation) for row in cells):
            yield activation, cells


def draw(data: Frames) -> Figure | None:
    """The critical line of each activation (up to four) and the cells; None where the theory places no cell."""
    panels = list(_panels(data))[:MOST_PANELS]
    if not panels:
        return None
    looks = palette.looks({name: name for name in map(str, data.summary["activation"])})
    figure = axes.new_figure(2.9, 3.6 if len(panels) == 1 else axes.WIDTH)
    for ax, (activation, cells) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
    ):
        _draw_panel(ax, activation, cells, looks[activation.text])
    figure.axes[0].set_ylabel(r"$\sigma_b$", fontsize=axes.FONT)
    handles = axes.handles_of(figure.axes)
    if len(panels) > 1:  # each panel's points have its activation's colour
        handles[CELLS] = figure.axes[0].plot([], [], "o", color="0.4", markersize=5)[0]
    axes.legend_below(figure, handles)
    return figure


def _draw_panel(ax: Axes, activation: Activation, cells: list[dict[str, Any]], look: int) -> None:
    sigma_w, sigma_b = critical_line(activation.text)
    places = sorted({place for row in cells if (place := standing(row, activation))})
    points = np.array(places)
    finite = np.isfinite(sigma_w)
    axes.dress(ax, selections.fold(activation.text, TITLE), r"$\sigma_w$")
    alone = (
        finite.sum() == 1 and finite[0]
    )  # as for ReLU: the slope is the same at any q, fixed at this point alone
    if alone:
        ax.axvline(sigma_w[finite][0], color="black", linestyle="--", linewidth=1.2)
        ax.plot(sigma_w[finite], sigma_b[finite], "k*", markersize=11, label=r"critical ($\chi_1 = 1$)")
    elif finite.any():
        ax.plot(sigma_w, sigma_b, color="black", linewidth=1.4, label=r"critical line ($\chi_1 = 1$)")
    ax.plot(
        points[:, 0],
        points[:, 1],
        "o",
        color=axes.COLOURS[look % len(axes.COLOURS)],
        markersize=5,
        label=CELLS,
        zorder=3,
    )
    right = float(np.nanmax([*sigma_w, *points[:, 0]])) * 1.4
    ax.set_xlim(0, right)
    ax.set_ylim(-0.06, max(SIGMA_B[-1], points[:, 1].max() * 1.1))
    if finite.any():
        border, heights = sigma_w[finite], sigma_b[finite]
        if alone:
            border, heights = np.repeat(border, 2), np.array([0.0, SIGMA_B[-1]])
        ax.fill_betweenx(heights, 0, border, color=axes.COLOURS[0], alpha=0.12, linewidth=0)
        ax.fill_betweenx(heights, border, right, color=axes.COLOURS[1], alpha=0.12, linewidth=0)
        middle = float(np.interp(0.7 * SIGMA_B[-1], heights, border))
        for x, word in ((middle / 2, "vanishing"), ((middle + right) / 2, "exploding")):
            ax.text(
                x,
                0.7 * SIGMA_B[-1],
                word,
                fontsize=axes.FONT - 1,
                ha="center",
                va="center",
                rotation=90,
                color="0.25",
            )
    else:
        ax.text(
            0.5, 0.9, "no critical point here", transform=ax.transAxes, fontsize=axes.FONT - 1, ha="center"
        )


FIGURE = FigureSpec(
    name="phase",
    of="both",
    summary="the critical line of each activation (up to four) in the plane of sigma_w and sigma_b, and a point where "
    "each cell stands",
    draw=draw,
    order=2,
)
