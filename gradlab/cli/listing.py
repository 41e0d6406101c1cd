"""`gradlab list`: what can be chosen, each list from the registry of the room that owns it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated

import typer

from gradlab.base.errors import ConfigError, Problem, nearest
from gradlab.base.grammar import Parameter, format_number
from gradlab.cli.options import AsJson
from gradlab.cli.output import emit

Rows = list[dict[str, str]]


def _parameters(parameters: Mapping[str, Parameter]) -> str:
    """`key=default (meaning; allowed)` for each parameter."""
    parts = []
    for key, parameter in parameters.items():
        default = parameter.default
        shown = f"={format_number(default)}" if isinstance(default, float | int) else f"={default}"
        parts.append(f"{key}{'' if default is None else shown} ({parameter.meaning}; {parameter.allowed})")
    return "; ".join(parts)


def _activations() -> Rows:
    from gradlab.activations.registry import REGISTRY

    return [
        {
            "name": name,
            "summary": definition.summary,
            "family": definition.family,
            "parameters": _parameters(definition.parameters),
        }
        for name, definition in REGISTRY.items()
    ]


def _inits() -> Rows:
    from gradlab.parts.inits import INITS

    return [
        {"name": name, "summary": definition.summary, "parameters": _parameters(definition.parameters)}
        for name, definition in INITS.items()
    ]


def _norms() -> Rows:
    from gradlab.parts.norms import NORMS

    return _described(NORMS)


def _residuals() -> Rows:
    from gradlab.parts.residuals import RESIDUALS

    return _described(RESIDUALS)


def _described(registry: Mapping[str, tuple[str, Mapping[str, Parameter]]]) -> Rows:
    return [
        {"name": name, "summary": summary, "parameters": _parameters(parameters)}
        for name, (summary, parameters) in registry.items()
    ]


def _optimizers() -> Rows:
    from gradlab.parts.optimizer_names import OPTIMIZERS

    return [{"name": name, "summary": summary} for name, summary in OPTIMIZERS.items()]


def _datasets() -> Rows:
    from gradlab.data import describe

    return describe()


def _metrics() -> Rows:
    from gradlab.tables import schema

    tables = {"every table": schema.CELL, **schema.TABLES, "layers (--metrics full)": schema.LAYERS_FULL}
    tables["jacobian (--jacobian)"] = schema.JACOBIAN
    tables["histograms (--histograms)"] = schema.HISTOGRAMS
    return [
        {
            "name": column.name,
            "summary": column.meaning,
            "table": table,
            "type": column.kind,
            "unit": column.unit,
        }
        for table, columns in tables.items()
        for column in schema.described(columns)
    ]


def _verdicts() -> Rows:
    from gradlab.analyse.verdict import HEALTHY
    from gradlab.analyse.verdicts import VERDICTS

    faults = [
        {"name": name, "summary": verdict.summary, "severity": verdict.severity}
        for name, verdict in VERDICTS.items()
    ]
    return [*faults, {"name": HEALTHY.name, "summary": HEALTHY.summary, "severity": ""}]


def _rulesets() -> Rows:
    from gradlab.analyse.rulesets import RULESETS

    return [
        {"name": name, "summary": ruleset.summary, "rules": ", ".join(ruleset.rules)}
        for name, ruleset in RULESETS.items()
    ]


def _papers() -> Rows:
    from gradlab.papers.registry import PAPERS

    return [{"name": each.name, "summary": each.title, "citation": each.citation} for each in PAPERS.values()]


KINDS: dict[str, Callable[[], Rows]] = {
    "activations": _activations,
    "inits": _inits,
    "norms": _norms,
    "residuals": _residuals,
    "optimizers": _optimizers,
    "datasets": _datasets,
    "metrics": _metrics,
    "verdicts": _verdicts,
    "rulesets": _rulesets,
    "papers": _papers,
}


def listing(
    kind: Annotated[str, typer.Argument(metavar="|".join(KINDS), help="What to list.")],
    json: AsJson = False,
) -> int:
    """List what can be chosen, with its parameters; `metrics` are the columns of the tables."""
    if kind not in KINDS:
        raise ConfigError(
            Problem("gradlab list", f"unknown list {kind!r}", ", ".join(KINDS), nearest(kind, list(KINDS)))
        )
    rows = KINDS[kind]()
    if json:
        emit(rows)
        return 0
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        print(f"{row['name']:<{width}}  {row['summary']}")
        others = [f"{key}: {text}" for key, text in row.items() if key not in ("name", "summary") and text]
        if others:
            print(" " * width, " ", ", ".join(others))
    return 0
