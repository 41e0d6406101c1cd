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

COMMANDS = {
    "run": ("gradlab.cli.run:run", "Train one configuration, several seeds, and record its gradients."),
    "compare": ("gradlab.cli.compare:compare", "Train a grid of configurations and rank them."),
    "theory": ("gradlab.cli.theory:theory", "Predict without training: mean-field theory."),
    "reproduce": ("gradlab.cli.reproduce:reproduce", "Published results, measured."),
    "diagnose": ("gradlab.cli.diagnose:diagnose", "Verdicts with evidence, from saved results."),
    "report": ("gradlab.cli.report:report", "Draw saved results: page, figures, tables."),
    "merge": ("gradlab.cli.merge:merge", "Join results folders of different cells or seeds."),
    "watch": ("gradlab.cli.watch:watch", "Train and record a model of your own."),
    "list": (
        "gradlab.cli.listing:listing",
        "List activations, inits, data sets, metrics and other components.",
    ),
    "config": ("gradlab.cli.config:app", "Show, validate or start a configuration file."),
    "env": ("gradlab.cli.env:env", "Versions, devices and paths: what a bug report needs."),
}
"""name -> where the command is (module:attribute, a function or a Typer app) and what it does, in one line"""

HELP = {"help_option_names": ["-h", "--help"]}


class LazyGroup(TyperGroup):
    """Placeholders stand for the commands in the help; the command that is called is loaded."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name = args[0]
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
    return _literal(get_command(target))


def _literal(command: Any) -> Any:
    """Square brackets in help texts are themselves, not markup."""
    for each in (command, *command.params):
        each.help = each.help and each.help.replace("[", r"\[")
    for inner in getattr(command, "commands", {}).values():
        _literal(inner)
    return command


def _version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


app = typer.Typer(
    cls=LazyGroup,
    add_completion=False,
    rich_markup_mode=None,
    context_settings=HELP,
    help="Does the gradient survive in your deep network? Measure it, predict it, judge it.",
    epilog="Start with: gradlab run --activation sigmoid --depth 20",
)


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
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
        return get_command(app).main(arguments or ["--help"], prog_name="gradlab", standalone_mode=False)

    return outcome_of(call, as_json="--json" in arguments)
