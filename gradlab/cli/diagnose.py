"""`gradlab diagnose`: verdicts from saved results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gradlab.cli.options import AsJson, Quiet
from gradlab.cli.output import emit, tell

Results = Annotated[Path, typer.Argument(help="A results folder, or a file with the columns of layers.csv.")]
Ruleset = Annotated[
    str, typer.Option("--ruleset", help="gradlab, smdebug, autotrainer, deepchecker, or all side by side.")
]


def diagnose(
    results: Results,
    ruleset: Ruleset = "gradlab",
    json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Say of every cell whether it is healthy, and if not, why, since when and in which layer."""
    from gradlab.analyse.reading import diagnose_saved, read_saved
    from gradlab.report.diagnoses import diagnosis_text, side_by_side

    saved = read_saved(results)
    if not (saved.finished or quiet):
        tell(f"{saved.path} has no manifest: the run is unfinished, and only its finished cells are here")
    if saved.steps is None and not quiet:
        tell("no steps table beside it: nothing can be said about learning")
    found = diagnose_saved(saved, ruleset)
    if json:
        emit(
            {"out": saved.path, "ruleset": ruleset, "diagnoses": [diagnosis.as_dict() for diagnosis in found]}
        )
        return 0
    if ruleset == "all":
        print(side_by_side(found))
    else:
        print("\n\n".join(diagnosis_text(diagnosis) for diagnosis in found))
    if saved.folder is not None and not quiet:
        tell(f"next: gradlab report {saved.folder}")
    return 0
