"""`gradlab diagnose`: verdicts from saved results, and remedies that are run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gradlab.analyse.diagnosis import EVERY
from gradlab.analyse.findings import GRADLAB
from gradlab.analyse.results import diagnose_saved, read_saved
from gradlab.cli import completion
from gradlab.cli.fix_option import repair_document, repair_saved, repair_text
from gradlab.cli.options import AsJson, Quiet
from gradlab.cli.output import console, emit, say, tell
from gradlab.cli.try_option import is_of_users_model, next_command, show_tried, try_saved
from gradlab.report.diagnoses import diagnoses_text, side_by_side

Results = Annotated[
    Path, typer.Argument(metavar="FOLDER", help="A results folder, or a file with the columns of layers.csv.")
]
Ruleset = Annotated[
    str,
    typer.Option(
        "--ruleset",
        metavar="NAME",
        autocompletion=completion.one_of(completion.rulesets),
        help="One of `gradlab list rulesets`, a MODULE:FUNCTION of your own, or all rulesets side by side.",
    ),
]
Try = Annotated[
    bool,
    typer.Option(
        "--try",
        help="Run remedies on the same seeds until one is healthy; code of your own needs --trust.",
    ),
]
Trust = Annotated[
    bool,
    typer.Option(
        "--trust", help="With --try, import the code that the results folder names: your own model."
    ),
]
OneCell = Annotated[
    str | None,
    typer.Option(
        "--cell",
        metavar="NAME",
        help='With --try, the cell to repair, where several are not healthy: "sigmoid, depth 5", or its id.',
    ),
]


def diagnose(
    results: Results,
    ruleset: Ruleset = GRADLAB,
    try_: Try = False,
    trust: Trust = False,
    cell: OneCell = None,
    json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Say of every cell whether it is healthy, and if not, why, since when and in which layer.

    gradlab diagnose results/FOLDER
    gradlab diagnose results/FOLDER --try --cell "sigmoid, depth 20"
    gradlab diagnose results/FOLDER --ruleset all
    """
    saved = read_saved(results)
    for text in () if quiet else saved.unknown:
        tell(f"{saved.path}: {text}")
    found = diagnose_saved(saved, ruleset)
    width = console().width
    if not json:
        say(side_by_side(found, width) if ruleset == EVERY else diagnoses_text(found, width, saved.folder))
    document = {"out": saved.path, "ruleset": ruleset, "diagnoses": [one.as_dict() for one in found]}
    if try_:
        from gradlab.report.progress import Progress

        own = found if ruleset == GRADLAB else diagnose_saved(saved)
        if is_of_users_model(saved, own, cell):
            show_tried(
                try_saved(saved, own, Progress(quiet=quiet), trust=trust, quiet=quiet),
                document if json else None,
                saved.folder,
            )
            return 0
        repair = repair_saved(saved, own, cell, trust, Progress(quiet=quiet))
        document["repair"] = repair_document(repair)
        if repair is not None and not json:
            say("\n" + repair_text(repair, width))
    elif saved.folder is not None and not (quiet or json):
        tell(f"next: {next_command(saved, found if ruleset == GRADLAB else [])}")
    if json:
        emit(document)
    return 0
