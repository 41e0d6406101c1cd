"""`gradlab compare`: a grid of cells."""

from __future__ import annotations

from typing import Annotated

import typer

from gradlab.cli.execution import Profiled, document, execute_plan, show
from gradlab.cli.flags import ConfigFile, Sets, collect_flags, make_plan, warn, with_keys
from gradlab.cli.options import AsJson, Quiet
from gradlab.cli.output import emit

SOME_FAILED = 3


@with_keys
def compare(
    context: typer.Context,
    config: ConfigFile = None,
    set_: Sets = None,
    best_over: Annotated[
        str | None,
        typer.Option(
            "--best-over",
            metavar="KEY",
            help="Of the values of this key, keep the one with the best mean validation accuracy.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the cells and train nothing.")] = False,
    json: AsJson = False,
    quiet: Quiet = False,
    profile: Profiled = False,
    **flags: str | None,
) -> int:
    """Train a grid of configurations and rank them.

    The flags of the panels Network and Training, and --data, take comma-separated lists: one cell for each
    combination.

    gradlab compare --activation sigmoid,relu --depth 5,20,50
    """
    request, problems = collect_flags(context, flags, config, set_, lists=True)
    warn(request, quiet)
    plan = make_plan(request, problems, best_over)
    if dry_run:
        cells = [cell.columns() for cell in plan.cells]
        if json:
            emit({"out": plan.out, "seeds": plan.seeds, "cells": cells})
        else:
            for cell in cells:
                print(*(f"{name}={value}" for name, value in cell.items()))
        return 0
    outcome = execute_plan(plan, quiet=quiet, profile=profile)
    if json:
        failed = [{**failure.cell.columns(), "message": failure.message} for failure in outcome.failed]
        emit({**document(outcome), "cells": outcome.summary.to_dict("records"), "failed": failed})
    else:
        show(outcome)
    return SOME_FAILED if outcome.failed else 0
