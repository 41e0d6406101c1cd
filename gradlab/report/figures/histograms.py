"""The distributions of z, h and delta as ridges: a panel a quantity and record, a ridge a layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from gradlab.report import axes, selections
from gradlab.report.distributions import FULL, OVERLAP, QUANTITIES, TAIL, WIDE, Distribution, by_layer
from gradlab.report.figure_spec import FigureSpec
from gradlab.report.palette import LIGHT
from gradlab.report.selections import Array, Frames

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_RIDGES = 14

Layers = Mapping[int, Distribution]


def draw(data: Frames) -> Figure | None:
    """z, h and delta (columns) at the first, a middle and the last record (rows); None where they were not asked for.

    A ridge is as high as its fullest bin. Exact zeros and entries that are not finite are bars, a full one for all.
    The axes leave out at most TAIL of a layer's entries at each side.
    """
    frame = selections.optional_table(data, "histograms")
    if frame is None:
        return None
    steps = selections.first_middle_last(selections.records(frame))
    figure = axes.new_figure(0.9 + 2.3 * len(steps))
    panels = figure.subplots(len(steps), len(QUANTITIES), squeeze=False, sharex="col")
    numbers = sorted({int(layer) for layer in frame["layer"]})
    kept = [numbers[i] for i in selections.shown_layers(len(numbers), MOST_RIDGES)]
    for column, (quantity, title) in enumerate(QUANTITIES.items()):
        found = [by_layer(frame, quantity, step) for step in steps]
        shown = [{layer: one[layer] for layer in kept if layer in one} for one in found]
        place = _Places(quantity == "delta", shown)
        for row, (step, layers) in enumerate(zip(steps, shown, strict=True)):
            ax = panels[row, column]
            draw_ridges(ax, layers, kept, place)
            axes.dress(
                ax,
                title.replace("|delta|", r"$|\delta|$") if row == 0 else "",
                "",
                f"step {step}: layer" if column == 0 else "",
            )
            ax.grid(False, axis="y")
            names = ["out" if layer == numbers[-1] else str(layer) for layer in kept]
            ax.set_yticks(range(len(kept)), names if column == 0 else [""] * len(kept))
            place.dress(ax)
    note = f"at most {100 * TAIL:g} % of a layer's entries lie outside the picture at each side"
    axes.legend_below(figure, axes.handles_of(panels.ravel()), note)
    axes.headline(figure, selections.title_of(data))
    return figure


def draw_ridges(ax: Axes, layers: Layers, kept: list[int], place: _Places) -> None:
    """The ridges of one panel, the first layer at the bottom and in front."""
    for at, layer in reversed(list(enumerate(kept))):
        one = layers.get(layer)
        if one is None:
            continue
        order = 2.0 + 0.1 * (len(kept) - at)
        if one.shares.size:
            height = OVERLAP * one.shares / one.shares.max()
            x = np.repeat(place.of(one.edges), 2)[1:-1]
            y = at + np.repeat(height, 2)
            ax.fill_between(
                x, at, y, facecolor=LIGHT.ridge, edgecolor=axes.COLOURS[0], linewidth=0.6, zorder=order
            )
        ax.axhline(at, color="0.7", linewidth=0.4, zorder=order)
        for share, stand, colour, name in (
            (one.zeros, place.zero, axes.COLOURS[1], "exactly 0: share of the entries (full height: all)"),
            (one.nonfinite, place.broken, LIGHT.broken, "inf or nan: share of the entries"),
        ):
            if share > 0:
                ax.plot(
                    [stand, stand],
                    [at, at + FULL * share],
                    color=colour,
                    linewidth=2.2,
                    solid_capstyle="butt",
                    zorder=10,
                    label=name,
                )
    ax.set_ylim(-0.4, len(kept) - 0.6 + OVERLAP)


class _Places:
    """Where values stand on the x axis of one quantity, the same at every record.

    delta: log10, a strip for 0 at the left. z and h: linear, or the signed log10(1 + |v| / unit) where the layers'
    reaches are far apart. A strip for what is not finite at the right.
    """

    def __init__(self, logarithmic: bool, records: list[dict[int, Distribution]]) -> None:
        every = [one for layers in records for one in layers.values()]
        binned = [one for one in every if one.shares.size]
        self.logarithmic = logarithmic
        ends = np.array([one.middle(TAIL) for one in binned]).reshape(-1, 2)
        reaches = np.abs(ends).max(axis=1, initial=0.0)
        reaches = reaches[reaches > 0]
        self.unit = 0.0
        if not logarithmic and reaches.size and reaches.max() > WIDE * reaches.min():
            self.unit = float(10 ** np.floor(np.log10(reaches.min())))
        low, high = self.of(ends[:, 0]), self.of(ends[:, 1])
        self.low, self.high = (float(low.min()), float(high.max())) if binned else (-1.0, 1.0)
        if logarithmic:
            self.low, self.high = np.floor(self.low), np.ceil(self.high)
        gap = 0.1 * (self.high - self.low) or 0.1
        self.zero = self.low - gap if logarithmic else 0.0
        self.broken = self.high + gap
        self.limits = (
            self.low - gap * (2 if logarithmic and any(one.zeros for one in every) else 0.3),
            self.high + gap * (2 if any(one.nonfinite for one in every) else 0.3),
        )
        self.zeros = logarithmic and any(one.zeros for one in every)

    def of(self, values: Array) -> Array:
        if self.unit:
            return np.asarray(np.sign(values) * np.log10(1 + np.abs(values) / self.unit))
        return values

    def dress(self, ax: Axes) -> None:
        ax.set_xlim(*self.limits)
        if self.logarithmic:
            stride = next(k for k in (1, 2, 5, 10, 20, 50, 100, 200) if (self.high - self.low) / k <= 5)
            whole = [k for k in range(int(self.low), int(self.high) + 1) if k % stride == 0]
            names = [f"$10^{{{k}}}$" for k in whole]
            ax.set_xticks(
                [*([self.zero] if self.zeros else []), *whole], [*(["0"] if self.zeros else []), *names]
            )
        elif self.unit:
            top = int(np.ceil(max(abs(self.low), abs(self.high))))
            stride = max(1, -(-top // 2))
            powers = range(stride, top + 1, stride)
            values = (
                [-self.unit * 10.0**p for p in reversed(powers)]
                + [0.0]
                + [self.unit * 10.0**p for p in powers]
            )
            kept = [v for v in values if self.low <= float(self.of(np.array(v))) <= self.high]
            ax.set_xticks([float(self.of(np.array(v))) for v in kept], [f"{v:g}" for v in kept])


FIGURE = FigureSpec(
    name="histograms",
    of="cell",
    summary="distributions of z, h and delta at the first, a middle and the last record: a ridge for each layer, all "
    "seeds together; bars are the shares of exact zeros and of what is not finite",
    draw=draw,
    order=8,
)
