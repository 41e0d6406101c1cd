"""What `run` and `compare` share: executing a plan under a progress bar, and showing what came out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gradlab.base.allocator import keep_freed_memory
from gradlab.cli.options import RARE
from gradlab.cli.output import console, tell

if TYPE_CHECKING:
    from gradlab.config.plan import Plan
    from gradlab.lab.experiment import Outcome

Profiled = Annotated[
    bool,
    typer.Option(
        "--profile", help="Print on stderr where the time went, phase by phase.", rich_help_panel=RARE
    ),
]
PHASES = {
    "data": "drawing batches",
    "forward": "forward passes",
    "backward": "backward passes",
    "optimizer": "updates",
    "recording": "probe, statistics, the part of the validation split",
    "evaluation": "the validation split, at the end",
    "prediction": "theory's numbers",
    "writing": "tables",
}


def execute_plan(plan: Plan, *, quiet: bool, profile: bool) -> Outcome:
    """Execute with progress on stderr; with `profile`, say then where the time went."""
    from gradlab.lab.experiment import execute
    from gradlab.report.progress import Progress

    keep_freed_memory()
    outcome = execute(plan, Progress(quiet=quiet))
    if profile:
        _print_profile(outcome.timings)
    return outcome


def _print_profile(timings: Mapping[str, float]) -> None:
    spent = {phase: timings.get(f"{phase}_seconds", 0.0) for phase in PHASES}
    total = sum(spent.values()) or 1.0
    lines = [
        f"{phase:10} {seconds:9.3f} s {100 * seconds / total:5.1f} %  {PHASES[phase]}"
        for phase, seconds in spent.items()
    ]
    tell("\n".join(["time of all processes together:", *lines, f"wall clock {timings['seconds']:9.3f} s"]))


def document(outcome: Outcome) -> dict[str, Any]:
    """The part of the JSON document that every training command has."""
    return {"out": outcome.out, "files": list(outcome.files)}


def show(outcome: Outcome) -> None:
    """Print the summary, the files written and the next command on stdout."""
    from gradlab.report.terminal import print_compare, print_run

    printer = print_run if len(outcome.plan.cells) == 1 else print_compare
    printer(outcome, console())
