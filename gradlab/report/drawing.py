"""Figures drawn and saved, in several processes where there are many.

Light to import: the server that they are forked from starts before the results are read, and imports meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gradlab.base import atomic, fork_server

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from gradlab.report.figure_spec import FigureSpec
    from gradlab.report.selections import Frames

PICTURES = ("png", "svg", "pdf")
MOST_ALONE = 16
"""Figures up to which other processes take longer to start than they save: one cell has fewer, sixteen have more."""
SUMMARY_BYTES = 3_000
"""Of a summary.csv of so many cells that there are more figures."""


@dataclass(frozen=True)
class Drawing:
    """A figure to draw and to save. stem: its file but for the ending"""

    figure: FigureSpec
    data: Frames
    stem: Path
    formats: tuple[str, ...]

    def save(self) -> list[Path]:
        """The files written; none where the data hold nothing to draw."""
        return save(self.figure.draw(self.data), self.stem, self.formats)


def save(figure: Figure | None, stem: Path, formats: Sequence[str]) -> list[Path]:
    """Write one figure as `stem`.png and so on; nothing for None. The same numbers write the same picture."""
    if figure is None:
        return []
    import matplotlib

    stem.parent.mkdir(parents=True, exist_ok=True)
    dates = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
    paths = []
    for kind in formats:
        path = stem.with_name(f"{stem.name}.{kind}")
        with matplotlib.rc_context({"svg.hashsalt": "gradlab"}):  # else the ids in an SVG are random
            atomic.write(path, partial(figure.savefig, format=kind, dpi=200, metadata=dates[kind]))
        paths.append(path)
    return paths


def prepare(folders: Sequence[Path], formats: str, workers: int) -> None:
    """Start the server while the results are being read, if it looks as if so many processes will draw.

    formats: as the user writes them
    """
    tables = [folder / "summary.csv" for folder in folders]
    size = sum(table.stat().st_size for table in tables if table.is_file())
    if workers > 1 and size > SUMMARY_BYTES and any(kind in formats for kind in PICTURES):
        fork_server.start("gradlab.report.preload")


@contextmanager
def begun(
    drawings: Sequence[Drawing], workers: int, say: Callable[[str], None]
) -> Iterator[Callable[[], list[Path]]]:
    """Within it the figures are drawn in so many other processes. The function that it gives waits for them, or draws
    them where there are none, and returns their files in the order of the drawings.

    say: is told the name of the figure that is waited for
    """
    if workers == 1 or len(drawings) <= MOST_ALONE:
        yield lambda: _saved(drawings, Drawing.save, say)
        return
    pool = ProcessPoolExecutor(min(workers, len(drawings)), fork_server.context())
    try:
        with fork_server.no_main_module():
            waiting = {id(drawing): pool.submit(drawing.save) for drawing in drawings}

        def take(drawing: Drawing) -> list[Path]:
            try:
                return waiting[id(drawing)].result()
            except BrokenProcessPool:  # a process was killed, as the system does when memory is short
                return drawing.save()

        yield lambda: _saved(drawings, take, say)
    finally:
        pool.shutdown(cancel_futures=True)


def _saved(
    drawings: Sequence[Drawing], take: Callable[[Drawing], list[Path]], say: Callable[[str], None]
) -> list[Path]:
    files: list[Path] = []
    for drawing in drawings:
        say(f"figures/{drawing.stem.name}")
        files += take(drawing)
    return files
