"""`gradlab`: the commands, each loaded only when it is called, so that `--help` costs nothing but Typer."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from gradlab import __version__
from gradlab.base.errors import ConfigError, Problem, nearest
from gradlab.cli.boundary import outcome_of
from gradlab.cli.output import alone_on_stdout, say

COMMANDS = {
    "run": ("gradlab.cli.run:run", "One configuration, several seeds: what happens in it?"),
    "compare": ("gradlab.cli.compare:compare", "A grid of configurations, ranked: which survive?"),
    "theory": ("gradlab.cli.theory:theory", "What should happen, without training: mean-field theory."),
    "reproduce": ("gradlab.cli.reproduce:reproduce", "Published results, measured."),
    "diagnose": ("gradlab.cli.diagnose:diagnose", "Verdicts with evidence, from saved results."),
    "report": ("gradlab.cli.report:report", "Draw saved results: page, figures, tables."),
    "merge": ("gradlab.cli.merge:merge", "Join results folders of different cells or seeds."),
    "watch": ("gradlab.cli.watch:watch", "Train and record a model of your own."),
    "list": ("gradlab.cli.listing:listing", "What can be chosen: activations, inits, data sets ..."),
    "config": ("gradlab.cli.config:app", "Show, validate or start a configuration file."),
    "cache": ("gradlab.cli.cache:cache", "What is kept of large data files; --clear removes it."),
    "env": ("gradlab.cli.env:env", "Versions, devices and paths: what a bug report needs."),
}
"""name -> where the command is (module:attribute, a function or a Typer app) and what it does, in one line"""

COMPLETING, OF_THE_SHELL = "_GRADLAB_COMPLETE", ("--install-completion", "--show-completion")
"""How a shell asks for completions, and is told how to ask: Typer answers, and leaves by a SystemExit."""

HELP = {"help_option_names": ["-h", "--help"]}


ABOUT = """Does the gradient survive in your deep network? Measure it, predict it, judge it.

\b
gradlab run --activation sigmoid --depth 20   why does this net not learn?
gradlab compare                               which activations survive?
gradlab compare --config init-matters         is it the initialiser?
gradlab theory --activation tanh              what should happen?
gradlab COMMAND --help                        examples and flags of a command
"""


class LazyGroup(TyperGroup):
    """Placeholders stand for the commands in the help; the command that is called is loaded."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name = args[0]
        if name not in COMMANDS and ctx.resilient_parsing:  # a shell that completes asks no questions
            return None, None, args[1:]
        if name not in COMMANDS:
            message = f"unknown flag {name!r}" if name.startswith("-") else f"unknown command {name!r}"
            raise ConfigError(Problem("gradlab", message, ", ".join(COMMANDS), nearest(name, list(COMMANDS))))
        return name, load(name), args[1:]


def load(name: str) -> Any:
    """The command itself, its module imported."""
    module, _, attribute = COMMANDS[name][0].partition(":")
    target = getattr(import_module(module), attribute)
    if not isinstance(target, typer.Typer):
        single = typer.Typer(add_completion=False, context_settings=HELP)
        single.command(name, context_settings=getattr(target, "context_settings", {}))(target)
        target = single
    return _prepared(get_command(target))


def _prepared(command: Any) -> Any:
    """Square brackets in help texts are themselves, not markup; a switch takes no value that had a type to show, and an
    argument's name says it; stdout is the command's alone."""
    if command.callback is not None:
        command.callback = alone_on_stdout(command.callback)
    of_command = command.get_params
    command.get_params = lambda context: [*map(_without_type, of_command(context))]
    for each in (command, *command.params):
        each.help = each.help and each.help.replace("[", r"\[")
    for inner in getattr(command, "commands", {}).values():
        _prepared(inner)
    return command


def _without_type(parameter: Any) -> Any:
    if getattr(parameter, "is_flag", parameter.param_type_name == "argument"):
        parameter.display_type_rich = lambda ctx: None
    return parameter


def _version(wanted: bool) -> None:
    if wanted:
        say(__version__)
        raise typer.Exit


app = typer.Typer(
    cls=LazyGroup,
    rich_markup_mode=None,
    context_settings=HELP,
    help=ABOUT,
)


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", "-v", callback=_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """What every command shares."""


def _placeholder() -> None:
    raise AssertionError("a placeholder is never called")


for _name, (_, _summary) in COMMANDS.items():
    app.command(_name, help=_summary)(_placeholder)


def _check_encoding(arguments: Sequence[str]) -> None:
    for text in arguments:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:  # bytes that are no UTF-8, as Python keeps them
            problem = Problem("gradlab", f"{text!r} is no UTF-8 text", "names that are")
            raise ConfigError(problem) from None


def main(argv: Sequence[str] | None = None) -> int:
    """The console script. Returns the exit code: 0 done, 1 failed, 2 misuse, 3 cells failed, 130 interrupted."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if argv is None:  # ours is the process: a scheduler's SIGTERM ends it as Ctrl-C does
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    for name in ("stdout", "stderr"):  # closed by the caller (`>&-`): then nobody reads what is said
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115

    def call() -> object:
        _check_encoding(arguments)
        try:
            return get_command(app).main(arguments or ["--help"], prog_name="gradlab", standalone_mode=False)
        except SystemExit as end:
            if COMPLETING not in os.environ and arguments[0].partition("=")[0] not in OF_THE_SHELL:
                raise  # from the user's own code
            return end.code

    return outcome_of(call, as_json="--json" in arguments)
