"""Pages and figures on the way to the user: what is drawn at the moment, and the page in a browser."""

from __future__ import annotations

import webbrowser
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.text import Text

from gradlab.base.places import short_path
from gradlab.cli.output import tell
from gradlab.report.console import PlainConsole

PAGE = "report.html"


@contextmanager
def drawing_shown(quiet: bool) -> Iterator[Callable[[str], None]]:
    """Within it, the function that it gives says what is drawn: on a terminal one line for the moment, elsewhere that
    drawing began."""
    console = PlainConsole(stderr=True)
    if quiet:
        yield lambda name: None
    elif not console.is_terminal:
        tell("drawing the page and the figures")
        yield lambda name: None
    else:
        with console.status("drawing") as status:
            yield lambda name: status.update(Text(f"drawing {name}"))


def open_page(files: Sequence[Path]) -> None:
    """Show the page among these files in the user's browser; say where it is where there is none to show it."""
    page = next((file for file in files if file.name == PAGE), None)
    if page is None:
        return
    link = page.resolve().as_uri()
    if not webbrowser.open(link):
        tell(f"no browser could be opened for {short_path(page)}: {link}")
