"""Figures of activation functions: phi and its slope."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from gradlab.activations import Activation
from gradlab.report import axes
from gradlab.report.selections import Array, Frames

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_SHAPES = 12


def known(names: Sequence[str]) -> list[Activation]:
    """The elementwise activations of the registry among these texts.

    A user's own is left out: a report reads tables that may come from elsewhere, and must import nothing they name.
    """
    from gradlab import activations
    from gradlab.base.errors import GradlabError
    from gradlab.base.grammar import parse_item

    found = []
    for name in dict.fromkeys(names):
        try:
            if parse_item(name, "activation").attribute is not None:
                continue
            activation = activations.get(name, "activation")
        except GradlabError:
            continue
        if activation.elementwise:
            found.append(activation)
    return found


def sample(activation: Activation, reach: float = 4.0, points: int = 401) -> tuple[Array, Array, Array]:
    """(z, phi(z), phi'(z)) from -reach to reach; the slope is broken at kinks, where it jumps."""
    assert activation.phi is not None and activation.slope is not None
    z = np.linspace(-reach, reach, points)
    inside = [kink for kink in activation.kinks if abs(kink) < reach]
    z = np.sort(np.concatenate([z, *([kink - 1e-9, kink + 1e-9] for kink in inside)]))
    return z, activation.phi(z), activation.slope(z)


def activation_shapes(data: Frames) -> Figure | None:
    """phi and phi' of every activation in the results; None where none is elementwise."""
    found = known([str(name) for name in data.summary["activation"]])[:MOST_SHAPES]
    if not found:
        return None
    figure = axes.new_figure(2.9 if len(found) <= 4 else 3.4)
    left, right = figure.subplots(1, 2)
    for nth, activation in enumerate(found):
        z, phi, slope = sample(activation)
        look = axes.style(nth) | {"marker": ""}
        left.plot(z, phi, label=activation.text, **look)
        right.plot(z, slope, **look)
    axes.dress(left, r"activation $\varphi(z)$", "z")
    left.set_ylim(max(left.get_ylim()[0], -4.2), min(left.get_ylim()[1], 4.2))
    axes.dress(right, r"slope $\varphi'(z)$", "z")
    right.axhline(1.0, color="0.6", linewidth=0.7)
    axes.legend_below(figure, axes.handles_of([left]))
    return figure
