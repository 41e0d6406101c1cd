"""`gradlab run`: one cell, several seeds."""

from __future__ import annotations

import typer

from gradlab.cli.execution import Profiled, document, execute_plan, show
from gradlab.cli.flags import ConfigFile, Sets, collect_flags, make_plan, warn, with_keys
from gradlab.cli.options import AsJson, Quiet
from gradlab.cli.output import emit
from gradlab.cli.reporting import Reported, with_report
from gradlab.errors import GradlabError


@with_keys
def run(
    context: typer.Context,
    config: ConfigFile = None,
    set_: Sets = None,
    report: Reported = False,
    json: AsJson = False,
    quiet: Quiet = False,
    profile: Profiled = False,
    **flags: str | None,
) -> int:
    """Train one configuration with several seeds and record its gradients, layer by layer."""
    request, problems = collect_flags(context, flags, config, set_, lists=False)
    warn(request, quiet)
    outcome = execute_plan(make_plan(request, problems), quiet=quiet, profile=profile)
    if outcome.failed:
        raise GradlabError(outcome.failed[0].message)
    outcome = with_report(outcome, report)
    if json:
        emit({**document(outcome), "summary": outcome.summary.to_dict("records")[0]})
    else:
        show(outcome)
    return 0
