"""How evenly the attention heads of one cell share out their weights, over the records."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gradlab.report import axes, selections
from gradlab.report.figure_spec import FigureSpec
from gradlab.report.selections import Frames, Profile

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_PANELS = 6
COLUMNS = 3


def draw(data: Frames) -> Figure | None:
    """A panel an attention, from the first on, with a line a head; None where nothing attends."""
    frame = selections.optional_table(data, "attention")
    if frame is None or not frame["entropy"].notna().any():
        return None
    names = list(dict.fromkeys(str(name) for name in frame["name"]))
    shown = [names[place] for place in selections.thin(len(names), MOST_PANELS)]
    rows = -(-len(shown) // COLUMNS)
    figure = axes.new_figure(0.9 + 2.0 * rows)
    panels = figure.subplots(rows, min(COLUMNS, len(shown)), squeeze=False, sharex=True, sharey=True).ravel()
    for ax, name in zip(panels, shown, strict=False):
        own = frame[frame["name"] == name]
        for nth, head in enumerate(sorted(own["head"].unique())):
            groups = own[own["head"] == head].groupby("step")["entropy"]
            middle, low, high = groups.median(), groups.min(), groups.max()
            lines = (np.asarray(v, dtype=np.float64) for v in (middle.index, middle, low, high))
            axes.draw_profile(ax, Profile(*lines), nth, f"head {int(head)}")
        first = ax is panels[0]
        axes.dress(ax, selections.fold(name, 30), "step", "entropy of its weights" if first else "")
        axes.step_axis(ax, np.asarray(own["step"], dtype=np.float64))
        ax.set_ylim(-0.02, 1.02)
    for ax in panels[len(shown) :]:
        ax.remove()
    axes.legend_below(figure, axes.handles_of(panels[: len(shown)]))
    axes.headline(figure, f"{selections.title_of(data)}: 1 attends to all entries alike, 0 to one alone")
    return figure


FIGURE = FigureSpec(
    name="attention",
    of="cell",
    summary="entropy of each attention head's weights over its maximum, against step (up to six attentions): the "
    "median seed, with a band from the lowest to the highest; 1 attends to all entries alike, 0 to one alone",
    draw=draw,
    order=9,
)
