"""Diagnoses as text: one block for each cell, or the rulesets side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from gradlab.analyse.advice import in_parts
from gradlab.analyse.findings import Diagnosis, verdicts_text
from gradlab.base.text import one_line, wrapped
from gradlab.report import selections
from gradlab.report.commands import advised

SHOWN = ("activation", "depth", "width", "init", "norm", "residual", "optimizer", "lr", "dataset")
COMMON = {"norm": "none", "residual": "none"}
OWN = ("init", "norm", "residual")
"""Columns that say "own" of a user's model, which has none of gradlab's."""
NAMELESS = ("activation", "optimizer", "dataset")
"""Columns whose value says what it is."""


def diagnoses_text(found: Sequence[Diagnosis], width: int, folder: Path | None = None) -> str:
    """A block for each cell, headed by what tells it from the others; what all of them share stands first.

    width: characters a line; a command is longer where it must be. folder: the results, which commands name
    """
    names = labels(found)
    differ = varying(found)
    lines = []
    if len(names) > 1 and (shared := _named({k: v for k, v in found[0].cell.items() if k not in differ})):
        lines += [*wrapped(f"{len(found)} cells; all: {shared}", width), ""]
    blocks = [
        "\n".join(_block(each, names.get(_id(each)) or cell_text(each), width, folder)) for each in found
    ]
    return "\n".join([*lines, "\n\n".join(blocks)])


def _block(diagnosis: Diagnosis, name: str, width: int, folder: Path | None) -> list[str]:
    """The verdicts of one cell with their evidence, what else is worth knowing, and what to try."""

    def indented(text: str) -> list[str]:
        return wrapped(text, width, "  ", "      ")

    lines = wrapped(f"{name}: {verdicts_text(diagnosis.verdicts, diagnosis.seeds_text)}", width, rest="  ")
    for finding in diagnosis.findings:
        head = f"{finding.verdict} [{finding.rule}]" if finding.rule else finding.verdict
        lines += indented(f"{head}, {finding.place}: {finding.evidence}")
    for finding in diagnosis.minority:
        lines += indented(f"in fewer seeds: {finding.verdict}, {finding.place}: {finding.evidence}")
    for note in diagnosis.notes:
        lines += indented(note)
    for reason in diagnosis.not_applicable:
        lines += indented(f"not applicable: {reason}")
    if command := advised(diagnosis.advice, diagnosis.cell, folder):
        lines += [f"  try: {command}", *wrapped(in_parts(diagnosis.advice)[1], width, "      ", "      ")]
    elif diagnosis.advice:
        lines += indented(f"advice: {diagnosis.advice}")
    return lines


def side_by_side(diagnoses: Sequence[Diagnosis], width: int) -> str:
    """For each cell a line a ruleset."""
    names = labels(diagnoses)
    rulesets = list(dict.fromkeys(diagnosis.ruleset for diagnosis in diagnoses))
    room = max(map(len, rulesets)) + 2
    lines = []
    for start in range(0, len(diagnoses), len(rulesets)):
        cell = diagnoses[start : start + len(rulesets)]
        lines += wrapped(names.get(_id(cell[0])) or cell_text(cell[0]), width, rest="  ")
        for each in cell:
            text = ", ".join(each.verdicts)
            lines += wrapped(text, width, f"  {each.ruleset:{room}}", " " * (room + 2))
    return "\n".join(lines)


def labels(diagnoses: Sequence[Diagnosis]) -> dict[str, str]:
    """Of several cells the shortest name that tells each from the others, by id; nothing for one, or without ids."""
    cells = {_id(each): each.cell for each in diagnoses if "cell" in each.cell}
    if len(cells) < 2:
        return {}
    frame = pd.DataFrame([*cells.values()]).assign(seeds=0)  # the cell columns are those before it
    return {cell: one_line(name) for cell, name in selections.labels(frame).items()}


def varying(diagnoses: Sequence[Diagnosis]) -> list[str]:
    """The columns in which the cells differ."""
    return selections.varying(pd.DataFrame([each.cell for each in diagnoses]).assign(seeds=0))


def cell_text(diagnosis: Diagnosis) -> str:
    """A cell by its columns, without those that have their usual value; "the table" where there are none."""
    return _named(diagnosis.cell) or "the table"


def _named(cell: Mapping[str, object]) -> str:
    own = [key for key in cell if key not in ("cell", *SHOWN)]
    said = [key for key in (*SHOWN, *own) if key in cell and str(cell[key]) != COMMON.get(key)]
    known = [key for key in said if key not in OWN or str(cell[key]) != "own"]
    return ", ".join(
        one_line(str(cell[key]) if key in NAMELESS else f"{key} {selections.show(cell[key])}")
        for key in known
    )


def _id(diagnosis: Diagnosis) -> str:
    return str(diagnosis.cell.get("cell", ""))
