"""Figures of one cell: its gradients over layers and steps, its units, its learning, its activation, the theory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gradlab.analyse.agreement import agreement
from gradlab.report import axes, selections
from gradlab.report.axes import Decades
from gradlab.report.selections import Array, Frames, Profile

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


LOSSES = {"train_loss": "training batch", "val_loss": "validation"}
ACCURACIES = {"train_accuracy": "training batch", "val_accuracy": "validation"}


def title_of(data: Frames) -> str:
    """`sigmoid, depth 20, init auto, digits (3 seeds)`."""
    row = selections.rows_of(data.summary)[0]
    named = [name for name in ("depth", "init", "norm", "residual") if str(row.get(name, "none")) != "none"]
    seeds = int(row["seeds"])
    return f"{selections.name_cell(row, named)}, {row['dataset']} ({seeds} seed{'' if seeds == 1 else 's'})"


def has_readout(data: Frames) -> bool:
    """Whether the last layer is the readout of the stacked network."""
    return bool((data.layers["name"] == "output").any())


def draw_gradient(ax: Axes, data: Frames, column: str, title: str) -> None:
    """One gradient against layer at the first, a middle and the last record, and the theory's line for delta."""
    steps = selections.first_middle_last(selections.records(data.layers))
    profiles = [selections.profile(data.layers, step, column) for step in steps]
    theory = None
    if column == "delta_rms" and steps and "delta_rms_predicted" in data.layers:
        found = selections.profile(data.layers, steps[0], "delta_rms_predicted")
        theory = found if np.isfinite(found.median).any() else None
    drawn = [v for p in profiles for v in (p.median, p.low, p.high)]
    scale = Decades.of(*drawn, *([theory.median] if theory else []))
    for nth, (step, found) in enumerate(zip(steps, profiles, strict=True)):
        axes.draw_profile(ax, found, nth, f"step {step}", scale)
    if theory:
        places = scale.place(theory.median)
        ax.plot(
            theory.at,
            places,
            color="black",
            linestyle=":",
            linewidth=1.6,
            marker="x" if np.isfinite(places).sum() == 1 else "",  # a single layer makes no line
            label=f"theory, step {steps[0]}",
        )
    axes.dress(ax, title, "layer (input at the left)")
    scale.dress(ax)
    if profiles:
        axes.layer_ticks(ax, int(profiles[0].at[-1]), readout=has_readout(data))
    axes.legend(ax)


def gradients(data: Frames) -> Figure | None:
    """Delta and weight gradient against layer at the first, a middle and the last record."""
    figure = axes.new_figure(3.0)
    left, right = figure.subplots(1, 2)
    draw_gradient(left, data, "delta_rms", r"back-propagated error $\delta$ (rms)")
    draw_gradient(right, data, "weight_grad_norm", r"weight gradient $\|\partial L/\partial W\|_2$")
    axes.headline(figure, title_of(data))
    return figure


def draw_delta_map(ax: Axes, data: Frames, figure: Figure) -> None:
    """log10 delta, layer x record; exact zeros and non-finite values are hatched, each in its own way."""
    steps, layers, values = selections.grid(data.layers, "delta_rms")
    logs = selections.log10(values)
    mesh = axes.draw_map(ax, steps, layers, logs, selections.map_limits(values), has_readout(data))
    axes.mark_fields(ax, layers, values == 0, "////", "0.45", "exactly 0")
    axes.mark_fields(ax, layers, np.isinf(values), "xxxx", "#D55E00", "inf or nan")
    axes.dress(ax, r"$\log_{10}\,\delta$ (rms)", "step (records)", "layer")
    ax.grid(False)
    bar = figure.colorbar(mesh, ax=ax, pad=0.02)
    bar.ax.tick_params(labelsize=axes.FONT - 0.5)
    bar.outline.set_linewidth(0.4)
    if ax.get_legend_handles_labels()[0]:
        axes.legend(
            ax, loc="lower right", bbox_to_anchor=(1.03, 0.97), ncols=2, handlelength=1.6, columnspacing=1.0
        )


def heatmap(data: Frames) -> Figure | None:
    """log10 delta over layers and steps."""
    figure = axes.new_figure(3.0, 5.0)
    ax = figure.subplots()
    draw_delta_map(ax, data, figure)
    axes.headline(figure, title_of(data))
    return figure


def units(data: Frames) -> Figure | None:
    """Share of dead and of saturated units over layers and steps; None where the activation has no slope."""
    hidden = data.layers[data.layers["name"] != "output"]
    shown = [
        (column, title)
        for column, title in (("dead_fraction", "dead units"), ("saturated_fraction", "saturated outputs"))
        if column in hidden and hidden[column].notna().any()
    ]
    if not shown:
        return None
    figure = axes.new_figure(2.8)
    panels = figure.subplots(1, len(shown), squeeze=False)[0]
    for ax, (column, title) in zip(panels, shown, strict=True):
        steps, layers, values = selections.grid(hidden, column)
        mesh = axes.draw_map(ax, steps, layers, values, (0.0, 1.0))
        axes.dress(ax, f"share of {title}", "step (records)", "layer")
        ax.grid(False)
    bar = figure.colorbar(mesh, ax=panels, pad=0.02)
    bar.ax.tick_params(labelsize=axes.FONT - 0.5)
    axes.headline(figure, title_of(data))
    return figure


