"""The page's colours of verdicts, as each verdict's own entry has them."""

from __future__ import annotations

from collections.abc import Mapping

from gradlab.analyse.verdict import Style
from gradlab.analyse.verdicts import WORDS


def badge_styles() -> str:
    """CSS: the two colours of every style in the light and in the dark scheme, and a class for every verdict."""
    styles = {word.style.name: word.style for word in WORDS.values()}
    light = _variables({name: style.light for name, style in styles.items()})
    dark = _variables({name: style.dark for name, style in styles.items()})
    classes = [f".badge.{name} {{ {_colours(word.style)} }}" for name, word in WORDS.items()]
    return "\n".join([light, f"@media screen and (prefers-color-scheme: dark) {{ {dark} }}", *classes])


def _variables(colours: Mapping[str, tuple[str, str]]) -> str:
    pairs = [f"--{name}: {text}; --{name}-back: {back};" for name, (text, back) in colours.items()]
    return f":root {{ {' '.join(pairs)} }}"


def _colours(style: Style) -> str:
    return f"background: var(--{style.name}-back); color: var(--{style.name});"
