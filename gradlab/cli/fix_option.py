"""What `diagnose --try` and `run --fix` share: trying remedies on one cell and saying what each one changed."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from gradlab import config
from gradlab.analyse.findings import NO_FAULT, verdicts_text
from gradlab.base.errors import ConfigError, DataError, Problem
from gradlab.base.places import short_path
from gradlab.base.text import wrapped
from gradlab.cli.cells import FLAG, cell_flag, find_cell
from gradlab.config.files import trust_flag

if TYPE_CHECKING:
    from gradlab.analyse.findings import Diagnosis
    from gradlab.analyse.seeds import Difference
    from gradlab.lab.experiment import Outcome
    from gradlab.lab.observe import Observer
    from gradlab.lab.repair import Repair
    from gradlab.store.results import Results


def repair_saved(
    saved: Results, found: list[Diagnosis], wanted: str | None, trust: bool, observer: Observer
) -> Repair | None:
    """Try remedies on the sick cell of a results folder; None where every cell is healthy.

    wanted: the cell to repair, by its id or its name, needed where several are sick; trust: whether the code that its
    configuration names is imported. Raises UserError where no configuration is beside the tables, or no such cell.
    """
    from gradlab.config import plan
    from gradlab.lab import changes, repair

    if saved.folder is None or not (saved.folder / "config.toml").is_file():
        raise DataError(
            Problem(
                str(saved.path), "remedies need the configuration that made these results", "a results folder"
            )
        )
    if any("cell" not in d.cell for d in found):
        message = "it has no column 'cell', which says what to repair"
        raise DataError(Problem(str(saved.sources["layers"]), message, "a table that gradlab wrote"))
    sick = {str(d.cell["cell"]): d for d in found if d.findings}
    commands = [
        f"gradlab diagnose {quote(str(saved.path))} --try{cell_flag(d, found)}" for d in sick.values()
    ]
    if wanted is not None:
        chosen = find_cell(wanted, found)
        if chosen not in sick:
            hint = commands[0] if commands else "no cell has one: there is nothing to mend"
            raise ConfigError(Problem(FLAG, f"{wanted!r} has no fault", hint=hint))
        sick = {chosen: sick[chosen]}
    if not sick:
        return None
    if len(sick) > 1:
        trust_it = trust_flag(saved.folder / "config.toml")
        hint = commands[0] + trust_it
        names = "; ".join(cell_flag(d, found).removeprefix(f" {FLAG} ") for d in sick.values())
        raise ConfigError(Problem(FLAG, f"{len(sick)} cells have faults", f"one of {names}", hint))
    ((name, diagnosis),) = sick.items()
    request = config.resolve(file=saved.folder / "config.toml", trusted=trust, lists=True)
    cells = {cell.id: cell for cell in plan.make(request).cells}
    if name not in cells:
        hint = "it was made by another version, or the data has changed since"
        raise DataError(
            Problem(str(saved.folder / "config.toml"), f"it does not give cell {name}", hint=hint)
        )
    assert saved.steps is not None, "a results folder with a configuration has a steps table"
    return repair.try_remedies(
        repair.cell_config(request, cells[name]),
        saved.layers[saved.layers["cell"] == name],
        saved.steps[saved.steps["cell"] == name],
        diagnosis.verdicts,
        saved.folder / changes.FOLDER,
        observer=observer,
    )


def repair_outcome(outcome: Outcome, observer: Observer) -> Repair | None:
    """Try remedies on the one cell of a run; None where it is healthy."""
    from gradlab.lab import changes, repair

    verdicts = tuple(str(outcome.summary["verdict"].iloc[0]).split(","))
    if verdicts in NO_FAULT:
        return None
    return repair.try_remedies(
        repair.cell_config(outcome.plan.request, outcome.plan.cells[0]),
        outcome.layers,
        outcome.steps,
        verdicts,
        outcome.out / changes.FOLDER,
        observer=observer,
    )


def repair_text(repair: Repair, width: int) -> str:
    """A few lines for each attempt with its paired effects, and where the repaired configuration is."""
    sick = ", ".join(repair.verdicts)
    pairs = max((attempt.gain.pairs for attempt in repair.attempts), default=0)
    how = (
        "a single seed: no interval" if pairs == 1 else "differences are paired by seed, with 95 % intervals"
    )
    lines = wrapped(f"remedies for {sick}, on the same seeds ({how}):", width)
    for number, attempt in enumerate(repair.attempts, start=1):
        changes = " ".join(f"{key}={value}" for key, value in attempt.changes.items())
        verdicts = verdicts_text(attempt.verdicts, attempt.verdict_seeds)
        for nth, text in enumerate(
            (
                f"{changes}: {verdicts}",
                f"{attempt.remedy.reason} ({attempt.remedy.source})",
                f"{attempt.score.name} {attempt.value:.3f}, change {difference_text(attempt.gain)}",
                f"decay per layer {difference_text(attempt.decay)}, dead share {difference_text(attempt.dead)}",
            )
        ):
            lines += wrapped(text, width, "   " if nth else f"{number}. ", "   ")
    if repair.best is None or repair.file is None:
        return "\n".join([*lines, "no remedy could be run"])
    number = repair.attempts.index(repair.best) + 1
    end = "healthy, and it learns" if repair.repaired else "the best that was found, not yet a good net"
    lines += [
        f"attempt {number}: {end}",
        *wrapped(f"written to {short_path(repair.file)}", width),
        f"next: gradlab run --config {quote(short_path(repair.file))}{trust_flag(repair.file)}",
    ]
    return "\n".join(lines)


def repair_document(repair: Repair | None) -> dict[str, Any] | None:
    """The same for JSON."""
    if repair is None:
        return None
    attempts = [
        {
            "changes": attempt.changes,
            "reason": attempt.remedy.reason,
            "source": attempt.remedy.source,
            "out": attempt.out,
            "verdicts": attempt.verdicts,
            "verdict_seeds": attempt.verdict_seeds,
            attempt.score.mean: attempt.value,
            attempt.score.half_width: attempt.value_ci95,
            "effects": {
                "decay_per_layer": attempt.decay._asdict(),
                "dead_fraction_max": attempt.dead._asdict(),
                attempt.score.column: attempt.gain._asdict(),
            },
            "good": attempt.good,
        }
        for attempt in repair.attempts
    ]
    best = None if repair.best is None else repair.attempts.index(repair.best)
    file: Path | None = repair.file
    return {
        "verdicts": repair.verdicts,
        "attempts": attempts,
        "best": best,
        "repaired": repair.repaired,
        "file": file,
    }


def difference_text(difference: Difference) -> str:
    """`+0.82 +- 0.03`; a single seed has no interval, and a value that is not finite no difference."""
    if difference.mean != difference.mean:
        return "n/a"
    interval = "" if difference.half_width != difference.half_width else f" ± {difference.half_width:.2g}"
    return f"{difference.mean:+.3g}{interval}"
