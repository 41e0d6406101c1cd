"""What `run` and `compare` share: executing a plan under a progress bar, and showing what came out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from gradlab.cli.output import tell

if TYPE_CHECKING:
    from gradlab.experiment import Outcome
    from gradlab.plan import Plan

Profiled = Annotated[
    bool, typer.Option("--profile", help="Print on stderr where the time went, function by function.")
]
PROFILE_LINES = 15


def execute_plan(plan: Plan, *, quiet: bool, profile: bool) -> Outcome:
    """Execute with progress on stderr; `profile` does it under cProfile, which slows Python code."""
    from gradlab.experiment import execute
    from gradlab.report.progress import Progress

    observer = Progress(quiet=quiet)
    if not profile:
        return execute(plan, observer)
    import cProfile
    from dataclasses import replace

    profiler = cProfile.Profile()
    here = replace(plan, run=plan.run.model_copy(update={"workers": 1}))  # other processes are not profiled
    outcome = profiler.runcall(execute, here, observer)
    _print_profile(profiler)
    return outcome


def _print_profile(profiler: Any) -> None:
    import io
    import pstats

    text = io.StringIO()
    pstats.Stats(profiler, stream=text).strip_dirs().sort_stats("tottime").print_stats(PROFILE_LINES)
    tell(text.getvalue().strip())


def document(outcome: Outcome) -> dict[str, Any]:
    """The part of the JSON document that every training command has."""
    return {"out": outcome.out, "files": list(outcome.files)}


def show(outcome: Outcome) -> None:
    """Print the summary, the files written and the next command on stdout."""
    from rich.console import Console

    from gradlab.report.terminal import print_compare, print_run

    printer = print_run if len(outcome.plan.cells) == 1 else print_compare
    printer(outcome, Console())
