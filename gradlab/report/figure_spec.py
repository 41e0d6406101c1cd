"""What a figure says of itself; each file of `gradlab/report/figures/` holds one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from gradlab.base.grammar import Parameter
from gradlab.report.selections import Frames

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Of = Literal["cell", "grid", "both"]


@dataclass(frozen=True, kw_only=True)
class FigureSpec:
    """A figure.

    name:    what it is called, and its file
    of:      "cell" is drawn from the tables of one cell, "grid" from those of several, "both" from either
    summary: what its lines and bands are, in one sentence
    draw:    from the tables to the figure; None where they hold nothing to draw
    order:   its place among the figures of its kind; without one it comes last
    leads:   whether it is what people see where no figure is named: the first of these that has something to draw
    """

    name: str
    of: Of
    summary: str
    draw: Callable[[Frames], Figure | None]
    order: int = 1000
    leads: bool = False
    parameters: ClassVar[Mapping[str, Parameter]] = {}
