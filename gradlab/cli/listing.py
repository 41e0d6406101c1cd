"""`gradlab list`: what can be chosen, each list from the registry of the room that owns it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated

import typer

from gradlab.base.errors import ConfigError, Problem, unknown
from gradlab.base.grammar import Parameter, format_number
from gradlab.base.text import wrapped
from gradlab.cli import completion
from gradlab.cli.options import AsJson
from gradlab.cli.output import emit, line_width, say, tell
from gradlab.config import shipped
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


def _configs() -> Rows:
    return [{"name": name, "summary": shipped.summary(name)} for name in shipped.names()]


KINDS: dict[str, Callable[[], Rows]] = {
    **{kind: partial(_parts, kind) for kind in REGISTRIES},
    "datasets": _datasets,
    "metrics": _metrics,
    "verdicts": _verdicts,
    "rulesets": _rulesets,
    "papers": _papers,
    "configs": _configs,
    "figures": _figures,
}


NEXT = {
    "activations": "gradlab theory --activation tanh",
    "inits": "gradlab compare --activation tanh --init glorot,he --depth 20",
    "norms": "gradlab compare --activation sigmoid --norm none,batch --depth 20",
    "residuals": "gradlab compare --activation relu --residual none,scaled --depth 50",
    "datasets": "gradlab run --data moons --activation relu --depth 10",
    "papers": "gradlab reproduce glorot-2010 --quick",
    "configs": "gradlab compare --config init-matters",
}
"""A command that uses an entry of the list."""


def listing(
    kind: Annotated[
        str | None,
        typer.Argument(
            metavar="KIND", autocompletion=completion.one_of(lambda: KINDS), help=", ".join(KINDS)
        ),
    ] = None,
    json: AsJson = False,
) -> int:
    """List what can be chosen, with its parameters; `metrics` are the columns of the tables.

    gradlab list activations
    gradlab list metrics
    gradlab list configs
    """
    if kind is None:
        problem = Problem(
            "gradlab list", "it is not said what", ", ".join(KINDS), hint="gradlab list activations"
        )
        raise ConfigError(problem)
    if kind not in KINDS:
        raise ConfigError(unknown("gradlab list", "list", kind, list(KINDS)))
    rows = KINDS[kind]()
    if json:
        emit(rows)
        return 0
    width, wide = max(len(row["name"]) for row in rows), line_width()
    for row in rows:
        others = [f"{key}: {text}" for key, text in row.items() if key not in ("name", "summary") and text]
        for text, indent in ((row["summary"], 2), (", ".join(others), 3)):
            head = row["name"] if indent == 2 else ""
            for line in wrapped(text, wide, f"{head:<{width}}".ljust(width + indent), " " * (width + indent)):
                say(line)
    if kind in NEXT:
        tell(f"next: {NEXT[kind]}")
    return 0
