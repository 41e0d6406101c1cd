"""What a page's style sheet takes from Python: the colours of lines, and of verdicts as each one's entry has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gradlab.analyse.verdict import Style
from gradlab.analyse.verdicts import WORDS
from gradlab.report.palette import DARK, LIGHT

GLYPHS = {"good": "2713", "poor": "25D0", "bad": "25BC"}
"""the sign before a verdict of each style, so that none is told by its colour alone"""


def badge_styles() -> str:
    """CSS: the colours of lines and of every style in the light and in the dark scheme, and each verdict's class."""
    styles = {word.style.name: word.style for word in WORDS.values()}
    light = _variables({name: style.light for name, style in styles.items()})
    dark = _variables({name: style.dark for name, style in styles.items()})
    classes = [f".badge.{name} {{ {_colours(word.style)} }}" for name, word in WORDS.items()]
    classes += [
        f'.badge.{name}::before {{ content: "\\{GLYPHS[word.style.name]}"; }}'
        for name, word in WORDS.items()
        if word.style.name in GLYPHS
    ]
    lines = [
        _lines(LIGHT.series),
        f"@media screen and (prefers-color-scheme: dark) {{ {_lines(DARK.series)} }}",
    ]
    return "\n".join(
        [*lines, light, f"@media screen and (prefers-color-scheme: dark) {{ {dark} }}", *classes]
    )


def line_colours() -> str:
    """CSS: the colours of lines, --s0 and so on, in the light and in the dark scheme."""
    return (
        f"{_lines(LIGHT.series)}\n@media screen and (prefers-color-scheme: dark) {{ {_lines(DARK.series)} }}"
    )


def _lines(series: Sequence[str]) -> str:
    return f":root {{ {' '.join(f'--s{place}: {colour};' for place, colour in enumerate(series))} }}"


def _variables(colours: Mapping[str, tuple[str, str]]) -> str:
    pairs = [f"--{name}: {text}; --{name}-back: {back};" for name, (text, back) in colours.items()]
    return f":root {{ {' '.join(pairs)} }}"


def _colours(style: Style) -> str:
    return f"background: var(--{style.name}-back); color: var(--{style.name});"
