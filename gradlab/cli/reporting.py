"""`--report` of the training commands: the page and the figures beside the tables, as `gradlab report` draws them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gradlab.base.errors import Problem
from gradlab.base.machine import cores
from gradlab.cli.pages import PAGE, drawing_shown
from gradlab.config import Request

if TYPE_CHECKING:
    from gradlab.lab.experiment import Outcome

Reported = Annotated[bool, typer.Option("--report", help="Also draw the HTML page and the figures.")]


def without_records(request: Request, asked: Mapping[str, bool]) -> list[Problem]:
    """A problem for each flag given that works on records, where --record off makes none."""
    off = request.base.recording.record == "off"
    message, allowed = "it works on records, and --record off makes none", "--record log, all or every:N"
    return [Problem(flag, message, allowed) for flag, given in asked.items() if off and given]


def with_report(outcome: Outcome, wanted: bool, quiet: bool) -> Outcome:
    """The outcome with the report's files among its own."""
    if not wanted or not len(outcome.summary):
        return outcome
    files = [*outcome.files, *drawn(outcome.out, outcome.cached, quiet)]
    return replace(outcome, files=tuple(dict.fromkeys(files)))


def drawn(out: Path, cached: bool, quiet: bool) -> list[Path]:
    """The page and the figures of a results folder. Those of a result that was there before are not drawn again."""
    if cached and (out / PAGE).exists():
        return [out / PAGE, *sorted((out / "figures").glob("*"))]
    from gradlab.report.build import build

    with drawing_shown(quiet) as say:
        return [*build([out], say=say, workers=cores()).files]
