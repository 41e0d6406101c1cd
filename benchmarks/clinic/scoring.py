"""What the clinic comes to: shares with Wilson's intervals, for gradlab and every other ruleset."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from pathlib import Path
from statistics import mean

from benchmarks.clinic.judging import SEEDS, Followed, Judged, part
from benchmarks.clinic.program import Program
from benchmarks.detectors.scoring import Rate, wilson

ROWS = Path(__file__).with_name("programs.csv")
HALF = 0.5
"""Share of the gap between the faulty and the mended form that a cure must close, in two of three seeds."""

FLOW = (
    "Vanishing gradients detected", "Exploding gradients detected", "Gradient stalling", "Update ratio too low",
    "Update ratio too high",
)  # fmt: skip
"""Torchmortem's rules of the gradient's flow and of the update ratio."""

READINGS: Mapping[str, tuple[str, Callable[[str], bool]]] = {
    "gradlab": ("gradlab", lambda rule: True),
    "smdebug": ("smdebug", lambda rule: True),
    "autotrainer": ("autotrainer", lambda rule: True),
    "deepchecker": ("deepchecker", lambda rule: True),
    "torchmortem": ("torchmortem", lambda rule: True),
    "torchmortem, gradient flow and update ratio": ("torchmortem", lambda rule: rule in FLOW),
    "neuraldbg": ("neuraldbg", lambda rule: True),
    "neuraldbg, end states": ("neuraldbg", lambda rule: rule.endswith(" at the end")),
}
"""How each tool is read: its ruleset, and which of its rules count."""


def said(found: Judged, reading: str) -> list[set[str]]:
    """The faults that one reading found with each seed."""
    ruleset, counts = READINGS[reading]
    return [{word for word, rule in pairs if counts(rule)} for pairs in found.fired.get(ruleset, [])]


def is_mended(
    after: Followed, faulty: Sequence[float], mended: Sequence[float], rounds: int | None = None
) -> bool:
    """Whether it got at least halfway from the faulty to the mended form in two of three seeds; rounds: only so many
    cures count."""
    known = [score for score in faulty if isfinite(score)]
    low = mean(known) if known else min(mended) - 1.0
    aim = low + HALF * (mean(mended) - low)
    best = [max(filter(isfinite, scores[:rounds]), default=-float("inf")) for scores in after.scores]
    return sum(score >= aim for score in best) * 2 > len(SEEDS)


def shares(
    found: Sequence[Judged], programs: Mapping[str, Program], reading: str, which: str
) -> dict[str, Rate]:
    """detected, named, alarms: of programs, each by what holds in most of its seeds."""
    here = [one for one in found if which in ("all", part(one.name))]
    ill = [one for one in here if one.form == "faulty"]
    well = [one for one in here if one.form != "faulty"]

    def most(one: Judged, holds: Callable[[set[str]], bool]) -> bool:
        return sum(map(holds, said(one, reading))) * 2 > len(SEEDS)

    detected = sum(most(one, lambda words, p=programs[one.name]: bool(words & p.accepted)) for one in ill)
    named = sum(most(one, lambda words, p=programs[one.name]: bool(words & p.cause)) for one in ill)
    alarms = sum(most(one, bool) for one in well)
    return {
        "detected": wilson(detected, len(ill)),
        "cause named": wilson(named, len(ill)),
        "false alarms": wilson(alarms, len(well)),
    }


def tables(found: Sequence[Judged], after: Sequence[Followed], programs: Mapping[str, Program]) -> str:
    """The tables of docs/clinic.md, in Markdown."""
    lines: list[str] = []
    for which in ("held", "chosen"):
        ill = sum(one.form == "faulty" and part(one.name) == which for one in found)
        well = sum(one.form != "faulty" and part(one.name) == which for one in found)
        lines += [f"### {which}: {ill} faulty programs, {well} that work", ""]
        lines += ["| reading | detected | cause named | false alarms |", "|---|---|---|---|"]
        for reading in READINGS:
            rates = shares(found, programs, reading, which)
            lines.append(f"| {reading} | " + " | ".join(_rate(rate) for rate in rates.values()) + " |")
        scores = {(one.name, one.form): one.scores for one in found}
        here = [one for one in after if part(one.name) == which]
        for text, rounds in (
            ("the first advice alone", 1),
            ("up to three pieces of advice, one after another", None),
        ):
            hits = sum(
                is_mended(one, scores[one.name, "faulty"], scores[one.name, "mended"], rounds) for one in here
            )
            lines.append("")
            lines.append(f"Mended by {text}: {_rate(wilson(hits, len(here)))} of {len(here)} programs.")
        lines.append("")
    return "\n".join(lines)


def _rate(rate: Rate) -> str:
    value, low, high = rate
    return f"{value:.2f} ({low:.2f} to {high:.2f})"


def write_rows(found: Sequence[Judged], after: Sequence[Followed], programs: Mapping[str, Program]) -> None:
    """One row a form: what each ruleset said, seed by seed."""
    cures = {one.name: one for one in after}
    with ROWS.open("w", encoding="utf-8", newline="") as handle:
        rulesets = [*found[0].words]
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(
            ["name", "form", "part", "accepted", "cause", "score", *rulesets, "advice", "score_after"]
        )
        for one in found:
            program, told = programs[one.name], cures.get(one.name) if one.form == "faulty" else None
            writer.writerow(
                [
                    one.name, one.form, part(one.name), " ".join(sorted(program.accepted)),
                    " ".join(sorted(program.cause)), " ".join(f"{score:.4g}" for score in one.scores),
                    *("; ".join(",".join(words) for words in one.words[name]) for name in rulesets),
                    "" if told is None else "; ".join(", ".join(each) for each in told.cures),
                    "" if told is None else "; ".join(", ".join(f"{s:.4g}" for s in each) for each in told.scores),
                ]
            )  # fmt: skip
