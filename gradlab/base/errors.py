"""The errors gradlab raises on purpose, each with the exit code its command ends with.

A user's mistake is a `UserError`: it carries every problem found, not only the first, and each problem says
where it is, what was wrong, what is allowed and which known name comes nearest to a typo.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

DEBUG = "GRADLAB_DEBUG"


def debugging() -> bool:
    """Whether the user wants to see tracebacks."""
    return os.environ.get(DEBUG) == "1"


@dataclass(frozen=True)
class Problem:
    """One thing wrong with what the user gave.

    where:   the flag (`--depth`), file and key (`grid.toml: network.depth`), or file and column
    message: what was wrong, in words, with the offending value
    allowed: what would have been right (None where the message says it)
    hint:    the next step or the nearest known name (None where there is none)
    """

    where: str
    message: str
    allowed: str | None = None
    hint: str | None = None

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        if self.allowed:
            text += f"; allowed: {self.allowed}"
        if self.hint:
            text += f"; {self.hint}"
        return text

    def as_dict(self) -> dict[str, str | None]:
        return asdict(self)


def in_words(error: BaseException) -> str:
    """Any exception in one line: its kind, and what it says."""
    try:
        said = str(error)
    except BaseException:  # the text of a user's own exception is the user's code, and may raise
        said = "its text cannot be made"
    return " ".join(f"{type(error).__name__}: {said}".split())


class GradlabError(Exception):
    """Something failed while running. `exit_code` is what the command ends with."""

    exit_code = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    @property
    def problems(self) -> list[Problem]:
        return []


class Unstorable(GradlabError):
    """Something in training keeps what a checkpoint cannot hold."""


class UserError(GradlabError, ValueError):
    """Wrong usage, configuration or input file: exit 2, every problem at once."""

    exit_code = 2

    def __init__(self, problems: Problem | Iterable[Problem], message: str | None = None) -> None:
        found = [problems] if isinstance(problems, Problem) else [*dict.fromkeys(problems)]
        assert found, "a UserError needs at least one problem"
        super().__init__(message or "\n".join(str(problem) for problem in found))
        self._problems = found

    @property
    def problems(self) -> list[Problem]:
        return list(self._problems)


class ConfigError(UserError):
    """A flag, key, environment variable or item that is wrong."""


class DataError(UserError):
    """A data set or results file that cannot be read as what it should be."""


def nearest(name: str, known: Sequence[str]) -> str | None:
    """`did you mean X?` for the known name closest to a typo, or None when nothing is near.

    Near is a name that goes on as the typo begins (`--batch`), or has most letters in its order. The dashes of a flag
    are none of them.
    """
    bare = {each.lstrip("-"): each for each in reversed(known)}
    typed = name.lstrip("-")
    longer = [each for each in bare if len(typed) > 2 and each.startswith(typed)]
    close = difflib.get_close_matches(typed, bare, n=1, cutoff=0.65) or longer[-1:]
    return f"did you mean {bare[close[0]]!r}?" if close else None


def unknown(where: str, kind: str, name: str, known: Sequence[str], allowed: str | None = None) -> Problem:
    """The one way to say that a name is none of a kind: `unknown norm 'bacth'; allowed: ...; did you mean 'batch'?`.

    allowed: in words, where more is allowed than the known names
    """
    return Problem(where, f"unknown {kind} {name!r}", allowed or ", ".join(known), nearest(name, known))


def attempt(problems: list[Problem], call: Callable[[], Any]) -> Any:
    """The call's value, or None with its problems collected."""
    try:
        return call()
    except UserError as error:
        problems.extend(error.problems)
        return None
