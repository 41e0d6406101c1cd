"""The cells by their accuracy or R^2, the best on top."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gradlab.report import axes, palette, selections
from gradlab.report.figure_spec import FigureSpec
from gradlab.report.selections import Frames
from gradlab.tables import score

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_ROWS = 40
LABEL = 40  # characters of a cell's name on a line


def draw(data: Frames) -> Figure | None:
    """Validation accuracy (or R^2) of the cells, best on top, with 95 % intervals; beside it the attenuation."""
    ranked, good = selections.ranking(data.summary), score.of_table(data.summary)
    labels = selections.labels(ranked)
    kept = ranked.iloc[selections.ends(len(ranked), MOST_ROWS)]
    shown = [selections.fold(labels[str(cell)], LABEL) for cell in kept["cell"]]
    names = [str(name) for name in kept["activation"]]
    looks = palette.looks({str(name): str(name) for name in data.summary["activation"]})
    lines = sum(1 + name.count("\n") for name in shown)
    figure = axes.new_figure(1.1 + 0.17 * max(lines, len(kept)))
    left, right = figure.subplots(1, 2, sharey=True)
    places = np.arange(len(kept))[::-1]
    for ax, column, title in (
        (left, good.column, good.name),
        (right, "attenuation", "attenuation (decades)"),
    ):
        value = kept[f"{column}_mean"].to_numpy(dtype=float)
        half = kept[f"{column}_ci95"].fillna(0).to_numpy(dtype=float)
        finite = np.isfinite(value)
        ends = axes.error_ends(value, half, good if column == good.column else None)
        for i in np.flatnonzero(finite):
            dot = axes.style(looks[names[i]]) | {"linestyle": "none"}
            ax.errorbar(value[i], places[i], xerr=ends[:, i : i + 1], **dot)
        for i in np.flatnonzero(np.isneginf(value)):
            ax.annotate(
                "-inf",
                (0.02, places[i]),
                xycoords=("axes fraction", "data"),
                fontsize=axes.FONT - 1,
                va="center",
            )
        axes.dress(ax, title, "last record" if ax is left else "step 0")
    left.set_xlim(good.low, 1.02)
    right.axvline(0, color="0.6", linewidth=0.7)
    left.set_yticks(places, shown)
    left.set_ylim(-0.7, len(kept) - 0.3)
    if len(kept) < len(ranked):
        left.set_xlabel(
            f"last record; {len(ranked) - len(kept)} cells of the middle left out", fontsize=axes.FONT
        )
    return figure


FIGURE = FigureSpec(
    name="ranking",
    of="grid",
    summary="validation accuracy at the last record, and attenuation at step 0, of each cell, with 95 % intervals",
    draw=draw,
    order=1,
)
