"""The one outer boundary: every error, Typer's own included, in the same form and with its exit code."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import typer

from gradlab.base.errors import DEBUG, ConfigError, GradlabError, Problem, debugging, in_words, nearest
from gradlab.base.text import one_line
from gradlab.cli.output import emit, tell

INTERRUPTED = 130


def outcome_of(call: Callable[[], object], *, as_json: bool) -> int:
    """Run a command and return its exit code; errors go to stderr, with `as_json` to stdout as one document.

    A command returns its exit code, or None for 0. No exception escapes, not even a SystemExit: it came from code of
    somebody else's. A traceback is shown under GRADLAB_DEBUG=1 alone.
    """
    try:
        code = call()
        sys.stdout.flush()
        if code == INTERRUPTED:  # newer Typers return it where older ones raise Abort
            raise KeyboardInterrupt
        return code if isinstance(code, int) else 0
    except (typer.Abort, KeyboardInterrupt):
        return _report(GradlabError("interrupted"), INTERRUPTED, as_json)
    except BrokenPipeError:
        # The reader has gone (`| head`). Python's own flush at exit must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except BaseException as error:
        if isinstance(error.__context__, BrokenPipeError):  # Typer ends with a SystemExit then
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        if debugging():
            tell(traceback.format_exc())
        known = _known(error)
        return _report(known, known.exit_code, as_json)


def _known(error: BaseException) -> GradlabError:
    """Any exception as one of ours."""
    if isinstance(error, GradlabError):
        return error
    if hasattr(error, "format_message"):  # a usage error of Typer, whatever it is called in this version
        return ConfigError(_usage(error))
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        hint = "is it there, may it be written, and is there room?"
        return GradlabError(f"{where}{error.strerror or error}", hint)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return GradlabError(
            "out of memory", "a smaller --stack-size (seeds trained together), --width or --batch-size"
        )
    if not isinstance(error, Exception):
        message = f"code that gradlab called ended with {in_words(error)}"
        return GradlabError(message, f"{DEBUG}=1 shows where")
    return GradlabError(f"{in_words(error)}: this is a bug in gradlab", f"{DEBUG}=1 shows the traceback")


def _usage(error: Any) -> Problem:
    """A usage error of Typer: no such option (it knows what is near), a missing value, a missing argument."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "gradlab"
    hint = f"see {command} --help"
    option = getattr(error, "option_name", None)
    if option is None:
        return Problem(command, error.format_message(), hint=hint)
    if not hasattr(error, "possibilities"):
        return Problem(option, error.format_message(), hint=hint)
    return Problem(option, "there is no such flag", hint=nearest(option, options_of(context)) or hint)


def options_of(context: Any) -> list[str]:
    """Every flag of a command, as it is typed."""
    parameters = context.command.get_params(context)
    return [name for parameter in parameters for name in parameter.opts if name.startswith("-")]


def _report(error: GradlabError, code: int, as_json: bool) -> int:
    if as_json:
        problems = [problem.as_dict() for problem in error.problems]
        hint = {"hint": error.hint} if error.hint else {}
        emit({"error": {"message": error.message, **hint, "problems": problems}})
        return code
    for line in _lines(error.message, error.hint, error.problems):
        tell(line)
    return code


def _lines(message: str, hint: str | None, problems: Sequence[Problem]) -> list[str]:
    lines = []
    for problem in problems or [Problem("", message, hint=hint)]:
        place = f"{problem.where}: " if problem.where else ""
        lines.append(f"error: {place}{problem.message}")
        lines += [f"  allowed: {problem.allowed}"] if problem.allowed else []
        lines += [f"  hint: {problem.hint}"] if problem.hint else []
    return [one_line(line) for line in lines]
