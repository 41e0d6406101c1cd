"""A line on the terminal while a large data file is read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from gradlab.data.reading import watched
from gradlab.report.console import PlainConsole

LARGE = 20_000_000
"""Bytes of a file that takes long enough to be waited for."""


@contextmanager
def reading_shown(quiet: bool, console: Console | None = None) -> Iterator[None]:
    """Within it, whoever waits for a large file sees how far it is read; nothing where stderr is no terminal."""
    console = console or PlainConsole(stderr=True)
    if quiet or not console.is_terminal:
        yield
        return
    columns = (
        TextColumn("reading {task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    bars = Progress(*columns, console=console, transient=True)
    tasks = {}

    def watch(name: str, done: int, size: int) -> None:
        if size < LARGE:
            return
        if name not in tasks:
            bars.start()
            tasks[name] = bars.add_task(name, total=size)
        bars.update(tasks[name], completed=done, visible=done < size)
        if bars.finished:  # what is said next has the terminal for itself
            bars.stop()

    with watched(watch):
        try:
            yield
        finally:
            bars.stop()
