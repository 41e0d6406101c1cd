"""What all figures share: lines and labels, axes in decades that show zeros and infinities, layers, steps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from gradlab.report import palette, selections
from gradlab.report.selections import Array, Profile

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from gradlab.tables.score import Score

COLOURS = palette.LIGHT.series
MARKERS = tuple(palette.MARKERS)
FONT = 8.0
WIDTH = 7.0  # inches: the text width of a page
MOST_MARKS = 16
LEAST_GAP, GAP_SHARE = 0.4, 0.07  # height of a strip: decades at least, share of the axis


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """An empty figure of `width` x `height` inches, outside pyplot's global state."""
    return _figure_class()(figsize=(width, height), layout="constrained")


@cache
def _figure_class() -> type[Figure]:
    """A Figure that a notebook shows: it knows those of pyplot alone, unless asked through this method."""
    from matplotlib.figure import Figure

    class Shown(Figure):
        def _repr_png_(self) -> bytes:
            picture = BytesIO()
            self.savefig(picture, format="png", dpi=120)
            return picture.getvalue()

    return Shown


def style(nth: int) -> dict[str, Any]:
    """Colour, marker and dash of the nth line; 70 lines before colour and marker repeat together."""
    return {
        "color": COLOURS[nth % len(COLOURS)],
        "marker": MARKERS[nth % len(MARKERS)],
        "linestyle": palette.DASHES[nth % len(palette.DASHES)][0],
        "markersize": 3.0,
        "linewidth": 1.1,
    }


def dress(ax: Axes, title: str = "", x: str = "", y: str = "") -> None:
    """Title, labels and quiet lines, in the one font size."""
    if title:
        ax.set_title(title, fontsize=FONT + 1, loc="left")
    ax.set_xlabel(x, fontsize=FONT)
    ax.set_ylabel(y, fontsize=FONT)
    ax.tick_params(labelsize=FONT - 0.5, width=0.6, length=2.5)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_linewidth(0.6)
    ax.grid(True, color="0.88", linewidth=0.5)
    ax.set_axisbelow(True)


def headline(figure: Figure, text: str) -> None:
    """The figure's own title, on as many lines as it needs."""
    figure.suptitle(selections.fold(text, int(12.5 * figure.get_figwidth())), fontsize=FONT + 2)


