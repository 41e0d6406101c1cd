"""`--report` of the training commands: the page and the figures beside the tables, as `gradlab report` draws them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from gradlab.experiment import Outcome

Reported = Annotated[bool, typer.Option("--report", help="Also draw the HTML page and the figures.")]


def with_report(outcome: Outcome, wanted: bool) -> Outcome:
    """The outcome with the report's files among its own, drawn now where it is wanted and there is a result."""
    if not wanted or not len(outcome.summary):
        return outcome
    from gradlab.report.build import build

    files = [*outcome.files, *build([outcome.out]).files]
    return replace(outcome, files=tuple(dict.fromkeys(files)))
