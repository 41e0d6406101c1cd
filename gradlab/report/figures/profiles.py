"""The back-propagated error of many cells over their layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradlab.report import axes, selections
from gradlab.report.axes import Decades
from gradlab.report.families import chosen, families, left_out_note, looks_of
from gradlab.report.figure_spec import FigureSpec
from gradlab.report.selections import Frames

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_PANELS = 4


def draw(data: Frames) -> Figure | None:
    """delta against layer at step 0, a panel a depth (the deepest four), a cell a line, on one scale."""
    depths = sorted(int(d) for d in data.summary["depth"].unique())[-MOST_PANELS:]
    figure = axes.new_figure(3.3)
    panels = figure.subplots(1, len(depths), sharey=True, squeeze=False)[0]
    every = families(data.summary)
    groups, out = chosen(every)
    places = looks_of(every)
    lines = {}
    for name, group in groups.items():
        for row in selections.rows_of(group):
            if row["depth"] in depths:
                rows = selections.on_line(data.layers[data.layers["cell"] == row["cell"]])
                lines[int(row["depth"]), places[name], name] = selections.profile(
                    rows, selections.records(rows)[0], "delta_rms"
                )
    scale = Decades.of(*(v for p in lines.values() for v in (p.low, p.high)))
    for ax, depth in zip(panels, depths, strict=True):
        for (at, nth, name), found in lines.items():
            if at == depth:
                axes.draw_profile(ax, found, nth, name, scale)
        axes.dress(
            ax,
            f"depth {depth}",
            "layer (input at the left)",
            r"$\delta$ (rms), step 0" if ax is panels[0] else "",
        )
        axes.layer_ticks(ax, depth + 1, readout=True)
        scale.dress(ax)
    axes.legend_below(figure, axes.handles_of(panels), left_out_note(out))
    return figure


FIGURE = FigureSpec(
    name="profiles",
    of="grid",
    summary="delta against layer at step 0, a panel for each depth (the deepest four) and a line for each cell: the "
    "median seed, with a band from the lowest to the highest",
    draw=draw,
    order=3,
    leads=True,
)
