"""`gradlab list`: what can be chosen, each list from the registry of the room that owns it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated

import typer

from gradlab.base.errors import ConfigError, unknown
from gradlab.base.grammar import Parameter, format_number
from gradlab.cli.options import AsJson
from gradlab.cli.output import emit, say
from gradlab.data import OTHERS
from gradlab.papers.registry import PAPERS
from gradlab.parts.registries import REGISTRIES
from gradlab.sensors.describe import described

Rows = list[dict[str, str]]


def _parameters(parameters: Mapping[str, Parameter]) -> str:
    """`key=default (meaning; allowed)` for each parameter."""
    parts = []
    for key, parameter in parameters.items():
        default = parameter.default
        shown = f"={format_number(default)}" if isinstance(default, float | int) else f"={default}"
        parts.append(f"{key}{'' if default is None else shown} ({parameter.meaning}; {parameter.allowed})")
    return "; ".join(parts)


def _parts(kind: str) -> Rows:
    """The entries of a registry; `listed` is what one says of itself beside its summary and parameters."""
    return [
        {
            "name": name,
            "summary": entry.summary,
            **getattr(entry, "listed", {}),
            "parameters": _parameters(entry.parameters),
        }
        for name, entry in REGISTRIES[kind]().items()
    ]


def _datasets() -> Rows:
    others = [{"name": name, "summary": summary, "parameters": ""} for name, summary in OTHERS.items()]
    return _parts("datasets") + others


def _metrics() -> Rows:
    return [
        {"name": c.name, "summary": c.meaning, "table": table, "type": c.kind, "unit": c.unit}
        for table, _, columns in described()
        for c in columns
    ]


def _verdicts() -> Rows:
    from gradlab.analyse.verdicts import WORDS

    return [
        {"name": name, "summary": word.summary, "severity": word.severity or ""}
        for name, word in WORDS.items()
    ]


def _rulesets() -> Rows:
    from gradlab.analyse.rulesets import RULESETS

    return [
        {"name": name, "summary": ruleset.summary, "rules": ", ".join(ruleset.rules)}
        for name, ruleset in RULESETS.items()
    ]


def _papers() -> Rows:
    return [{"name": each.name, "summary": each.title, "citation": each.citation} for each in PAPERS.values()]


def _figures() -> Rows:
    from gradlab.report.figures import FIGURES

    return [{"name": each.name, "summary": each.summary, "of": each.of} for each in FIGURES.values()]


KINDS: dict[str, Callable[[], Rows]] = {
    **{kind: partial(_parts, kind) for kind in REGISTRIES},
    "datasets": _datasets,
    "metrics": _metrics,
    "verdicts": _verdicts,
    "rulesets": _rulesets,
    "papers": _papers,
    "figures": _figures,
}


def listing(
    kind: Annotated[str, typer.Argument(metavar="|".join(KINDS), help="What to list.")],
    json: AsJson = False,
) -> int:
    """List what can be chosen, with its parameters; `metrics` are the columns of the tables."""
    if kind not in KINDS:
        raise ConfigError(unknown("gradlab list", "list", kind, list(KINDS)))
    rows = KINDS[kind]()
    if json:
        emit(rows)
        return 0
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        say(f"{row['name']:<{width}}  {row['summary']}")
        others = [f"{key}: {text}" for key, text in row.items() if key not in ("name", "summary") and text]
        if others:
            say(f"{' ' * width}   {', '.join(others)}")
    return 0
