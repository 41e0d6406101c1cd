"""Colours, marks and dashes of every picture: those that matplotlib draws, and those that the page draws itself.

Lines have the colours of Okabe and Ito (2008), told apart by colour-blind eyes; every line also has its own marker and
dash, so that a grey print tells them apart too. Maps are cividis, whose lightness rises evenly.
"""

from __future__ import annotations

from dataclasses import dataclass
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
    series=("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"),
    ridge="#9CC3DE",
    zero="#E6E6E6",
    nonfinite="#F6D5C8",
    broken="#8A1C00",
)
DARK = Palette(
    series=("#56B4E9", "#F0805A", "#2DB88A", "#E4A1C6", "#E69F00", "#8FA8FF", "#E8E8E8"),
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

MAP = "cividis"
MAP_STOPS = ((0, "#00224e"), (0.25, "#434e6c"), (0.5, "#7d7c78"), (0.75, "#bcae6c"), (1, "#fee838"))
"""the same map by its colours, which Plotly needs"""
