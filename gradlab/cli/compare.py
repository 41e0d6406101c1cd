"""`gradlab compare`: a grid of cells."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from gradlab.base.places import short_path
from gradlab.cli import completion
from gradlab.cli.execution import Profiled, document, execute_plan, show
from gradlab.cli.flags import ConfigFile, Sets, Trust, collect_flags, make_plan, warn, with_keys
from gradlab.cli.options import AsJson, Opened, Quiet
from gradlab.cli.output import console, emit, tell
from gradlab.cli.pages import open_page
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
            autocompletion=completion.keys,
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
    open_: Opened = False,
    json: AsJson = False,
    quiet: Quiet = False,
    profile: Profiled = False,
    **flags: str | None,
) -> int:
    """Train a grid of configurations and rank them.

    gradlab compare --activation sigmoid,relu --depth 5,20,50
    gradlab compare --config init-matters --open
    gradlab compare --activation relu,tanh --lr 0.01,0.03,0.1 --best-over lr

    The flags of the panels Network and Training, and --data, take comma-separated lists: each combination is a cell.
    """
    request, problems = collect_flags(context, flags, config, set_, trust=trust, lists=True)
    warn(request, quiet)
    problems += without_records(request, {"--report": report, "--open": open_})
    if not (dry_run or problems):
        prepare(request.base.run)
    plan = make_plan(request, problems, best_over, yes=yes, quiet=quiet)
    if dry_run:
        return _describe(plan, json=json, quiet=quiet)
    outcome = with_report(execute_plan(plan, quiet=quiet, profile=profile), report or open_, quiet)
    if json:
        failed = [{**failure.cell.columns(), "message": failure.message} for failure in outcome.failed]
        emit({**document(outcome), "cells": outcome.summary.to_dict("records"), "failed": failed})
    else:
        show(outcome)
    if open_:
        open_page(outcome.files)
    return SOME_FAILED if outcome.failed else 0


def _describe(plan: Plan, *, json: bool, quiet: bool) -> int:
    """Say what a plan would train, how long by a few measured steps, and where it would write."""
    from gradlab.lab.estimate import estimate

    found = estimate(plan)
    cells = [cell.columns() for cell in plan.cells]
    if json:
        emit({"out": plan.out, "seeds": plan.seeds, "cells": cells, **asdict(found)})
        return 0
    from gradlab.report.terminal import print_plan

    print_plan(cells, console())
    if not quiet:
        tell(
            f"{len(cells)} cells of {len(plan.seeds)} seeds: {found.stacks} stacks (seeds trained together), "
            f"{found.finished} of them finished"
        )
        if found.workers:
            processes = "1 process" if found.workers == 1 else f"{found.workers} processes"
            tell(f"about {found.seconds:.0f} s in {processes}, by steps measured now")
        tell(f"results in {short_path(plan.out)}: layers, steps and summary as {plan.run.tables}")
    return 0
