"""Colours, marks and dashes of every picture: those that matplotlib draws, and those that the page draws itself.

Lines have the colours of Okabe and Ito (2008), told apart by colour-blind eyes, darkened to a contrast of 3 on
white; every line also has its own marker and dash, so that a grey print tells them apart too. An activation has one
look, the same in every figure and on every page. Maps are cividis, whose lightness rises evenly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any


@dataclass(frozen=True)
class Palette:
    """The colours of one background.

    series: of the lines; ridge: the fill of a distribution
    zero, nonfinite: the strips of a log axis for what has no logarithm; broken: a bar of what is not finite
    """

    series: tuple[str, ...]
    ridge: str
    zero: str
    nonfinite: str
    broken: str


LIGHT = Palette(
    series=("#0072B2", "#D55E00", "#00875F", "#B0508A", "#B87A00", "#3A93C9", "#5A4FB0", "#62686F"),
    ridge="#9CC3DE",
    zero="#E6E6E6",
    nonfinite="#F6D5C8",
    broken="#8A1C00",
)
DARK = Palette(
    series=("#4AA8E0", "#F0803C", "#35C498", "#DD8FBA", "#E69F00", "#8FD0F5", "#A79DF0", "#B3BAC1"),
    ridge="#1F4E6E",
    zero="#30363C",
    nonfinite="#5A2A1C",
    broken="#B22A00",
)

MARKERS = {
    "o": "circle",
    "s": "square",
    "^": "triangle-up",
    "D": "diamond",
    "v": "triangle-down",
    "P": "cross",
    "X": "x",
    "<": "triangle-left",
    ">": "triangle-right",
    "*": "star",
}
"""matplotlib's name of each line's marker, and Plotly's"""

DASHES: tuple[tuple[Any, str], ...] = (
    ("-", "solid"),
    ((0, (5, 1.5)), "dash"),
    ((0, (1.2, 1.2)), "dot"),
    ((0, (6, 1.5, 1.2, 1.5)), "dashdot"),
)
"""matplotlib's dash of each line, and Plotly's"""

HOMES = (
    "relu", "sigmoid", "prelu", "tanh", "hard_sigmoid", "leaky_relu", "gelu", "linear", "selu", "softsign", "elu",
    "softplus", "erf", "silu", "mish", "hard_tanh", "celu", "hard_sigmoid_6", "relu6", "hard_swish",
    "thresholded_relu", "softmax",
)  # fmt: skip
"""the place of each activation's colour, marker and dash; those that are compared most stand first and have a colour
of their own"""


def looks(activations: Mapping[str, str]) -> dict[str, int]:
    """The place of the colour, marker and dash of each line, by its name.

    activations: name of a line -> its activation, `leaky_relu:negative_slope=0.2`. The first line of an activation, by
    name, has that one's place; its others, and activations without one, the next that are free, a free colour first.
    """
    found: dict[str, int] = {}
    for name in sorted(activations):
        home = activations[name].partition(":")[0]
        if home in HOMES and HOMES.index(home) not in found.values():
            found[name] = HOMES.index(home)
    colours = len(LIGHT.series)
    for name in sorted(activations.keys() - found):
        taken = {place % colours for place in found.values()}
        free = (place for place in count() if place not in found.values())
        found[name] = next(place for place in free if place % colours not in taken or len(taken) == colours)
    return found


MAP = "cividis"
MAP_STOPS = ((0, "#00224e"), (0.25, "#434e6c"), (0.5, "#7d7c78"), (0.75, "#bcae6c"), (1, "#fee838"))
"""the same map by its colours, which Plotly needs"""
