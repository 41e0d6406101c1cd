"""Diagnoses as text: one block for each cell, or the rulesets side by side."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap

from gradlab.analyse.findings import Diagnosis
from gradlab.base.text import one_line

WIDTH = 110
SHOWN = ("activation", "depth", "width", "init", "norm", "residual", "optimizer", "lr", "dataset")
COMMON = {"norm": "none", "residual": "none"}


def diagnosis_text(diagnosis: Diagnosis) -> str:
    """The verdicts of one cell with their evidence, what else is worth knowing, and what to try."""
    lines = [f"{cell_text(diagnosis)}: {', '.join(diagnosis.verdicts)} ({diagnosis.seeds_text} seeds)"]
    for finding in diagnosis.findings:
        name = f"{finding.verdict} [{finding.rule}]" if finding.rule else finding.verdict
        lines += _wrapped(f"{name}, {finding.place}: {finding.evidence}")
    for finding in diagnosis.minority:
        lines += _wrapped(f"in fewer seeds: {finding.verdict}, {finding.place}: {finding.evidence}")
    for note in diagnosis.notes:
        lines += _wrapped(note)
    for reason in diagnosis.not_applicable:
        lines += _wrapped(f"not applicable: {reason}")
    if diagnosis.advice:
        lines += _wrapped(f"advice: {diagnosis.advice}")
    return "\n".join(lines)


def side_by_side(diagnoses: Sequence[Diagnosis]) -> str:
    """A line for each cell, a column for each ruleset."""
    rulesets = list(dict.fromkeys(diagnosis.ruleset for diagnosis in diagnoses))
    rows = [["", *rulesets]]
    for start in range(0, len(diagnoses), len(rulesets)):
        cell = diagnoses[start : start + len(rulesets)]
        rows.append([cell_text(cell[0]), *(", ".join(diagnosis.verdicts) for diagnosis in cell)])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def cell_text(diagnosis: Diagnosis) -> str:
    """A cell by its columns, without those that have their usual value; "the table" where there are none."""
    cell = diagnosis.cell
    own = [key for key in cell if key not in ("cell", *SHOWN)]
    known = [key for key in (*SHOWN, *own) if key in cell and str(cell[key]) != COMMON.get(key)]
    parts = [
        one_line(str(cell[key]) if key in ("activation", "optimizer", "dataset") else f"{key} {cell[key]}")
        for key in known
    ]
    return " ".join(parts) or "the table"


def _wrapped(text: str) -> list[str]:
    return wrap(text, WIDTH, initial_indent="  ", subsequent_indent="      ")