def needs_decades(values: Array) -> bool:
    """Whether a linear axis would hide something: values over two decades, or what is not finite."""
    positive = values[np.isfinite(values) & (values > 0)]
    return bool(np.isinf(values).any()) or bool(positive.size and positive.max() > 100 * positive.min())


def draw_loss(ax: Axes, data: Frames) -> None:
    """Loss against step: on a linear axis, or in decades where it blew up."""
    courses = {label: selections.course(data.steps, column) for column, label in LOSSES.items()}
    courses = {label: found for label, found in courses.items() if not np.isnan(found.median).all()}
    drawn = [v for found in courses.values() for v in (found.median, found.low, found.high)]
    scale = Decades.of(*drawn) if drawn and needs_decades(np.concatenate(drawn)) else None
    at = np.empty(0)
    for nth, (label, found) in enumerate(courses.items()):
        axes.draw_profile(ax, found, nth, label, scale)
        at = found.at
    axes.dress(ax, "loss", "step")
    if scale:
        scale.dress(ax)
    axes.step_axis(ax, at)
    axes.legend(ax)


def draw_accuracy(ax: Axes, data: Frames) -> None:
    """Accuracy against step, from 0 to 1."""
    for nth, (column, label) in enumerate(ACCURACIES.items()):
        found = selections.course(data.steps, column)
        if np.isfinite(found.median).any():
            axes.draw_profile(ax, found, nth, label)
    axes.dress(ax, "accuracy", "step")
    axes.step_axis(ax, np.asarray(data.steps["step"], dtype=np.float64))
    ax.set_ylim(-0.02, 1.02)
    axes.legend(ax)


def learning(data: Frames) -> Figure | None:
    """Loss and accuracy against step."""
    if not len(data.steps):
        return None
    figure = axes.new_figure(2.8)
    left, right = figure.subplots(1, 2)
    draw_loss(left, data)
    draw_accuracy(right, data)
    axes.headline(figure, title_of(data))
    return figure


def measured_over_predicted(layers: Frames) -> Profile | None:
    """delta_rms of step 0 divided by the theory's, over layers; None where nothing is predicted."""
    frame = layers.layers
    if "delta_rms_predicted" not in frame or not len(frame):
        return None
    first = frame[frame["step"] == frame["step"].min()]
    first = first.assign(ratio=first["delta_rms"] / first["delta_rms_predicted"].where(lambda v: v > 0))
    found = selections.profile(first, int(first["step"].iloc[0]), "ratio")
    return found if np.isfinite(found.median).any() else None


def prediction(data: Frames) -> Figure | None:
    """Measured over predicted delta at step 0, layer by layer; None where nothing is predicted."""
    ratio = measured_over_predicted(data)
    if ratio is None:
        return None
    figure = axes.new_figure(2.6, 4.5)
    ax = figure.subplots()
    axes.draw_profile(ax, ratio, 0, r"measured / predicted $\delta$, step 0")
    ax.axhline(1.0, color="black", linestyle=":", linewidth=1.2, label="theory")
    found = agreement(data.layers)
    if found is not None and np.isfinite(found.high).any():
        known = np.isfinite(found.high)
        ax.fill_between(
            found.layers[known],
            found.low[known],
            found.high[known],
            color="black",
            alpha=0.08,
            linewidth=0,
            label="finite width, 4 sigma (mean of the seeds)",
        )
    axes.dress(ax, selections.fold(title_of(data), 60), "layer (input at the left)", "measured / predicted")
    axes.layer_ticks(ax, int(ratio.at[-1]), readout=has_readout(data))
    axes.legend(ax)
    return figure


def overview(data: Frames) -> Figure | None:
    """The four pictures of a cell that belong together: delta, its map over steps, the weight gradient, learning."""
    figure = axes.new_figure(5.4)
    panels = figure.subplots(2, 2)
    draw_gradient(panels[0, 0], data, "delta_rms", r"back-propagated error $\delta$ (rms)")
    draw_delta_map(panels[0, 1], data, figure)
    draw_gradient(panels[1, 0], data, "weight_grad_norm", r"weight gradient $\|\partial L/\partial W\|_2$")
    draw_accuracy(panels[1, 1], data)
    row = selections.rows_of(data.summary)[0]
    verdict = str(row["verdict"]).replace(",", ", ") if isinstance(row["verdict"], str) else ""
    axes.headline(figure, f"{title_of(data)}: {verdict}" if verdict else title_of(data))
    return figure
