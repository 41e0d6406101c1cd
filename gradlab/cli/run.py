"""`gradlab run`: one cell, several seeds."""

from __future__ import annotations

from typing import Annotated

import typer

from gradlab.base.errors import GradlabError
from gradlab.cli.execution import Profiled, document, execute_plan, show
from gradlab.cli.fix_option import repair_document, repair_outcome, repair_text
from gradlab.cli.flags import ConfigFile, Sets, Trust, collect_flags, make_plan, warn, with_keys
from gradlab.cli.options import AsJson, Opened, Quiet
from gradlab.cli.output import console, emit, say
from gradlab.cli.pages import open_page
from gradlab.cli.reporting import Reported, with_report, without_records
from gradlab.lab.cost import WORTH_WORKERS, least_seconds
from gradlab.lab.worker_server import prepare


@with_keys
def run(
    context: typer.Context,
    config: ConfigFile = None,
    trust: Trust = False,
    set_: Sets = None,
    report: Reported = False,
    open_: Opened = False,
    fix: Annotated[
        bool, typer.Option("--fix", help="If it is not healthy, run remedies on the same seeds until one is.")
    ] = False,
    json: AsJson = False,
    quiet: Quiet = False,
    profile: Profiled = False,
    **flags: str | None,
) -> int:
    """Train one configuration with several seeds and record its gradients, layer by layer.

    gradlab run --activation sigmoid --depth 20
    gradlab run --activation relu --depth 50 --residual scaled --open
    gradlab run --activation gelu --data moons --steps 300 --report
    """
    request, problems = collect_flags(context, flags, config, set_, trust=trust, lists=False)
    warn(request, quiet)
    problems += without_records(request, {"--report": report, "--open": open_, "--fix": fix})
    if not problems and request.base.run.seeds > 1 and least_seconds(request.base) >= WORTH_WORKERS:
        prepare(request.base.run)
    outcome = execute_plan(make_plan(request, problems, quiet=quiet), quiet=quiet, profile=profile)
    if outcome.failed:
        raise GradlabError(
            outcome.failed[0].message, f"kept in {outcome.out}; the same command tries it again"
        )
    outcome = with_report(outcome, report or open_, quiet)
    if not json:
        show(outcome)
    if open_:
        open_page(outcome.files)
    repair = None
    if fix:
        from gradlab.report.progress import Progress

        repair = repair_outcome(outcome, Progress(quiet=quiet))
    if json:
        made = {**document(outcome), "summary": outcome.summary.to_dict("records")[0]}
        emit(made | ({"repair": repair_document(repair)} if fix else {}))
    elif repair is not None:
        say("\n" + repair_text(repair, console().width))
    return 0
