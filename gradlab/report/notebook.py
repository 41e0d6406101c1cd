"""Progress in a notebook: the terminal's picture below the cell that trains, gone when the training is over."""

from __future__ import annotations

import sys
from io import StringIO
from typing import Any

from markupsafe import Markup
from rich.text import Text

from gradlab.report.console import PlainConsole
from gradlab.report.progress import Progress

WIDTH = 90
PICTURE = Markup('<pre style="line-height:1.1">{}</pre>')


def of_notebook() -> Progress | None:
    """Progress in the notebook that calls; None elsewhere."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return NotebookProgress() if hasattr(shell, "kernel") else None


class NotebookProgress(Progress):
    """An observer as the terminal's, which draws into one output of the notebook."""

    def __init__(self) -> None:
        super().__init__(PlainConsole(StringIO(), force_terminal=True, width=WIDTH))
        self._shown: Any = None

    def _show(self, picture: Text) -> None:
        from IPython.display import HTML, display

        drawn = HTML(PICTURE.format(picture.plain))
        if self._shown is None:
            self._shown = display(drawn, display_id=True)
        else:
            self._shown.update(drawn)

    def _print(self, line: Text) -> None:
        """A cell that is done is in the result; what is told is shown."""

    def message(self, text: str) -> None:
        from IPython.display import HTML, display

        display(HTML(PICTURE.format(text)))

    def end(self) -> None:
        if self._shown is not None:
            from IPython.display import HTML

            self._shown.update(HTML(""))
            self._shown = None
