"""Texts in CSV files that a spreadsheet would take for formulas: an apostrophe in front makes them texts again.

A text that begins with `=`, `+`, `-`, `@`, a tab or a line end is written with an apostrophe before it, unless it is a
number: numbers stay as they are. gradlab's own readers take the apostrophe off again. A text that looks escaped already
gets one more, so that every text reads back as it was.
"""

from __future__ import annotations

import re

FORMULA = re.compile(r"'*[=+\-@\t\r\n]")


def escaped(text: str) -> str:
    """The text as it stands in a CSV file, before quoting."""
    return f"'{text}" if FORMULA.match(text) and not _is_number(text) else text


def unescaped(text: str) -> str:
    """The text that `escaped` was given."""
    return text[1:] if text.startswith("'") and FORMULA.match(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
