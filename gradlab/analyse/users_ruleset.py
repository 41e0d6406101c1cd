"""A ruleset of the user's own: a function of the two tables of one cell that says what the cell is."""

from __future__ import annotations

import pandas as pd

from gradlab.analyse.findings import Diagnosis, Finding
from gradlab.analyse.records import Records
from gradlab.analyse.verdict import HEALTHY
from gradlab.base.errors import ConfigError, Problem
from gradlab.base.own import Own, users_code

ALLOWED = "a word, a list of words, or a dict word -> evidence; empty where nothing is wrong"


def judge_by_own(
    own: Own, records: Records, layers: pd.DataFrame, steps: pd.DataFrame | None, where: str
) -> Diagnosis:
    """What the user's function says of one cell.

    layers, steps: the cell's rows of the tables, with every column that these have; steps is None where there is none
    Raises ConfigError naming `where` for whatever the function does wrong: raise, exit, return what is no verdict.
    """
    cell = str(records.cell.get("cell", ""))
    with users_code(where, f"{own.text} failed" + (f" on cell {cell}" if cell else "")):
        words = _words(own, own.attribute(layers, steps, **own.arguments), where)
    seeds = tuple(int(seed) for seed in records.seeds)
    return Diagnosis(
        cell=records.cell,
        ruleset=own.text,
        seeds=len(seeds),
        findings=tuple(
            Finding(
                verdict=word,
                rule=own.name,
                agree=len(seeds),
                seeds=len(seeds),
                which=seeds,
                at_birth=None,
                step=None,
                layer=None,
                name=None,
                evidence=evidence or "no evidence was given",
            )
            for word, evidence in words.items()
        ),
        recorded=bool(records.in_layers.any()),
    )


def _words(own: Own, answer: object, where: str) -> dict[str, str]:
    """The words that the function returned, each with its evidence; none for "healthy" alone."""
    if isinstance(answer, dict):
        pairs = list(answer.items())
    elif isinstance(answer, str):
        pairs = [(answer, "")] if answer else []
    elif isinstance(answer, list | tuple):
        pairs = [(word, "") for word in answer]
    else:
        raise ConfigError(Problem(where, f"{own.text} returned {_kind(answer)}", ALLOWED))
    for word, evidence in pairs:
        if not (isinstance(word, str) and word.strip() and word.isprintable()):
            raise ConfigError(Problem(where, f"{own.text} returned {_kind(word)} as a word", ALLOWED))
        if not isinstance(evidence, str):
            raise ConfigError(Problem(where, f"{own.text} returned {_kind(evidence)} as evidence", ALLOWED))
    words = {str(word): _one_line(evidence) for word, evidence in pairs}
    if HEALTHY.name in words and len(words) > 1:
        raise ConfigError(Problem(where, f"{own.text} returned {HEALTHY.name!r} beside other words", ALLOWED))
    words.pop(HEALTHY.name, None)
    return words


def _kind(value: object) -> str:
    return f"{value!r:.60}" if isinstance(value, str | int | float | None) else f"a {type(value).__name__}"


def _one_line(text: str) -> str:
    """Text that fits a line of any file and terminal."""
    return " ".join(text.encode("utf-8", "replace").decode().split())
