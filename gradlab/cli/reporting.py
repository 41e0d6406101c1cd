"""`--report` of the training commands: the page and the figures beside the tables, as `gradlab report` draws them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gradlab.base.errors import Problem
from gradlab.config import Request

if TYPE_CHECKING:
    from gradlab.lab.experiment import Outcome

Reported = Annotated[bool, typer.Option("--report", help="Also draw the HTML page and the figures.")]


def without_records(request: Request, asked: Mapping[str, bool]) -> list[Problem]:
    """A problem for each flag given that works on records, where --record off makes none."""
    off = request.base.recording.record == "off"
    message, allowed = "it works on records, and --record off makes none", "--record log, all or every:N"
    return [Problem(flag, message, allowed) for flag, given in asked.items() if off and given]


def with_report(outcome: Outcome, wanted: bool) -> Outcome:
    """The outcome with the report's files among its own. A report of this very result is not drawn again."""
    if not wanted or not len(outcome.summary):
        return outcome
    drawn = outcome.out / "report.html"
    files: Sequence[Path]
    if outcome.cached and drawn.exists():
        files = [drawn, *sorted((outcome.out / "figures").glob("*"))]
    else:
        from gradlab.report.build import build

        files = build([outcome.out]).files
    return replace(outcome, files=tuple(dict.fromkeys([*outcome.files, *files])))
