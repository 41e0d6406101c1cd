"""What cures that were tried came to: a table, the best one's code and flags, and the same for JSON."""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING, Any

from gradlab.analyse.seeds import mean_interval
from gradlab.cli.fix_option import difference_text

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


def tried_text(tried: Tried) -> str:
    """A table of what was tried, the best first; what to write into one's own code, and the flags that do the same."""
    lines = (
        [f"cures for {', '.join(tried.sick.verdicts)}, on the same seeds{_how(tried)}:"]
        if tried.attempts
        else []
    )
    lines += _table(tried)
    lines += [f"not tried: {_do(cure)}: {reason}" for cure, reason in dict.fromkeys(tried.skipped)]
    if tried.interrupted:
        lines += ["interrupted: the attempts so far are whole"]
    best = tried.best
    if best is None:
        return "\n".join([*lines, *([] if tried.interrupted else _left_to_you(tried, nothing=True))])
    lines += ["", _outcome(tried, best)]
    if best.good or _better(tried, best):  # what came out best by chance is no advice
        lines += ["in your own code:", *(f"  {_line(cure)}" for cure in best.cures)]
        lines += [f"  {note}" for note in _notes(tried, best)]
        if flags := _flags(tried.setting, best.setting):
            lines += [f"with gradlab watch: {flags}{_without(best.setting)}"]
    if not best.good:
        lines += _left_to_you(tried)
    return "\n".join([*lines, f"next: gradlab report {quote(str(best.out))}"])


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


def _table(tried: Tried) -> list[str]:
    """The best first, marked, and what it was last."""
    if not tried.attempts:
        return []
    measure = tried.measure
    rows = [("", "", "changed", "verdict (seeds)", measure.name, "change")]
    for attempt in tried.ranked:
        gain = tried.gain(attempt)
        rows.append(
            (
                BEST if attempt is tried.best else "",
                str(attempt.number),
                " + ".join(_words(tried.setting, attempt.setting)),
                f"{', '.join(attempt.diagnosis.verdicts)} ({attempt.diagnosis.seeds_text})",
                _value(measure.of(attempt.records)),
                "other units" if gain is None else difference_text(gain),
            )
        )
    as_it_was = f"{', '.join(tried.sick.verdicts)} ({tried.sick.seeds_text})"
    rows.append(("", SICK, "nothing", as_it_was, _value(measure.of(tried.records)), ""))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


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


def _left_to_you(tried: Tried, nothing: bool = False) -> list[str]:
    """The cures that change the model's code or the loop's."""
    left = [cure for cure in tried.sick.cures if not cure.mechanical]
    head = ["no cure could be tried without a change of your code"] if nothing else []
    return head + (["what only you can change:", *(f"  {cure}" for cure in left)] if left else [])


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
