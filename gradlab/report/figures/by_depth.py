"""Accuracy and attenuation of many cells against depth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gradlab.report import axes
from gradlab.report.families import chosen, families, left_out_note, looks_of
from gradlab.report.figure_spec import FigureSpec
from gradlab.report.selections import Frames
from gradlab.tables import score

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_by_depth(ax: Axes, summary: pd.DataFrame, column: str, title: str) -> int:
    """A column of summary.csv against depth, a family a line, with 95 % intervals; returns the lines left out."""
    every = families(summary)
    groups, left_out = chosen(every)
    places, good = looks_of(every), score.of_table(summary)
    for name, group in groups.items():
        depth = group["depth"].to_numpy(dtype=float)
        value = group[f"{column}_mean"].to_numpy(dtype=float)
        half = group[f"{column}_ci95"].fillna(0).to_numpy(dtype=float)
        finite = np.isfinite(value)
        look = axes.style(places[name])
        ends = axes.error_ends(value, half, good if column == good.column else None)[:, finite]
        ax.errorbar(depth[finite], value[finite], ends, label=name, capsize=1.5, elinewidth=0.7, **look)
        gone = np.isneginf(value)
        if gone.any():
            low = float(np.min(value[finite], initial=0.0))
            ax.plot(depth[gone], np.full(gone.sum(), low), "v", color=look["color"], markersize=6)
            ax.annotate(
                "-inf",
                (depth[gone][0], low),
                fontsize=axes.FONT - 1,
                xytext=(4, 0),
                textcoords="offset points",
            )
    axes.dress(ax, title, "depth (hidden layers)")
    depths = sorted(summary["depth"].unique())
    if len(depths) > 1 and depths[-1] / depths[0] > 5:
        ax.set_xscale("log")
        ax.minorticks_off()
    if len(depths) <= 8:
        ax.set_xticks(depths, [str(d) for d in depths])
    return left_out


def draw(data: Frames) -> Figure | None:
    """Validation accuracy (or R^2) and attenuation against depth; None where all cells have one depth."""
    if data.summary["depth"].nunique() < 2:
        return None
    figure = axes.new_figure(3.4)
    left, right = figure.subplots(1, 2)
    good = score.of_table(data.summary)
    draw_by_depth(left, data.summary, good.column, f"{good.name}, last record")
    left.set_ylim(good.low, 1.02)
    out = draw_by_depth(
        right, data.summary, "attenuation", r"attenuation at step 0 ($\log_{10}$ of first / last $\delta$)"
    )
    right.axhline(0, color="0.6", linewidth=0.7)
    axes.legend_below(figure, axes.handles_of([left]), left_out_note(out))
    return figure


FIGURE = FigureSpec(
    name="by_depth",
    of="grid",
    summary="validation accuracy and attenuation against depth, a line for the cells that differ in depth alone, with "
    "95 % intervals",
    draw=draw,
    order=2,
    leads=True,
)
