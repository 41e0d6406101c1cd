"""Text of somebody else's, made safe to print: a terminal obeys control characters, and people do not see them."""

from __future__ import annotations

import textwrap
import unicodedata

HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode's categories of what a terminal obeys or nobody sees: control and format characters (those that turn the
direction of writing among them), lone surrogates, and the separators of lines and paragraphs."""


def printable(text: str) -> str:
    r"""The text with every hidden character but the newline as its number, `\u001b`.

    JSON and TOML read that form back as the very character.
    """
    return "".join(char if char == "\n" else _shown(char) for char in text)


def one_line(text: str) -> str:
    """As `printable`, newlines too: a name cannot look like a line of gradlab's own."""
    return "".join(map(_shown, text))


def wrapped(text: str, width: int, first: str = "", rest: str = "") -> list[str]:
    """The text on lines of at most `width` characters, `first` before the first and `rest` before the others.

    Lines are broken at blanks alone: a path, a name or a flag that is longer than a line stays whole, to be copied.
    """
    return textwrap.wrap(
        text,
        max(width, len(rest) + 10),
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _shown(char: str) -> str:
    if char.isprintable() or unicodedata.category(char) not in HIDDEN:
        return char
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"
