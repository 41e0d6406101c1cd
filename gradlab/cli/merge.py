"""`gradlab merge`: results folders that were made apart, as one."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from gradlab.cli.options import AsJson, Quiet
from gradlab.cli.output import emit, say, tell


def merge(
    results: Annotated[list[Path], typer.Argument(metavar="FOLDER...", help="Two or more results folders.")],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="The folder to write: empty or new.")],
    force: Annotated[bool, typer.Option("--force", help="Replace the results in --out.")] = False,
    json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Join results folders of different cells, or of different seeds of the same cells.

    gradlab merge results/ON-A results/ON-B --out results/both
    """
    from gradlab.lab.merge import merge as join

    merged = join(results, out, force=force, say=(lambda text: None) if quiet else tell)
    if json:
        emit({"out": merged.out, "files": merged.files, "cells": merged.summary.to_dict("records")})
        return 0
    for file in merged.files:
        say(str(file))
    if not quiet:
        tell(f"next: gradlab report {quote(str(merged.out))}")
    return 0
