"""Figures of many cells: accuracy and attenuation against depth, delta profiles, theory against measure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gradlab.report import axes, selections
from gradlab.report.axes import Decades
from gradlab.report.selections import Frames

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_LINES = 12
MOST_PANELS = 4
MOST_ROWS = 40
LABEL = 40  # characters of a cell's name on a line


def families(summary: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The cells that differ in depth only, by their common name, best mean accuracy first."""
    others = [name for name in selections.varying(summary) if name != "depth"]
    groups: dict[str, pd.DataFrame] = {}
    names = [selections.name_cell(row, others) for row in selections.rows_of(summary)]
    for name, group in summary.groupby(np.asarray(names, dtype=object), sort=False):
        groups[str(name)] = group.sort_values("depth")
    means = {name: float(group["val_accuracy_mean"].mean()) for name, group in groups.items()}
    return dict(sorted(groups.items(), key=lambda item: -np.nan_to_num(means[item[0]], nan=-1.0)))


def chosen(groups: dict[str, pd.DataFrame]) -> tuple[dict[str, pd.DataFrame], int]:
    """At most MOST_LINES families, from the best to the worst evenly; and how many are left out."""
    names = list(groups)
    if len(names) <= MOST_LINES:
        return groups, 0
    kept = sorted({round(x) for x in np.linspace(0, len(names) - 1, MOST_LINES)})
    return {names[i]: groups[names[i]] for i in kept}, len(names) - len(kept)


def draw_by_depth(ax: Axes, summary: pd.DataFrame, column: str, title: str) -> int:
    """A column of summary.csv against depth, a family a line, with 95 % intervals; returns the lines left out."""
    groups, left_out = chosen(families(summary))
    for nth, (name, group) in enumerate(groups.items()):
        depth = group["depth"].to_numpy(dtype=float)
        value = group[f"{column}_mean"].to_numpy(dtype=float)
        half = group[f"{column}_ci95"].fillna(0).to_numpy(dtype=float)
        finite = np.isfinite(value)
        look = axes.style(nth)
        ax.errorbar(
            depth[finite], value[finite], half[finite], label=name, capsize=1.5, elinewidth=0.7, **look
        )
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


def by_depth(data: Frames) -> Figure | None:
    """Validation accuracy and attenuation against depth; None where all cells have one depth."""
    if data.summary["depth"].nunique() < 2:
        return None
    figure = axes.new_figure(3.4)
    left, right = figure.subplots(1, 2)
    draw_by_depth(left, data.summary, "val_accuracy", "validation accuracy, last record")
    left.set_ylim(0, 1.02)
    out = draw_by_depth(
        right, data.summary, "attenuation", r"attenuation at step 0 ($\log_{10}$ of first / last $\delta$)"
    )
    right.axhline(0, color="0.6", linewidth=0.7)
    axes.legend_below(figure, axes.handles_of([left]), _left_out(out))
    return figure


def profiles(data: Frames) -> Figure | None:
    """delta against layer at step 0, a panel a depth (the deepest four), a cell a line, on one scale."""
    depths = sorted(int(d) for d in data.summary["depth"].unique())[-MOST_PANELS:]
    figure = axes.new_figure(3.3)
    panels = figure.subplots(1, len(depths), sharey=True, squeeze=False)[0]
    groups, out = chosen(families(data.summary))
    lines = {}
    for nth, (name, group) in enumerate(groups.items()):
        for row in selections.rows_of(group):
            if row["depth"] in depths:
                rows = data.layers[data.layers["cell"] == row["cell"]]
                lines[int(row["depth"]), nth, name] = selections.profile(
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
    axes.legend_below(figure, axes.handles_of(panels), _left_out(out))
    return figure


def decay(data: Frames) -> Figure | None:
    """Measured against predicted decay per layer, a cell a point; None where nothing is predicted."""
    summary = data.summary
    known = summary[summary["decay_per_layer_predicted"].notna() & summary["decay_per_layer_mean"].notna()]
    if not len(known):
        return None
    figure = axes.new_figure(3.6, 4.6)
    ax = figure.subplots()
    values = known[["decay_per_layer_predicted", "decay_per_layer_mean"]].to_numpy(dtype=float)
    for nth, (name, group) in enumerate(known.groupby("activation", sort=False)):
        ax.errorbar(
            group["decay_per_layer_predicted"],
            group["decay_per_layer_mean"],
            group["decay_per_layer_ci95"].fillna(0),
            label=str(name),
            elinewidth=0.7,
            **(axes.style(nth) | {"linestyle": "none"}),
        )
    low, high = float(values.min()) * 0.9, float(values.max()) * 1.1
    ax.plot([low, high], [low, high], color="black", linestyle=":", linewidth=1.0, label="equal")
    axes.dress(ax, r"factor of $\delta$ per layer, step 0", "predicted (mean field)", "measured")
    ax.set_xscale("log")
    ax.set_yscale("log")
    _plain_log_ticks(ax, low, high)
    axes.legend(ax)
    return figure


def ranking(data: Frames) -> Figure | None:
    """Validation accuracy of the cells, best on top, with 95 % intervals; beside it the attenuation."""
    ranked = selections.ranking(data.summary)
    names = selections.labels(ranked)
    kept = ranked if len(ranked) <= MOST_ROWS else ranked.iloc[_ends(len(ranked))]
    shown = [selections.fold(names[str(cell)], LABEL) for cell in kept["cell"]]
    lines = sum(1 + name.count("\n") for name in shown)
    figure = axes.new_figure(1.1 + 0.17 * max(lines, len(kept)))
    left, right = figure.subplots(1, 2, sharey=True)
    places = np.arange(len(kept))[::-1]
    for ax, column, title in (
        (left, "val_accuracy", "validation accuracy"),
        (right, "attenuation", "attenuation (decades)"),
    ):
        value = kept[f"{column}_mean"].to_numpy(dtype=float)
        half = kept[f"{column}_ci95"].fillna(0).to_numpy(dtype=float)
        finite = np.isfinite(value)
        ax.errorbar(
            value[finite], places[finite], xerr=half[finite], fmt="o", color=axes.COLOURS[0], markersize=3
        )
        for i in np.flatnonzero(np.isneginf(value)):
            ax.annotate(
                "-inf",
                (0.02, places[i]),
                xycoords=("axes fraction", "data"),
                fontsize=axes.FONT - 1,
                va="center",
            )
        axes.dress(ax, title, "last record" if ax is left else "step 0")
    left.set_xlim(0, 1.02)
    right.axvline(0, color="0.6", linewidth=0.7)
    left.set_yticks(places, shown)
    left.set_ylim(-0.7, len(kept) - 0.3)
    if len(kept) < len(ranked):
        left.set_xlabel(
            f"last record; {len(ranked) - len(kept)} cells of the middle left out", fontsize=axes.FONT
        )
    return figure


def _ends(count: int) -> list[int]:
    head = MOST_ROWS * 2 // 3
    return [*range(head), *range(count - (MOST_ROWS - head), count)]


def _plain_log_ticks(ax: Axes, low: float, high: float) -> None:
    """Plain numbers as ticks of two short log axes."""
    candidates = [m * 10.0**p for p in range(-12, 4) for m in (1, 1.5, 2, 3, 5, 7)]
    places = [v for v in candidates if low <= v <= high]
    places = places[:: max(1, len(places) // 6)]
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_ticks(places, [f"{v:g}" for v in places])
    ax.minorticks_off()


def _left_out(lines: int) -> str:
    return f"{lines} more left out" if lines else ""
