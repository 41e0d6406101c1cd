"""What cures that were tried came to: a table, the best one's code and flags, and the same for JSON."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from rich.table import Table

from gradlab.analyse.findings import verdicts_text
from gradlab.analyse.seeds import mean_interval
from gradlab.base.places import short_path
from gradlab.base.text import wrapped
from gradlab.cli.fix_option import difference_text
from gradlab.report.commands import again
from gradlab.report.console import PlainConsole

if TYPE_CHECKING:
    from gradlab.analyse.cure import Cure
    from gradlab.lab.watch.cures import Attempt, Setting, Tried

DONE = {
    "standardise-inputs": "inputs standardised",
    "standardise-targets": "targets standardised",
    "initial-weights": "weights of unit variance",
}
"""What an attempt did that no key says, in the table."""

BEST, SICK = "*", "-"


def tried_text(tried: Tried, width: int, folder: Path | None) -> str:
    """A table of what was tried, the best first; what to write into one's own code, and the command that does the same.

    width: characters a line, but for code and commands; folder: the sick training's results
    """
    lines = []
    if tried.attempts:
        lines = wrapped(f"cures for {', '.join(tried.sick.verdicts)}, on the same seeds{_how(tried)}:", width)
    lines += _table(tried, width)
    for cure, reason in dict.fromkeys(tried.skipped):
        lines += wrapped(f"not tried: {_do(cure)}: {reason}", width, rest="  ")
    if tried.interrupted:
        lines += ["interrupted: the attempts so far are whole"]
    best = tried.best
    if best is None:
        return "\n".join([*lines, *([] if tried.interrupted else _left_to_you(tried, width, nothing=True))])
    lines += ["", *wrapped(_outcome(tried, best), width)]
    if best.good or _better(tried, best):  # what came out best by chance is no advice
        lines += ["in your own code:", *(f"  {_line(cure)}" for cure in best.cures)]
        for note in _notes(tried, best):
            lines += wrapped(note, width, "  ", "  ")
        flags = _flags(tried.setting, best.setting)
        if flags and (command := again(tried.sick.cell, folder, flags)):
            lines += [f"with gradlab watch{_without(best.setting)}:", f"  {command}"]
    if not best.good:
        lines += _left_to_you(tried, width)
    return "\n".join([*lines, f"next: gradlab report {quote(short_path(best.out))}"])


def tried_document(tried: Tried) -> dict[str, Any]:
    """The same for JSON."""
    measure, best = tried.measure, tried.best
    attempts = []
    for attempt in tried.attempts:
        mean, half, _ = mean_interval([*measure.of(attempt.records).values()])
        gain = tried.gain(attempt)
        attempts.append(
            {
                "number": attempt.number,
                "changes": _changes(tried.setting, attempt.setting),
                "cures": [vars(cure) for cure in attempt.cures],
                "flags": _flags(tried.setting, attempt.setting),
                "out": attempt.out,
                "verdicts": attempt.diagnosis.verdicts,
                "verdict_seeds": attempt.diagnosis.seeds_text,
                f"{measure.column}_mean": float(mean),
                f"{measure.column}_ci95": float(half),
                "gain": None if gain is None else gain._asdict(),
                "healthy": attempt.good,
            }
        )
    mean, half, _ = mean_interval([*measure.of(tried.records).values()])
    return {
        "verdicts": tried.sick.verdicts,
        "verdict_seeds": tried.sick.seeds_text,
        "score": measure.column,
        f"{measure.column}_mean": float(mean),
        f"{measure.column}_ci95": float(half),
        "attempts": attempts,
        "skipped": [{"cure": vars(cure), "reason": reason} for cure, reason in dict.fromkeys(tried.skipped)],
        "best": None if best is None else best.number,
        "healed": best is not None and best.good,
        "notes": [] if best is None else _notes(tried, best),
    }


NARROW = 70
"""Characters a line below which what was tried is a list and no table."""


def _table(tried: Tried, width: int) -> list[str]:
    """The best first, marked, and what it was last; words are folded where the line is short, numbers never."""
    if not tried.attempts:
        return []
    rows = [*(_row(tried, attempt) for attempt in tried.ranked), _row(tried, None)]
    if width < NARROW:
        texts = ([each for each in row[2:] if each] for row in rows)
        return [
            line
            for row, text in zip(rows, texts, strict=True)
            for line in wrapped("; ".join(text), width, f"{row[0]:1} {row[1]} ", "    ")
        ]
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="", show_edge=False)
    for name in ("", "", "changed", "verdict", tried.measure.name, "change"):
        table.add_column(name, no_wrap=name in (tried.measure.name, "change"))
    for row in rows:
        table.add_row(*row)
    drawn = StringIO()
    PlainConsole(drawn, width=width).print(table)
    return [line.rstrip() for line in drawn.getvalue().splitlines()]


def _row(tried: Tried, attempt: Attempt | None) -> tuple[str, ...]:
    """Of an attempt, or of the training as it was."""
    if attempt is None:
        verdicts = verdicts_text(tried.sick.verdicts, tried.sick.seeds_text)
        return "", SICK, "nothing", verdicts, _value(tried.measure.of(tried.records)), ""
    gain, found = tried.gain(attempt), attempt.diagnosis
    return (
        BEST if attempt is tried.best else "",
        str(attempt.number),
        " + ".join(_words(tried.setting, attempt.setting)),
        verdicts_text(found.verdicts, found.seeds_text),
        _value(tried.measure.of(attempt.records)),
        "other units" if gain is None else difference_text(gain),
    )


def _how(tried: Tried) -> str:
    pairs = max((gain.pairs for each in tried.attempts if (gain := tried.gain(each))), default=0)
    if not pairs:
        return ""
    return (
        " (a single seed: no interval)"
        if pairs == 1
        else " (changes are paired by seed, with 95 % intervals)"
    )


def _value(by_seed: dict[int, float]) -> str:
    mean, half, seeds = mean_interval([*by_seed.values()])
    if mean != mean:
        return "n/a"
    return f"{mean:.4g}" + (f" ± {half:.2g}" if seeds > 1 and half == half else "")


def _outcome(tried: Tried, best: Attempt) -> str:
    if best.good:
        return f"attempt {best.number} is healthy"
    unlike = "better than it was" if _better(tried, best) else "not known to be better than it was"
    return f"none of them is healthy; attempt {best.number} came out best, and is {unlike}"


def _better(tried: Tried, attempt: Attempt) -> bool:
    """Whether the measure is better than before by more than seeds explain."""
    gain = tried.gain(attempt)
    sign = -1 if tried.measure.is_loss else 1
    return gain is not None and sign * gain.mean > 0 and not gain.within_noise


def _line(cure: Cure) -> str:
    return f"{cure.code}  # {cure.reason}"


def _notes(tried: Tried, best: Attempt) -> list[str]:
    """What else to know of an attempt: which rows its inputs and targets were standardised by, and what to undo."""
    from gradlab.lab.watch.prepared import FIRST_BATCHES, INPUTS, TARGETS

    done = best.setting.prepared
    notes = []
    if {INPUTS, TARGETS} & {*done}:
        notes.append(f"here by the first {FIRST_BATCHES} batches of each seed, or all where there are fewer")
    if TARGETS in done:
        notes.append("outputs are in the new unit: outputs * y_train.std(0) + y_train.mean(0) undoes it")
    return notes


def _left_to_you(tried: Tried, width: int, nothing: bool = False) -> list[str]:
    """The cures that change the model's code or the loop's."""
    left = [cure for cure in tried.sick.cures if not cure.mechanical]
    lines = ["no cure could be tried without a change of your code"] if nothing else []
    lines += ["what only you can change:"] if left else []
    for cure in left:
        lines += wrapped(str(cure), width, "  ", "    ")
    return lines


def _do(cure: Cure) -> str:
    return cure.do if cure.to == "" else f"{cure.do} {cure.to}"


def _changes(old: Setting, new: Setting) -> dict[str, Any]:
    """Every key of [training] that differs, and what was done before that was not done then."""
    before, after = (each.config.training.model_dump() for each in (old, new))
    changed = {f"training.{key}": value for key, value in after.items() if value != before[key]}
    return {**changed, **{word: True for word in new.prepared if word not in old.prepared}}


def _words(old: Setting, new: Setting) -> list[str]:
    changes = _changes(old, new).items()
    return [
        DONE[key] if key in DONE else f"{key.partition('.')[2]} {_plain(value)}" for key, value in changes
    ]


def _flags(old: Setting, new: Setting) -> str:
    changes = _changes(old, new).items()
    return " ".join(
        f"--{key.partition('.')[2].replace('_', '-')} {quote(_plain(value))}"
        for key, value in changes
        if key not in DONE
    )


def _without(setting: Setting) -> str:
    rest = [DONE[word] for word in setting.prepared]
    return f", but for {' and '.join(rest)}" if rest else ""


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
