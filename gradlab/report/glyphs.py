"""Characters for a terminal that may not hold them: bars and signs, in blocks or in ASCII, and user text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, isnan, log10
from typing import TYPE_CHECKING

from gradlab.base.text import printable

if TYPE_CHECKING:
    from rich.console import Console

BLOCKS = " ▏▎▍▌▋▊▉█"
LEVELS = "▁▂▃▄▅▆▇█"
ASCII_LEVELS = "_.-~=+*#"
SIGNS = {"±": "+-", "→": "->", "×": "x", "·": "-", "…": "..", "█": "#", "░": "-"}


@dataclass(frozen=True)
class Glyphs:
    """How to write on one console. `blocks`: its encoding holds block characters; `encoding`: its name."""

    blocks: bool
    encoding: str

    @classmethod
    def of(cls, console: Console) -> Glyphs:
        encoding = console.encoding or "ascii"
        try:
            (BLOCKS + LEVELS + "".join(SIGNS)).encode(encoding)
        except (UnicodeError, LookupError):
            return cls(False, encoding)
        return cls(not console.legacy_windows, encoding)

    def text(self, text: str) -> str:
        """The text with what this console cannot show replaced, and hidden characters as `printable` writes them."""
        if not self.blocks:
            for sign, plain in SIGNS.items():
                text = text.replace(sign, plain)
        text = printable(text)
        try:
            return text.encode(self.encoding, "replace").decode(self.encoding)
        except LookupError:
            return text.encode("ascii", "replace").decode("ascii")

    def bar(self, share: float, width: int) -> str:
        """A bar of `share` (0 to 1) of `width` characters, padded with blanks to it."""
        eighths = round(min(max(share, 0.0), 1.0) * width * 8)
        if not self.blocks:
            return ("#" * round(eighths / 8)).ljust(width)
        full, rest = divmod(eighths, 8)
        return ("█" * full + (BLOCKS[rest] if rest else "")).ljust(width)

    def log_bar(self, value: float, scale: tuple[float, float], width: int) -> str:
        """A bar for a positive value, `scale` being log10 of the empty and of the full bar.

        An exact 0 has no bar and a value that is not finite is drawn as `!`s, so neither looks like a number.
        """
        if isnan(value) or value == 0:
            return " " * width
        if not isfinite(value):
            return "!" * width
        low, high = scale
        share = (log10(value) - low) / (high - low)
        return self.bar(max(share, 0.13 / width), width)

    def spark(self, values: Sequence[float], scale: tuple[float, float]) -> str:
        """A character a value: its height on the log10 scale; `0` for an exact 0, `!` when not finite."""
        levels = LEVELS if self.blocks else ASCII_LEVELS
        out = []
        for value in values:
            if value == 0:
                out.append("0")
            elif not isfinite(value):
                out.append("!")
            else:
                share = (log10(value) - scale[0]) / (scale[1] - scale[0])
                out.append(levels[min(max(int(share * len(levels)), 0), len(levels) - 1)])
        return "".join(out)


def number(value: float) -> str:
    """A number in at most 8 characters: `0`, `nan`, `inf`, 3 digits where they fit, else `1.2e-16`."""
    if isnan(value):
        return ""
    if not isfinite(value):
        return "inf" if value > 0 else "-inf"
    if value == 0:
        return "0"
    return f"{value:.3g}" if 1e-2 <= abs(value) < 1e4 else f"{value:.1e}"


def power_of_ten(exponent: float) -> str:
    """10 to a finite exponent as `number` writes it, far beyond what a float holds too."""
    if abs(exponent) < 300:
        return number(10.0**exponent)
    whole = int(exponent // 1)
    return f"{10.0 ** (exponent - whole):.1f}e{whole:+d}"


def percent(value: float) -> str:
    """A share as whole percent, empty where it does not apply; only 0 shows as 0 and only 1 as 100."""
    if isnan(value):
        return ""
    if 0 < value < 0.005:
        return "<1"
    return f"{min(100 * value, 99.0) if value < 1 else 100:.0f}"
