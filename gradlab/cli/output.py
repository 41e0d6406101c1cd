"""The two sinks: data to stdout, everything else to stderr. Nothing else in gradlab prints.

What is printed may hold what somebody else wrote (a name, a file, a table), so it is made text here.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from functools import wraps
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, TextIO

from gradlab.base.text import printable

if TYPE_CHECKING:
    from gradlab.report.console import PlainConsole

_stdout: list[TextIO] = []
"""stdout of the command that runs; empty outside of one"""


def alone_on_stdout(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command with stdout for what is printed here: what the user's own code prints, wherever it is called, goes
    to stderr."""

    @wraps(command)
    def called(*positional: Any, **named: Any) -> Any:
        with _data_alone():
            return command(*positional, **named)

    return called


@contextmanager
def _data_alone() -> Iterator[None]:
    _stdout.append(sys.stdout)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _stdout.pop()


def _out() -> TextIO:
    return _stdout[-1] if _stdout else sys.stdout


def emit(document: object) -> None:
    """Print one JSON document on stdout; numbers that are not finite are null."""
    text = json.dumps(plain(document), indent=2, allow_nan=False)
    print(text.replace("\x7f", "\\u007f"), file=_out())  # the one control character that JSON leaves as it is


def say(text: str, end: str = "\n") -> None:
    """Print on stdout what people or programs read: a line, or several."""
    print(_encodable(text, _out()), end=end, file=_out())


def tell(text: str) -> None:
    """Print a line on stderr."""
    print(_encodable(text, sys.stderr), file=sys.stderr)


def console() -> PlainConsole:
    """Rich's tables and colours, for stdout."""
    from gradlab.report.console import PlainConsole

    return PlainConsole(_out())


def line_width() -> int:
    """Characters a line where lists are folded: the terminal's; of a pipe, whose reader may look for lines, no end."""
    screen = console()
    return screen.width if screen.is_terminal or "COLUMNS" in os.environ else sys.maxsize


def _encodable(text: str, stream: TextIO) -> str:
    """Printable, and without characters that the stream cannot encode."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return printable(text).encode(encoding, "backslashreplace").decode(encoding)


def plain(value: Any) -> Any:
    """The value in JSON's types: NumPy's scalars as Python's, paths as texts, NaN and infinities as None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, PurePath):
        return str(value)
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
