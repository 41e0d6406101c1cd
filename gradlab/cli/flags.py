"""The flags of the configuration's keys, read off the models, for the commands that take a configuration."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gradlab.base.errors import ConfigError, Problem, UserError, nearest
from gradlab.cli.boundary import options_of
from gradlab.cli.output import tell
from gradlab.config import KEYS, Key, Request, collect

if TYPE_CHECKING:
    from gradlab.config.plan import Plan

ConfigFile = Annotated[
    str | None,
    typer.Option(
        "--config", metavar="FILE", help="A TOML file (gradlab config init writes one to start from)."
    ),
]
Trust = Annotated[
    bool,
    typer.Option("--trust", help="Import the code that the file of --config names, package.module:Attr."),
]
Sets = Annotated[
    list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Any key; may be repeated.")
]


def with_keys(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command with `**flags` one flag for each configuration key, in a panel for each section."""
    own = inspect.signature(command, eval_str=True).parameters.values()
    parameters = [parameter for parameter in own if parameter.kind is not parameter.VAR_KEYWORD]
    signature = inspect.Signature([*parameters, *map(_flag, KEYS.values())])
    command.__signature__ = signature  # type: ignore[attr-defined]
    # Unknown flags are collected, not refused at the first, so that all problems are reported at once.
    command.context_settings = {"ignore_unknown_options": True, "allow_extra_args": True}  # type: ignore[attr-defined]
    return command


def _flag(key: Key) -> inspect.Parameter:
    words = f": {key.words}" if key.words else ""
    default = "" if key.default in (None, "") or key.is_switch else f" (default: {key.default})"
    option = typer.Option(
        key.option,
        metavar=None if key.is_switch else _metavar(key),
        help=f"{key.meaning}{words}{default}",
        rich_help_panel=key.section.capitalize(),
        show_default=False,
    )
    kind: Any = Annotated[bool | None, option] if key.is_switch else Annotated[str | None, option]
    return inspect.Parameter(key.flag, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)


def _metavar(key: Key) -> str:
    if key.is_text or key.choices:
        return "TEXT" if key.is_text else "NAME"
    return "N" if "whole" in key.allowed else "X"


def collect_flags(
    context: typer.Context,
    flags: Mapping[str, object],
    config: str | None,
    sets: Sequence[str] | None,
    *,
    trust: bool,
    lists: bool,
    default_grid: bool = True,
    elsewhere: Mapping[str, str] | None = None,
) -> tuple[Request, list[Problem]]:
    """The request of a command line, its file and its environment, and every problem with them.

    elsewhere: flags that other commands have, with what is said of them where they are given to this one
    """
    request, problems = collect(
        file=Path(config) if config is not None else None,
        trusted=trust,
        environment=os.environ,
        flags=flags,
        sets=sets or (),
        lists=lists,
        default_grid=default_grid,
    )
    return request, [*_leftovers(context, elsewhere or {}), *problems]


def make_plan(
    request: Request,
    problems: Sequence[Problem],
    best_over: str | None = None,
    *,
    yes: bool = False,
    quiet: bool = False,
) -> Plan:
    """The plan of a request. yes: of however many cells; quiet: nothing on the terminal while a file is read.

    Raises ConfigError with the problems found so far and those the plan finds.
    """
    from gradlab.cli.reading import reading_shown
    from gradlab.config import plan

    found = list(problems)
    try:
        with reading_shown(quiet):
            made = plan.make(request, best_over=best_over, most=None if yes else plan.MOST_CELLS)
    except UserError as error:
        found += error.problems
    if found:
        raise ConfigError(dict.fromkeys(found))
    return made


def warn(request: Request, quiet: bool) -> None:
    """Print a request's warnings on stderr."""
    for warning in () if quiet else request.warnings:
        tell(f"warning: {warning}")


def _leftovers(context: typer.Context, elsewhere: Mapping[str, str]) -> list[Problem]:
    """A problem for each unknown flag, and for each text that is no flag's value."""
    known = options_of(context)
    problems: list[Problem] = []
    may_be_value = False
    for text in context.args:
        if text.startswith("-"):
            name = text.partition("=")[0]
            if name in elsewhere:
                problems.append(Problem(name, elsewhere[name], hint="leave it out"))
            else:
                hint = nearest(name, known) or f"see {context.command_path} --help"
                problems.append(Problem(name, "there is no such flag", hint=hint))
            may_be_value = "=" not in text
        elif not may_be_value:
            hint = "values are given by flags, and separated by commas without blanks"
            problems.append(Problem(context.command_path, f"{text!r} is not expected", hint=hint))
        else:
            may_be_value = False
    return problems
