"""The one kind of console that gradlab writes to: what it is given is text, whoever wrote it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from gradlab.base.text import printable


class PlainConsole(Console):
    """A console that reads no markup and no emoji names, and sends no control characters but its own.

    `render` makes the segments of every table and line, so what passes here is all that reaches the terminal. Colours
    are no part of a segment's text, and moves of the cursor are segments of their own.
    """

    def __init__(self, file: TextIO | None = None, *, stderr: bool = False, **options: Any) -> None:
        super().__init__(file=file, stderr=stderr, markup=False, emoji=False, highlight=False, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)
