"""One value, or one list of values, given for one key in one place; and how texts and lists become that."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from gradlab.base.errors import ConfigError, Problem
from gradlab.config.keys import Key, Scalar

USE_COMPARE = "several values make a grid: gradlab compare"


@dataclass(frozen=True)
class Setting:
    """values: distinct, in the order given. is_list: they were given as a list, even if only one is left.
    source: for provenance, "flag --lr"; where: for errors, "--lr"."""

    key: Key
    values: tuple[Scalar, ...]
    is_list: bool
    source: str
    where: str


def single(key: Key, value: object, source: str, where: str) -> Setting:
    """Raises ConfigError when the value is not allowed."""
    return Setting(key, (key.parse(value, where),), False, source, where)


def several(key: Key, values: object, source: str, where: str) -> Setting:
    """Raises ConfigError with one problem for each value that is not allowed."""
    if not key.takes_list:
        raise ConfigError(Problem(where, "cannot be a list", f"one value in [{key.section}]: {key.allowed}"))
    if not isinstance(values, list | tuple):
        raise ConfigError(
            Problem(where, f"{values!r} is not a list", f"[{values!r}], or the key in [{key.section}]")
        )
    if not values:
        raise ConfigError(Problem(where, "the list is empty", f"one or more of: {key.allowed}"))
    parsed: list[Scalar] = []
    problems: list[Problem] = []
    for value in values:
        try:
            parsed.append(key.parse(value, where))
        except ConfigError as error:
            problems.extend(error.problems)
    if problems:
        raise ConfigError(problems)
    return Setting(key, tuple(dict.fromkeys(parsed)), True, source, where)


def from_text(key: Key, value: object, source: str, where: str) -> Setting:
    """A flag, a `--set` or a variable, text in which commas separate values; or what a library's caller gave.

    Raises ConfigError when a value is not allowed.
    """
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    elif hasattr(value, "tolist"):  # NumPy's numbers and arrays
        value = value.tolist()
    if isinstance(value, str) and key.takes_list and "," in value:
        items = value.split(",")
        if not all(item.strip() for item in items):
            raise ConfigError(
                Problem(where, f"{value!r} has an empty item", "values separated by single commas")
            )
        return several(key, items, source, where)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return several(key, list(value), source, where)
    return single(key, value, source, where)
