"""Which parts of a net lose or gain the gradient of one cell on its way down, in decades."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gradlab.report import axes, selections
from gradlab.report.figure_spec import FigureSpec
from gradlab.report.selections import Array, Frames

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PARTS = {"weight_gain": "weights", "slope_gain": "slopes", "norm_gain": "norms", "other_gain": "the rest"}


def draw(data: Frames) -> Figure | None:
    """Decades from the top hidden layer down to each layer, first and last record: a line for each part, whose sum is
    delta's; the mean over seeds. None where no gain is recorded."""
    layers = data.layers
    if not any(column in layers and layers[column].notna().any() for column in PARTS):
        return None
    steps = selections.records(layers)
    shown = sorted({steps[0], steps[-1]})
    looks = _looks(selections.look_of(data))
    figure = axes.new_figure(3.3)
    panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for ax, step in zip(panels, shown, strict=True):
        _, numbers, _ = selections.cube(layers, "delta_rms")
        top = len(numbers) - (2 if selections.has_readout(data) else 1)
        for column, name in PARTS.items():
            if column in layers and layers[column].notna().any():
                look = axes.style(looks[column])
                ax.plot(numbers[: top + 1], spent(data, column, step, top), label=name, **look)
        delta = change(data, step, top)
        has = ~np.isnan(delta)
        ax.plot(
            numbers[: top + 1][has], delta[has], color="black", linestyle=":", linewidth=1.6, label="delta"
        )
        ax.axhline(0, color="grey", linewidth=0.6)
        axes.dress(ax, f"step {step}", "layer (input at the left)", "decades" if ax is panels[0] else "")
        axes.layer_ticks(ax, top + 1)
    axes.headline(figure, f"{selections.title_of(data)}: what the gradient loses on its way down")
    axes.legend_below(figure, axes.handles_of(panels))
    return figure


def _looks(own: int) -> dict[str, int]:
    """The slopes look like their activation, the weights are grey, the others have what is free."""
    grey = len(axes.COLOURS) - 1
    norms, rest = [place for place in range(1, grey) if place != own % len(axes.COLOURS)][:2]
    return {"weight_gain": grey, "slope_gain": own, "norm_gain": norms, "other_gain": rest}


def spent(data: Frames, column: str, step: int, top: int) -> Array:
    """[layer up to `top`]: what a part changes from the layer at `top` down to each layer, in decades. Where it is not
    known in a layer, it counts as nothing there."""
    logs = _logs(data, column, step)[:, :top]
    down = np.cumsum(np.where(np.isnan(logs), 0.0, logs)[:, ::-1], axis=1)[:, ::-1]
    return np.append(down.mean(axis=0), 0.0)


def change(data: Frames, step: int, top: int) -> Array:
    """[layer up to `top`]: delta_rms of each layer over that of the layer at `top`, in decades."""
    logs = _logs(data, "delta_rms", step)[:, : top + 1]
    with np.errstate(invalid="ignore"):
        found: Array = (logs - logs[:, top:]).mean(axis=0)
    return np.where(np.isfinite(found), found, np.nan)


def _logs(data: Frames, column: str, step: int) -> Array:
    """log10 of a column at one record, [seed, layer]."""
    steps, _, values = selections.cube(data.layers, column)
    return selections.log10(values[..., int(np.searchsorted(steps, step))])


FIGURE = FigureSpec(
    name="budget",
    of="cell",
    summary="decades that weights, slopes, norms and the rest change delta by, from the top hidden layer down, "
    "at the first and the last record: their sum is delta's own line; the mean over seeds",
    draw=draw,
)
