"""`gradlab config`: show, validate or start a configuration."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import typer

from gradlab.base.errors import ConfigError, Problem, UserError
from gradlab.base.text import one_line
from gradlab.cli.flags import ConfigFile, Sets, collect_flags, make_plan, warn, with_keys
from gradlab.cli.options import AsJson
from gradlab.cli.output import emit, say, tell
from gradlab.config import KEYS, Request, collect, schema, starter, to_toml

app = typer.Typer(
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Show, validate or start a configuration file.",
)


def show(
    context: typer.Context,
    config: ConfigFile = None,
    set_: Sets = None,
    toml: Annotated[bool, typer.Option("--toml", help="Print the TOML file that asks for the same.")] = False,
    json: AsJson = False,
    **flags: str | None,
) -> int:
    """Print the value of every key and where it came from: default, file, environment or flag.

    gradlab config show --depth 5
    gradlab config show --config init-matters --toml
    """
    # it imports nothing, so a file may name what it likes
    request, problems = collect_flags(
        context, flags, config, set_, trust=True, lists=True, default_grid=False
    )
    if toml and json:
        problems.append(Problem("--toml", "--json prints JSON alone", "one of them"))
    if problems:
        raise ConfigError(problems)
    warn(request, quiet=False)
    if toml:
        say(to_toml(request.base, request.grid), end="")
    elif json:
        emit({path: {"value": _value(request, path), "from": request.provenance[path]} for path in KEYS})
    else:
        rows = [(path, one_line(_text(request, path)), one_line(request.provenance[path])) for path in KEYS]
        widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
        for path, value, source in rows:
            say(f"{path:<{widths[0]}}  {value:<{widths[1]}}  {source}")
    return 0


app.command("show", context_settings=with_keys(show).context_settings)(show)  # type: ignore[attr-defined]


@app.command()
def validate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="TOML files.")],
    trust: Annotated[
        bool,
        typer.Option(
            "--trust", help="Import the code that the files name, package.module:Attr, to check it."
        ),
    ] = False,
    json: AsJson = False,
) -> int:
    """Check files whole, without training: keys, values, components and data sets, which are read. Names every
    problem. Code that a file names is imported with --trust alone.

    gradlab config validate init-matters
    """
    problems: list[Problem] = []
    counts: dict[Path, dict[str, int]] = {}
    for file in files:
        try:
            request, found = collect(file=file, trusted=trust, lists=True, default_grid=False)
            plan = make_plan(request, found)
            counts[file] = {"cells": len(plan.cells), "seeds": len(plan.seeds)}
        except UserError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    if json:
        emit({"files": [{"file": file, **count} for file, count in counts.items()]})
    else:
        for file, count in counts.items():
            say(f"{file}: valid, {count['cells']} cell(s), {count['seeds']} seed(s)")
    return 0


@app.command()
def init(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="Where to write; none prints it.")
    ] = None,
) -> int:
    """Write a configuration to start from: every key at its default, with its meaning.

    gradlab config init mine.toml
    """
    if file is None:
        say(starter(), end="")
        return 0
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(starter())
    except FileExistsError:
        raise ConfigError(Problem(str(file), "exists already", hint="choose another name")) from None
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError(
            Problem(str(file), f"there is no folder {str(file.parent)!r}", "a folder that exists")
        ) from None
    tell(f"wrote {file}\nnext: gradlab run --config {quote(str(file))}")
    return 0


@app.command("schema")
def print_schema() -> int:
    """Print the JSON schema of a configuration file, for editors that check TOML."""
    emit(schema())
    return 0


def _value(request: Request, path: str) -> Any:
    return list(request.grid[path]) if path in request.grid else request.values(path)[0]


def _text(request: Request, path: str) -> str:
    shown = ("(unset)" if value in (None, "") else _toml_case(value) for value in request.values(path))
    return ", ".join(shown)


def _toml_case(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
