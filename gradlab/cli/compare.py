"""`gradlab compare`: a grid of cells."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from gradlab.base.text import one_line
from gradlab.cli.execution import Profiled, document, execute_plan, show
from gradlab.cli.flags import ConfigFile, Sets, Trust, collect_flags, make_plan, warn, with_keys
from gradlab.cli.options import AsJson, Quiet
from gradlab.cli.output import emit, say, tell
from gradlab.cli.reporting import Reported, with_report, without_records
from gradlab.lab.worker_server import prepare

if TYPE_CHECKING:
    from gradlab.config.plan import Plan

SOME_FAILED = 3


@with_keys
def compare(
    context: typer.Context,
    config: ConfigFile = None,
    trust: Trust = False,
    set_: Sets = None,
    best_over: Annotated[
        str | None,
        typer.Option(
            "--best-over",
            metavar="KEY",
            help="Of the values of this key, keep the one with the best mean validation accuracy, or R^2.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the cells, stacks, time and place; keep nothing.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Plan a grid of more than 10,000 cells without asking back.")
    ] = False,
    report: Reported = False,
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
    request, problems = collect_flags(context, flags, config, set_, trust=trust, lists=True)
    warn(request, quiet)
    problems += without_records(request, {"--report": report})
    if not (dry_run or problems):
        prepare(request.base.run)
    plan = make_plan(request, problems, best_over, yes=yes, quiet=quiet)
    if dry_run:
        return _describe(plan, json=json, quiet=quiet)
    outcome = with_report(execute_plan(plan, quiet=quiet, profile=profile), report)
    if json:
        failed = [{**failure.cell.columns(), "message": failure.message} for failure in outcome.failed]
        emit({**document(outcome), "cells": outcome.summary.to_dict("records"), "failed": failed})
    else:
        show(outcome)
    return SOME_FAILED if outcome.failed else 0


def _describe(plan: Plan, *, json: bool, quiet: bool) -> int:
    """Say what a plan would train, how long by a few measured steps, and where it would write."""
    from gradlab.lab.estimate import estimate

    found = estimate(plan)
    cells = [cell.columns() for cell in plan.cells]
    if json:
        emit({"out": plan.out, "seeds": plan.seeds, "cells": cells, **asdict(found)})
        return 0
    for cell in cells:
        say(" ".join(f"{name}={one_line(str(value))}" for name, value in cell.items()))
    if not quiet:
        tell(
            f"{len(cells)} cells of {len(plan.seeds)} seeds: {found.stacks} stacks, {found.finished} of them finished"
        )
        if found.workers:
            processes = "1 process" if found.workers == 1 else f"{found.workers} processes"
            tell(f"about {found.seconds:.0f} s in {processes}, by steps measured now")
        tell(f"results in {plan.out}: layers, steps and summary as {plan.run.tables}")
    return 0
