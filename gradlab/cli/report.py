"""`gradlab report`: pictures, page and tables of saved results."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from gradlab.base.machine import cores
from gradlab.cli import completion
from gradlab.cli.options import AsJson, Opened, Quiet
from gradlab.cli.output import console, emit, tell
from gradlab.cli.pages import drawing_shown, open_page
from gradlab.report import drawing
from gradlab.report.glyphs import Glyphs

Results = Annotated[list[Path], typer.Argument(metavar="RESULTS...", help="One or several results folders.")]
Formats = Annotated[
    str,
    typer.Option(
        "--format",
        metavar="NAME,...",
        autocompletion=completion.one_of(completion.formats),
        help="html, png, svg, pdf, md, latex; separated by commas.",
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="FOLDER",
        help="Where to write; by default the results folder, or a new one for several.",
    ),
]


def report(
    results: Results,
    format_: Formats = "html,png",
    out: Out = None,
    open_: Opened = False,
    json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Draw saved results: one self-contained HTML page, figures, tables for a paper.

    gradlab report results/FOLDER --open
    gradlab report results/FOLDER --format latex,pdf
    gradlab report results/ONE results/OTHER --out results/both
    """
    workers = cores()
    drawing.prepare(results, format_, workers)
    from gradlab.report.build import build, parse_formats

    formats = parse_formats(format_)
    with drawing_shown(quiet) as say_what:
        built = build(
            results, formats if "html" in formats or not open_ else ("html", *formats), out, say_what, workers
        )
    if open_:
        open_page(built.files)
    if json:
        emit({"out": built.out, "files": list(built.files)})
        return 0
    from gradlab.report.terminal import path_text

    screen = console()
    for file in built.files:
        screen.print(path_text(file, Glyphs.of(screen)), soft_wrap=True)
    if not quiet:
        tell(f"next: gradlab diagnose {quote(str(results[0]))}")
    return 0
