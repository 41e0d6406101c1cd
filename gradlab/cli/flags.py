"""The flags of the configuration's keys, read off the models, for the commands that take a configuration."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gradlab.base.errors import ConfigError, Problem, UserError, nearest
from gradlab.cli import completion
from gradlab.cli.boundary import options_of
from gradlab.cli.options import RARE
from gradlab.cli.output import tell
from gradlab.config import KEYS, Key, Request, collect

if TYPE_CHECKING:
    from gradlab.config.plan import Plan

ON_CLUSTERS = (
    "training.stack_size",
    "run.workers",
    "run.executor",
    "run.ray_address",
    "run.gpus_per_stack",
    "run.on_error",
    "run.checkpoint",
    "run.save_weights",
)
"""Keys that a first run does not need, in a panel of their own."""

ConfigFile = Annotated[
    str | None,
    typer.Option(
        "--config",
        metavar="FILE",
        autocompletion=completion.files,
        help="A TOML file, or the name of a shipped one (gradlab list configs).",
    ),
]
Trust = Annotated[
    bool,
    typer.Option(
        "--trust",
        help="Import the code that the file of --config names, package.module:Attr.",
        rich_help_panel=RARE,
    ),
]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="SECTION.KEY=VALUE",
        help="Any key; may be repeated.",
        autocompletion=completion.settings,
        rich_help_panel=RARE,
    ),
]


def with_keys(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command with `**flags` one flag for each configuration key, in a panel for each section; those of the
    command's own that have a panel stand behind them."""
    every = inspect.signature(command, eval_str=True).parameters.values()
    own = [parameter for parameter in every if parameter.kind is not parameter.VAR_KEYWORD]
    first = [parameter for parameter in own if not _panel(parameter)]
    last = [parameter.replace(kind=parameter.KEYWORD_ONLY) for parameter in own if _panel(parameter)]
    ordered = sorted(KEYS.values(), key=lambda key: key.path in ON_CLUSTERS)
    signature = inspect.Signature([*first, *map(_flag, ordered), *last])
    command.__signature__ = signature  # type: ignore[attr-defined]
    # Unknown flags are collected, not refused at the first, so that all problems are reported at once.
    command.context_settings = {"ignore_unknown_options": True, "allow_extra_args": True}  # type: ignore[attr-defined]
    return command


def _panel(parameter: inspect.Parameter) -> str | None:
    """The panel that a command's own flag asks for."""
    found = getattr(parameter.annotation, "__metadata__", ())
    return next((each.rich_help_panel for each in found if hasattr(each, "rich_help_panel")), None)


def _flag(key: Key) -> inspect.Parameter:
    words = f": {key.words}" if key.words else ""
    default = "" if key.default in (None, "") or key.is_switch else f" (default: {key.default})"
    option = typer.Option(
        key.option,
        metavar=None if key.is_switch else _metavar(key),
        help=f"{key.meaning}{words}{default}",
        rich_help_panel="Workers, Ray, checkpoints" if key.path in ON_CLUSTERS else key.section.capitalize(),
        autocompletion=None if key.is_switch or key.is_number else completion.of_key(key),
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
