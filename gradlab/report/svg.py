"""A drawing for a page as SVG text: lines, marks and words in the page's own colours, which follow light and dark.

Colours come from the page's style sheet by class: `g` a hairline, `ln` a line of the colour `--c`, `pt` a mark, `bd` a
band, `th` the theory, `ref` what is compared with, `i` and `b` words that are read first.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup, escape

from gradlab.report.palette import LIGHT

SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
ROUND_MARKS = 10
Point = tuple[float, float]


@dataclass
class Drawing:
    """A drawing of `width` x `height` units, which are pixels where it is shown as wide as it is. label: the picture in
    a sentence, for who does not see it; look: the place of its colour and mark."""

    width: float
    height: float
    label: str
    look: int = 0
    kind: str = ""
    parts: list[str] = field(default_factory=list)

    def path(self, points: Iterable[Point], kind: str) -> None:
        """A line through the points; one that is not finite breaks it."""
        text, pen = "", "M"
        for x, y in points:
            if math.isfinite(x) and math.isfinite(y):
                text += f"{pen}{_n(x)} {_n(y)}"
                pen = "L"
            else:
                pen = "M"
        if text:
            self.parts.append(f'<path class="{kind}" d="{text}"/>')

    def area(self, points: Sequence[Point], kind: str) -> None:
        if points and all(math.isfinite(v) for point in points for v in point):
            self.parts.append(
                f'<path class="{kind}" d="M{"L".join(f"{_n(x)} {_n(y)}" for x, y in points)}Z"/>'
            )

    def rect(self, x: float, y: float, width: float, height: float, kind: str) -> None:
        size = f'width="{_n(max(width, 0))}" height="{_n(max(height, 0))}"'
        self.parts.append(f'<rect class="{kind}" x="{_n(x)}" y="{_n(y)}" {size}/>')

    def text(self, x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> None:
        at = f' text-anchor="{anchor}"' if anchor != "start" else ""
        named = f' class="{kind}"' if kind else ""
        self.parts.append(f'<text x="{_n(x)}" y="{_n(y)}"{at}{named}>{escape(words)}</text>')

    def mark(self, x: float, y: float, size: float = 3.5, kind: str = "pt", look: int | None = None) -> None:
        """The mark of a look: another shape for each of the first ten."""
        if math.isfinite(x) and math.isfinite(y):
            place = self.look if look is None else look
            self.parts.append(f'<path class="{kind}" d="{mark_path(place, x, y, size)}"/>')

    def ring(self, x: float, y: float, radius: float, kind: str = "hole") -> None:
        self.parts.append(f'<circle class="{kind}" cx="{_n(x)}" cy="{_n(y)}" r="{_n(radius)}"/>')

    def __html__(self) -> str:
        named = f'role="img" aria-label="{escape(self.label)}"' if self.label else 'aria-hidden="true"'
        size = f'viewBox="0 0 {_n(self.width)} {_n(self.height)}"'
        if self.kind == "small":
            size += f' width="{_n(self.width)}" height="{_n(self.height)}"'
        kind = f' class="{self.kind}"' if self.kind else ""
        return Markup(
            f'<svg{kind} {size} {named} style="--c:{colour(self.look)}">{"".join(self.parts)}</svg>'
        )


def colour(look: int) -> str:
    """The style sheet's name of a look's colour."""
    return f"var(--s{look % len(LIGHT.series)})"


def mark_path(look: int, x: float, y: float, r: float) -> str:
    """The outline of a mark around (x, y), in the order of `palette.MARKERS`."""
    place = look % ROUND_MARKS
    if place == 0:
        return (
            f"M{_n(x - r)} {_n(y)}a{_n(r)} {_n(r)} 0 1 0 {_n(2 * r)} 0a{_n(r)} {_n(r)} 0 1 0 {_n(-2 * r)} 0Z"
        )
    a, b = 0.9 * r, 0.38 * r
    outlines: dict[int, list[Point]] = {
        1: [(-a, -a), (a, -a), (a, a), (-a, a)],
        2: [(0, -1.15 * r), (1.1 * r, 0.85 * r), (-1.1 * r, 0.85 * r)],
        3: [(0, -1.25 * r), (1.25 * r, 0), (0, 1.25 * r), (-1.25 * r, 0)],
        4: [(0, 1.15 * r), (1.1 * r, -0.85 * r), (-1.1 * r, -0.85 * r)],
        5: [
            (-b, -r),
            (b, -r),
            (b, -b),
            (r, -b),
            (r, b),
            (b, b),
            (b, r),
            (-b, r),
            (-b, b),
            (-r, b),
            (-r, -b),
            (-b, -b),
        ],
        7: [(-1.15 * r, 0), (0.85 * r, -1.1 * r), (0.85 * r, 1.1 * r)],
        8: [(1.15 * r, 0), (-0.85 * r, -1.1 * r), (-0.85 * r, 1.1 * r)],
    }
    if place == 6:  # the plus turned by an eighth
        outlines[6] = [((u - v) * 0.7071, (u + v) * 0.7071) for u, v in outlines[5]]
    if place == 9:
        turns = [(math.pi * (k / 5 - 0.5), 1.25 * r if k % 2 == 0 else 0.5 * r) for k in range(10)]
        outlines[9] = [(radius * math.cos(turn), radius * math.sin(turn)) for turn, radius in turns]
    return "M" + "L".join(f"{_n(x + u)} {_n(y + v)}" for u, v in outlines[place]) + "Z"


def plain_power(text: str) -> str:
    """`1.2 × 10¹²`: superscripts as characters, where no markup can stand."""
    return re.sub(r"10\^(-?\d+)", lambda found: "10" + found[1].translate(SUPERSCRIPTS), text)


def power(exponent: float) -> str:
    """`10⁻¹²` for a whole exponent."""
    return "1" if exponent == 0 else "10" + f"{exponent:.0f}".translate(SUPERSCRIPTS)


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
