"""`gradlab report`: pictures, page and tables of saved results."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from gradlab.cli.options import AsJson, Quiet
from gradlab.cli.output import emit, say, tell

Results = Annotated[list[Path], typer.Argument(help="One or several results folders.")]
Formats = Annotated[
    str, typer.Option("--format", help="html, png, svg, pdf, md, latex; separated by commas.")
]
Out = Annotated[
    Path | None,
    typer.Option("--out", help="Where to write; by default the results folder, or a new one for several."),
]


def report(
    results: Results,
    format_: Formats = "html,png",
    out: Out = None,
    json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Draw saved results: one self-contained HTML page, figures, tables for a paper."""
    from gradlab.report.build import build, parse_formats

    built = build(results, parse_formats(format_), out)
    if json:
        emit({"out": built.out, "files": list(built.files)})
        return 0
    for file in built.files:
        say(str(file))
    if not quiet:
        tell(f"next: gradlab diagnose {quote(str(results[0]))}")
    return 0
