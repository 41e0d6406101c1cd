"""What the first screen of a page answers: what happened, what was trained, how sure that is, why, what to try."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import numpy as np
from markupsafe import Markup, escape

from gradlab.analyse.diagnosis import diagnose
from gradlab.analyse.findings import Diagnosis
from gradlab.base.errors import GradlabError
from gradlab.report import explained, selections
from gradlab.report.pictures import Way
from gradlab.report.selections import Tables
from gradlab.report.svg import Drawing


@dataclass(frozen=True)
class Number:
    """A number that a reader takes along: the value, what it is, and what it is compared with."""

    value: str
    label: str
    beside: str = ""


@dataclass(frozen=True)
class Fact:
    """A line of the first screen: its question and the answer."""

    name: str
    text: str


@dataclass(frozen=True, kw_only=True)
class FirstScreen:
    headline: str
    numbers: Sequence[Number]
    facts: Sequence[Fact]
    command: str
    reason: str
    hero: Sequence[Drawing] = ()
    hero_title: str = ""
    hero_caption: str = ""
    matrix: Any = None
    lead: str = ""
    evidence: Sequence[tuple[str, Sequence[str]]] = field(default=())


def superscripts(text: str) -> Markup:
    """Escaped text in which powers of ten, `10^-12`, have a real superscript."""
    text = text.replace(" × 10^", "\u00a0×\u00a010^")
    return Markup(
        re.sub(
            r"\b10\^(-?\d+(?:\.\d+)?)",
            lambda found: f"10<sup>{found[1].replace('-', '−')}</sup>",
            str(escape(text)),
        )
    )


def scientific(decades: float) -> str:
    """10 to so many decades in three digits: `0.66`, `8.3 × 10^-13`."""
    if not isfinite(decades):
        return "0" if decades < 0 else "∞"
    if -3 <= decades < 4:
        return f"{10.0**decades:.3g}"
    whole = int(np.floor(decades))
    digits = f"{10.0 ** (decades - whole):.2g}"
    if digits == "10":
        digits, whole = "1", whole + 1
    return f"{digits} × 10^{whole}"


def counts_of(row: dict[str, Any]) -> str:
    return ", ".join(f"{name} in {text.replace('/', ' of ')}" for name, text in selections.verdicts(row))


def way_of(data: Tables) -> Way | None:
    """The way down at the first record, of a user's model with branches the stream's; None of a line of one layer."""
    every = explained.with_delta(explained.first_record(explained.hidden_of(data)))
    line, *others = selections.lines(every)
    rows = every[every["layer"].isin(line)]
    if rows["layer"].nunique() < 2 or not rows["delta_rms"].notna().any():
        return None
    beside = []
    for layers in others:
        _, at, values = selections.cube(every[every["layer"].isin(layers)], "delta_rms")
        beside.append((at, selections.log10(values[:, :, 0]).mean(0)))
    _, numbers, cube = selections.cube(rows, "delta_rms")
    logs = selections.log10(cube[:, :, 0])
    theory = np.full(len(numbers), np.nan)
    if "delta_rms_predicted" in rows and rows["delta_rms_predicted"].notna().any():
        theory = selections.log10(selections.cube(rows, "delta_rms_predicted")[2][:, :, 0]).mean(0)
    with np.errstate(invalid="ignore"):
        return Way(numbers, logs.mean(0), logs.min(0), logs.max(0), theory, len(logs), tuple(beside))


def time_way(data: Tables, layer: str) -> Way | None:
    """The way back through the steps of a recurrent layer at the first record, of a gradient that comes to its last
    output alone."""
    frame = selections.optional_table(data, "time")
    if frame is None:
        return None
    rows = explained.first_record(frame[frame["name"] == layer])
    values = [
        rows.pivot(index="seed", columns="time", values=name) for name in ("carried", "carried_predicted")
    ]
    at = np.asarray(values[0].columns, dtype=np.float64)
    logs, theory = (selections.log10(each.to_numpy(np.float64)) for each in values)
    if at.size < 2 or not np.isfinite(logs).any():
        return None
    with np.errstate(invalid="ignore"):
        return Way(at, logs.mean(0), logs.min(0), logs.max(0), theory.mean(0), len(logs), axis="step")


def diagnoses_of(data: Tables, chances: Any) -> list[Diagnosis]:
    """The evidence behind the verdicts; nothing where the tables cannot be judged again."""
    chance = {cell: value for cell, value in chances.items() if value is not None}
    columns = selections.cell_columns(data.summary)
    steps = data.steps if len(data.steps) else None
    try:
        return diagnose(
            data.layers,
            steps,
            chance=chance,
            cell_columns=columns,
            time=selections.optional_table(data, "time"),
            attention=selections.optional_table(data, "attention"),
        )
    except GradlabError:
        return []


def evidence_of(
    found: Sequence[Diagnosis], names: dict[str, str] | None = None
) -> list[tuple[str, list[str]]]:
    said = []
    for one in found:
        lines = [f"{each.verdict}, {each.place}: {each.evidence}" for each in one.findings]
        lines += [f"in fewer seeds: {each.verdict}, {each.place}: {each.evidence}" for each in one.minority]
        said.append(((names or {}).get(str(one.cell.get("cell")), ""), [*lines, *one.notes]))
    return [each for each in said if each[1]]