def legend_below(figure: Figure, handles: Mapping[str, Any], title: str = "") -> None:
    """One legend under all panels, in as many columns as its longest name leaves room for."""
    names = [selections.fold(name, 72) for name in handles]
    longest = max((len(line) for name in names for line in name.split("\n")), default=0)
    room = int(figure.get_figwidth() / (0.6 + 0.055 * longest))  # inches: the handle with its gaps, a letter
    columns = max(1, min(room, len(names), 5))
    more = max(0, -(-len(names) // columns) - 2)
    figure.set_figheight(figure.get_figheight() + 0.13 * more)  # a long legend does not squeeze the panels
    figure.legend(
        list(handles.values()),
        names,
        loc="outside lower center",
        ncols=columns,
        fontsize=FONT - 1,
        frameon=False,
        handlelength=3.0,
        title=title or None,
        title_fontsize=FONT - 1,
    )


def handles_of(panels: Iterable[Axes]) -> dict[str, Any]:
    """What the legends of several panels would name, each name once."""
    pairs = [ax.get_legend_handles_labels() for ax in panels]
    return {name: handle for handles, names in pairs for handle, name in zip(handles, names, strict=True)}


def legend(ax: Axes, **options: Any) -> None:
    """A frameless legend, if there is anything to name."""
    if ax.get_legend_handles_labels()[0]:
        ax.legend(**({"fontsize": FONT - 1, "frameon": False, "handlelength": 3.0} | options))


@dataclass(frozen=True)
class Decades:
    """A log10 axis with room for what has no logarithm: a strip for exact 0 below, one for inf and nan above.

    Values are drawn in log10 on a linear axis, so that 1e-300 costs nothing; the ticks name the powers of ten.
    """

    low: int
    high: int
    zero: bool
    infinite: bool

    @classmethod
    def of(cls, *values: Array) -> Decades:
        """The decades that hold all these values (NaN, not applicable, apart)."""
        flat = np.concatenate([np.ravel(v) for v in values]) if values else np.empty(0)
        return cls(*selections.decades(flat), bool((flat == 0).any()), bool(np.isinf(flat).any()))

    @property
    def gap(self) -> float:
        return max(LEAST_GAP, GAP_SHARE * (self.high - self.low))

    def place(self, values: Array) -> Array:
        """Where each value is drawn: its log10, or its strip; NaN stays NaN."""
        logs = selections.log10(values)
        logs = np.where(values == 0, self.low - self.gap, logs)
        return np.where(np.isposinf(values), self.high + self.gap, logs)

    def ticks(self) -> tuple[list[float], list[str]]:
        """Positions and names of the ticks: powers of ten, then the strips."""
        stride = next(s for s in (1, 2, 3, 5, 10, 20, 30, 50, 100) if (self.high - self.low) / s <= 8)
        whole = [k for k in range(self.low, self.high + 1) if k % stride == 0]
        names = [f"$10^{{{k}}}$" for k in whole]
        places = [float(k) for k in whole]
        if self.high - self.low <= 1:
            for factor in (2, 5):
                places.append(self.low + float(np.log10(factor)))
                names.append(f"${factor}\\cdot 10^{{{self.low}}}$" if self.low else str(factor))
        if self.zero:
            places, names = [self.low - self.gap, *places], ["0", *names]
        if self.infinite:
            places, names = [*places, self.high + self.gap], [*names, "inf, nan"]
        return places, names

    def dress(self, ax: Axes) -> None:
        """Set limits and ticks of the y axis and shade the strips."""
        places, names = self.ticks()
        ax.set_yticks(places, names)
        half = self.gap / 2
        ax.set_ylim(
            self.low - (3 * half if self.zero else 0.1),
            self.high + (3 * half if self.infinite else 0.1),
        )
        if self.zero:
            ax.axhspan(self.low - 3 * half, self.low - half, color=palette.LIGHT.zero, linewidth=0, zorder=0)
        if self.infinite:
            ax.axhspan(
                self.high + half, self.high + 3 * half, color=palette.LIGHT.nonfinite, linewidth=0, zorder=0
            )


def draw_profile(
    ax: Axes, data: Profile, nth: int, label: str, scale: Decades | None = None, **more: Any
) -> None:
    """A line through the medians with a band from the lowest to the highest seed. more: looks that differ from the
    nth line's."""
    median, low, high = (scale.place(v) if scale else v for v in (data.median, data.low, data.high))
    look = style(nth) | more
    every = max(1, len(data.at) // MOST_MARKS)
    if scale is not None:  # what has no logarithm is a mark in its strip, off the line
        off = ~np.isfinite(selections.log10(data.median)) & ~np.isnan(median)
        ax.plot(data.at[off], median[off], **(look | {"linestyle": "none", "markersize": 4.5}))
        median = np.where(off, np.nan, median)
    ax.plot(data.at, median, label=label, markevery=every, **look)
    if not np.array_equal(low, high, equal_nan=True):
        ax.fill_between(data.at, low, high, color=look["color"], alpha=0.18, linewidth=0)


def error_ends(value: Array, half: Array, good: Score | None) -> Array:
    """[2, n]: how far intervals reach below and above; those of a score end at what it can be."""
    if good is None:
        return np.stack([half, half])
    ends = [good.interval(float(mean), float(width)) for mean, width in zip(value, half, strict=True)]
    low, high = np.array(ends).T
    return np.stack([np.maximum(value - low, 0.0), np.maximum(high - value, 0.0)])


def draw_theory(ax: Axes, at: Array, places: Array, label: str) -> None:
    """The theory's line, dotted; a cross where it has a single value, which makes no line. places: `Decades.place`."""
    marker = "x" if np.isfinite(places).sum() == 1 else ""
    ax.plot(at, places, color="black", linestyle=":", linewidth=1.6, marker=marker, label=label)


def layer_ticks(ax: Axes, depth: int, axis: str = "x", readout: bool = False) -> None:
    """Whole layer numbers on an axis, 1 and the last among them; the last is named `out` where it is the readout."""
    stride = next(k * 10**p for p in range(9) for k in (1, 2, 5) if depth / (k * 10**p) <= 10)
    between = [k for k in range(stride, depth, stride) if min(k - 1, depth - k) >= 0.6 * stride]
    places = sorted({1, *between, depth})
    names = [str(place) for place in places]
    if readout:
        names[-1] = "out"
    getattr(ax, f"set_{axis}ticks")(places, names)


def step_axis(ax: Axes, steps: Array) -> None:
    """Steps on a log axis that has room for step 0."""
    last = float(steps.max()) if steps.size else 1.0
    if last > 10:
        ax.set_xscale("symlog", linthresh=1.0, linscale=0.3)
        places = [0.0, *[10.0**p for p in range(int(np.log10(last)) + 1)]]
        ax.set_xticks(places, [f"{place:.0f}" if place < 1e4 else f"{place:.0e}" for place in places])
        ax.minorticks_off()
    ax.set_xlim(-0.1 if last > 10 else -0.03 * last, max(last, 1.0) * (1.3 if last > 10 else 1.03))


def draw_map(
    ax: Axes, steps: Array, layers: Array, values: Array, limits: tuple[float, float], readout: bool = False
) -> Any:
    """A layer x record map of numbers; returns the mesh for a colour bar. Non-finite fields are left blank.

    Records stand at equal distances, as their schedule is neither linear nor logarithmic.
    """
    columns = np.arange(len(steps) + 1) - 0.5
    rows = np.concatenate([layers - 0.5, layers[-1:] + 0.5])
    mesh = ax.pcolormesh(
        columns,
        rows,
        np.ma.masked_invalid(values),
        cmap=palette.MAP,
        vmin=limits[0],
        vmax=limits[1],
        rasterized=True,
    )
    every = max(1, -(-len(steps) // 7))
    chosen = list(range(0, len(steps), every))
    if len(steps) > 1 and chosen[-1] != len(steps) - 1:
        chosen = [*(c for c in chosen if c <= len(steps) - 1 - every * 0.7), len(steps) - 1]
    ax.set_xticks(chosen, [f"{steps[c]:.0f}" for c in chosen])
    layer_ticks(ax, int(layers[-1]), "y", readout)
    return mesh


def mark_fields(ax: Axes, layers: Array, where: Array, hatch: str, colour: str, label: str) -> None:
    """Hatch the fields [layer, record] of a map in which `where` holds, and name the hatch in the legend."""
    from matplotlib.patches import Rectangle

    fields: Sequence[tuple[int, int]] = [(int(i), int(j)) for i, j in np.argwhere(where)]
    for i, j in fields:
        ax.add_patch(
            Rectangle(
                (j - 0.5, layers[i] - 0.5),
                1,
                1,
                facecolor="white",
                edgecolor=colour,
                hatch=hatch,
                linewidth=0,
            )
        )
    if fields:
        ax.add_patch(
            Rectangle(
                (0, 0), 0, 0, facecolor="white", edgecolor=colour, hatch=hatch, linewidth=0, label=label
            )
        )
