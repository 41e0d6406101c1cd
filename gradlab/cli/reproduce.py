"""`gradlab reproduce`: published results, measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gradlab.base.errors import ConfigError, Problem
from gradlab.base.text import wrapped
from gradlab.cli import completion
from gradlab.cli.options import AsJson, Opened, Quiet
from gradlab.cli.output import console, emit, line_width, say, tell
from gradlab.cli.pages import open_page
from gradlab.papers import registry

FOLDER = Path("results") / "reproduce"
FAILED = 1


def reproduce(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME...",
            autocompletion=completion.one_of(lambda: registry.PAPERS),
            help="Results: gradlab reproduce --list.",
        ),
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the results and measure nothing.")] = False,
    all_: Annotated[bool, typer.Option("--all", help="Every result: some minutes.")] = False,
    small: Annotated[
        bool, typer.Option("--quick", help="Reduced sizes; without names, every result in about a minute.")
    ] = False,
    report: Annotated[bool, typer.Option("--report", help="Write a self-contained page as well.")] = False,
    open_: Opened = False,
    json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Measure what papers printed, and say where it agrees.

    gradlab reproduce --list
    gradlab reproduce lu-2019
    gradlab reproduce --quick --open

    Writes results/reproduce/NAME.csv and NAME.png. Ends with 1 when an asserted row fails and its file does not say
    what was found instead.
    """
    every = list(registry.PAPERS.values())
    if list_:
        if json:
            emit([{"name": each.name, "title": each.title, "citation": each.citation} for each in every])
        else:
            width, wide = max(len(each.name) for each in every) + 2, line_width()
            for each in every:
                for line in wrapped(
                    f"{each.title} ({each.citation})", wide, each.name.ljust(width), " " * width
                ):
                    say(line)
            if not quiet:
                tell(f"next: gradlab reproduce {every[0].name} --quick --report")
        return 0
    if not names and not (all_ or small):
        message = "no result is named"
        raise ConfigError(Problem(registry.WHERE, message, registry.PAPERS.allowed, "or --all, or --quick"))
    papers = registry.find(names) if names and not all_ else every
    from gradlab.papers import figures as paper_figures
    from gradlab.papers import page as paper_page
    from gradlab.papers import reproduction
    from gradlab.papers import tables as paper_tables

    found, files = [], []
    for paper in papers:
        if not quiet:
            tell(f"measuring {paper.name}")
        result = reproduction.reproduce(paper, quick=small)
        found.append(result)
        files += reproduction.write(result, FOLDER)
        files += paper_figures.save(result, FOLDER)
        if not json:
            paper_tables.print_reproduction(result, console())
    if report or open_:
        files.append(paper_page.write(found, FOLDER))
    failed = sum(result.count("fail") for result in found)
    unexplained = sum(result.unexplained for result in found)
    if json:
        emit(
            {
                "out": FOLDER,
                "files": files,
                "failed": failed,
                "unexplained": unexplained,
                "papers": [reproduction.document(r) for r in found],
            }
        )
    else:
        paper_tables.print_total(found, files, small, console())
    if open_:
        open_page(files)
    return FAILED if unexplained else 0
