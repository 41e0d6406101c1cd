"""Reports of saved results: the page, the figures and the tables, written where they belong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from gradlab.analyse.results import read_whole
from gradlab.base import atomic
from gradlab.base.errors import ConfigError, DataError, GradlabError, Problem, unknown
from gradlab.base.places import resolved
from gradlab.report import figures, html, tables
from gradlab.report.drawing import PICTURES, begun
from gradlab.store.results import Results

FORMATS = ("html", *PICTURES, "md", "latex")
DEFAULT = ("html", "png")


@dataclass(frozen=True)
class Built:
    """Where a report is, and what it is made of."""

    out: Path
    files: tuple[Path, ...]


def parse_formats(text: str, where: str = "--format") -> tuple[str, ...]:
    """The formats of a comma-separated list. Raises ConfigError with a problem for each unknown one."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise ConfigError(Problem(where, "no format is given", ", ".join(FORMATS)))
    problems = [unknown(where, "format", name, FORMATS) for name in names if name not in FORMATS]
    if problems:
        raise ConfigError(problems)
    return tuple(dict.fromkeys(names))


def build(
    folders: Sequence[Path],
    formats: Sequence[str] = DEFAULT,
    out: Path | None = None,
    say: Callable[[str], None] = lambda name: None,
    workers: int = 1,
) -> Built:
    """Write a report on one or several results folders.

    out: by default the results folder itself; for several, results/report-<hash of their paths>
    say: is told the name of what is drawn next; workers: processes that draw the figures
    Raises DataError with the problems of every folder, GradlabError where nothing can be written.
    """
    results = _load_all(folders)
    target = out or (results[0].out if len(results) == 1 else _common(results))
    try:
        target.mkdir(parents=True, exist_ok=True)
        return Built(target, tuple(_write(results, target, formats, say, workers)))
    except OSError as error:
        raise GradlabError(
            f"cannot write to {target}: {error.strerror or error}", "choose another --out"
        ) from error


def _load_all(folders: Sequence[Path]) -> list[Results]:
    problems: list[Problem] = []
    results = []
    for folder in dict.fromkeys(folders):
        try:
            found = read_whole(folder)
            if not len(found.summary):
                raise DataError(
                    Problem(str(folder), "no cell is finished", hint="the command that made it tries again")
                )
            if not len(found.layers):
                raise DataError(
                    Problem(
                        str(folder),
                        "no layer was recorded, so there is nothing to draw",
                        "a run with records",
                    )
                )
            found.config  # noqa: B018 # what cannot be read is told before anything is drawn
            results.append(found)
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError(problems)
    return results


def _common(results: Sequence[Results]) -> Path:
    paths = "\n".join(sorted(str(resolved(result.out)) for result in results))
    return Path("results") / f"report-{sha256(paths.encode()).hexdigest()[:8]}"


def _write(
    results: Sequence[Results],
    target: Path,
    formats: Sequence[str],
    say: Callable[[str], None],
    workers: int,
) -> list[Path]:
    data = html.combine(results)
    files = []
    pictures = [kind for kind in PICTURES if kind in formats]
    drawings = figures.every_drawing(data, target / "figures", pictures) if pictures else []
    with begun(drawings, workers, say) as drawn:
        if "html" in formats:
            say("report.html")
            files.append(html.write(results, target / "report.html"))
        for name, kind, text in (("md", "md", tables.markdown), ("latex", "tex", tables.latex)):
            if name in formats:
                path = target / f"summary.{kind}"
                atomic.write_text(path, text(data))
                files.append(path)
        return [*files, *drawn()]
