"""`gradlab diagnose`: verdicts from saved results, and remedies that are run."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from gradlab.analyse.findings import GRADLAB
from gradlab.cli.fix_option import repair_document, repair_saved, repair_text
from gradlab.cli.options import AsJson, Quiet
from gradlab.cli.output import emit, tell
from gradlab.report.diagnoses import diagnosis_text, side_by_side

Results = Annotated[Path, typer.Argument(help="A results folder, or a file with the columns of layers.csv.")]
Ruleset = Annotated[
    str,
    typer.Option(
        "--ruleset",
        help="One of `gradlab list rulesets`, a MODULE:FUNCTION of your own, or all rulesets side by side.",
    ),
]
Try = Annotated[
    bool, typer.Option("--try", help="Run remedies on the same seeds until one is healthy and learns.")
]
OneCell = Annotated[
    str | None,
    typer.Option("--cell", metavar="ID", help="The cell to repair, where several are not healthy."),
]


def diagnose(
    results: Results,
    ruleset: Ruleset = GRADLAB,
    try_: Try = False,
    cell: OneCell = None,
    json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Say of every cell whether it is healthy, and if not, why, since when and in which layer."""
    from gradlab.analyse.diagnosis import EVERY
    from gradlab.analyse.results import diagnose_saved, read_saved

    saved = read_saved(results)
    if not (saved.finished or quiet):
        tell(f"{saved.path}: the run is unfinished, and only what was done until then is here")
    if saved.steps is None and not quiet:
        tell("no steps table beside it: nothing can be said about learning")
    found = diagnose_saved(saved, ruleset)
    if not json:
        print(side_by_side(found) if ruleset == EVERY else "\n\n".join(map(diagnosis_text, found)))
    repair = None
    if try_:
        from gradlab.report.progress import Progress

        own = found if ruleset == GRADLAB else diagnose_saved(saved)
        repair = repair_saved(saved, own, cell, Progress(quiet=quiet))
    if json:
        document = {"out": saved.path, "ruleset": ruleset, "diagnoses": [one.as_dict() for one in found]}
        emit(document | ({"repair": repair_document(repair)} if try_ else {}))
    elif repair is not None:
        print("\n" + repair_text(repair))
    elif saved.folder is not None and not quiet:
        sick = ruleset == GRADLAB and any(one.findings for one in found)
        folder = quote(str(saved.folder))
        tell(f"next: gradlab diagnose {folder} --try" if sick else f"next: gradlab report {folder}")
    return 0
