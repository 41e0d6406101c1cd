"""What `watch --try` and `diagnose --try` on what watch wrote share: trying cures, and saying what each one changed."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from gradlab import config
from gradlab.analyse.origin import is_users, is_watched
from gradlab.base.errors import ConfigError, DataError, Problem, UserError
from gradlab.cli.cells import cell_flag, find_cell
from gradlab.cli.output import console, emit, say, tell
from gradlab.config.files import trust_flag
from gradlab.config.trust import TRUST
from gradlab.lab.interrupt import Interrupted
from gradlab.store.results import CONFIG

if TYPE_CHECKING:
    from gradlab.analyse.findings import Diagnosis
    from gradlab.lab.watch.cures import Tried
    from gradlab.lab.watch.plan import Planned
    from gradlab.report.progress import Progress
    from gradlab.store.results import Results


NO_FAULT = "no fault was found: nothing to try"


def next_command(saved: Results, found: list[Diagnosis]) -> str:
    """What is worth typing after a diagnosis: `--try` where it can help, else the report."""
    assert saved.folder is not None
    folder = quote(str(saved.folder))
    sick = [diagnosis for diagnosis in found if diagnosis.findings and _can_be_tried(saved, diagnosis)]
    if not sick:
        return f"gradlab report {folder}"
    which = cell_flag(sick[0], found) if sum(bool(each.findings) for each in found) > 1 else ""
    trust = f" {TRUST}" if is_users(sick[0].cell) else trust_flag(saved.folder / CONFIG)
    return f"gradlab diagnose {folder} --try{which}{trust}"


def _can_be_tried(saved: Results, diagnosis: Diagnosis) -> bool:
    """Of a user's model: whether `watch` trained it, and a cure is there that it can follow."""

    if not saved.config or saved.folder is None or "cell" not in diagnosis.cell:
        return False
    if not is_users(diagnosis.cell):
        return True
    try:
        data = config.resolve(file=saved.folder / CONFIG, trusted=True).base.data.name
    except UserError:
        return False
    batches = diagnosis.cell.get("dataset") != data
    return (
        is_watched(diagnosis.cell)
        and saved.finished
        and any(cure.mechanical and (batches or not cure.standardises) for cure in diagnosis.cures)
    )


def is_of_users_model(saved: Results, found: list[Diagnosis], wanted: str | None) -> bool:
    """Whether the table is one of a user's model, which has one cell.

    Raises DataError where its loop is the user's own, too, and ConfigError where another cell is wanted.
    """
    if not any(is_users(diagnosis.cell) and "cell" in diagnosis.cell for diagnosis in found):
        return False
    if wanted is not None:
        find_cell(wanted, found)
    if saved.folder is None or not saved.config or not all(is_watched(each.cell) for each in found):
        cures = [cure for each in found for cure in each.cures]
        hint = f"try it there: {cures[0]}" if cures else None
        message = "it was trained in a loop of your own, which gradlab cannot run again"
        raise DataError(Problem(str(saved.path), message, hint=hint))
    return True


def try_saved(
    saved: Results, found: list[Diagnosis], progress: Progress, *, trust: bool, quiet: bool
) -> Tried | None:
    """Try cures on what `watch` wrote; None where it has no fault. Imports the model, where `trust` says so. Raises
    UserError where it was not trained whole, and where model or data are not what they were."""
    from gradlab.lab.watch.cures import named_in, plan_again

    assert saved.folder is not None
    if not any(diagnosis.findings for diagnosis in found):
        return None
    if not saved.finished:
        message, hint = "its training was interrupted", "train it whole first, with the same gradlab watch"
        raise DataError(Problem(str(saved.path), message, hint=hint))
    request = config.resolve(file=saved.folder / CONFIG, trusted=True)
    code = ", ".join(map(repr, named_in(saved, request.base)))
    if not trust:
        message = f"{code} is code, which a results folder does not start by itself"
        allowed = f"{TRUST}, where you trust the folder"
        raise ConfigError(Problem(str(saved.path), message, allowed, "read that code first"))
    if not quiet:
        tell(f"importing {code}, as {saved.path} says")
    planned = plan_again(saved, request.base)
    return try_on(planned, saved, progress, quiet=quiet)


def try_on(planned: Planned, results: Results, progress: Progress, *, quiet: bool) -> Tried | None:
    """Try cures on a training that is finished; None where it has no fault."""
    from gradlab.lab.watch.cures import try_cures

    report = (lambda _: None) if quiet else progress.message if progress.console.is_terminal else tell
    try:
        return try_cures(planned, results, report, progress)
    finally:
        progress.end()


def show_tried(tried: Tried | None, document: dict[str, Any] | None, folder: Path | None) -> None:
    """Print what was tried on a training with these results: as text, or in a document of JSON. Raises Interrupted
    where the user stopped it, after the text."""
    from gradlab.cli.tried import tried_document, tried_text

    if document is None:
        say("\n" + (NO_FAULT if tried is None else tried_text(tried, console().width, folder)))
    if tried is not None and tried.interrupted:
        raise Interrupted
    if document is not None:
        emit({**document, "remedies": None if tried is None else tried_document(tried)})
