"""A TOML file as settings: sections with one value a key, and [grid] with lists."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gradlab.base.errors import ConfigError, Problem, nearest
from gradlab.base.user_file import read_bytes
from gradlab.config import shipped
from gradlab.config.keys import BY_FLAG, KEYS, find, section_names
from gradlab.config.settings import Setting, several, single
from gradlab.config.trust import TRUST, untrusted

GRID = "grid"
STARTER = "gradlab config init prints one to start from"


def read_file(path: Path, trusted: bool = False) -> tuple[list[Setting], list[Problem]]:
    """Every setting of the file that is right, and every problem with the others.

    trusted: whether it may name code. Without, such a setting is a problem (see `gradlab.config.trust`).
    """
    try:
        tables = _load(path)
    except ConfigError as error:
        return [], error.problems
    settings: list[Setting] = []
    problems: list[Problem] = []
    for section, table in tables.items():
        for part in _section(path, section, table):
            if isinstance(part, Problem):
                problems.append(part)
            else:
                settings.append(part)
    problems += _twice(path, settings)
    if trusted:
        return settings, problems
    doubtful = {setting.key.path: problem for setting in settings if (problem := untrusted(setting))}
    return [each for each in settings if each.key.path not in doubtful], [*problems, *doubtful.values()]


def trust_flag(path: Path | None) -> str:
    """What a command line with `--config` on this file needs besides: ` --trust` where it names code, else nothing."""
    doubtful = path is not None and path.exists() and any(map(untrusted, read_file(path, trusted=True)[0]))
    return f" {TRUST}" if doubtful else ""


def _load(path: Path) -> dict[str, Any]:
    name = str(path)
    try:
        text = read_bytes(path).decode("utf-8-sig")
        return tomllib.loads(text)
    except FileNotFoundError:
        beside = nearest(path.name, [other.name for other in path.parent.glob("*.toml")])
        hint = beside or nearest(path.stem, shipped.names())
        raise ConfigError(Problem(name, "no such file", "a TOML file", hint)) from None
    except IsADirectoryError:
        raise ConfigError(Problem(name, "is a folder", "a TOML file")) from None
    except OSError as error:
        raise ConfigError(Problem(name, f"cannot be read: {error.strerror}", "a TOML file")) from None
    except UnicodeDecodeError as error:
        raise ConfigError(Problem(name, f"is not UTF-8 text (byte {error.start})", "a TOML file")) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(Problem(name, f"is not TOML: {error}", hint=STARTER)) from None
    except ValueError:  # Python reads no whole number of more than some thousand digits
        hint = "find it and write a number that its key allows"
        raise ConfigError(Problem(name, "holds a whole number of too many digits", hint=hint)) from None
    except RecursionError:
        raise ConfigError(Problem(name, "is nested too deeply to be read", hint=STARTER)) from None


def _section(path: Path, section: str, table: object) -> Iterator[Setting | Problem]:
    known = [*section_names(), GRID]
    where = f"{path}: {section}"
    if section not in known:
        message, hint = f"there is no section {section!r}", nearest(section, known)
        if section in BY_FLAG:
            message, hint = "a key stands in a section", f"write it under [{BY_FLAG[section].section}]"
        yield Problem(where, message, ", ".join(known), hint)
    elif not isinstance(table, Mapping):
        yield Problem(where, "is a section, not a key", f"[{section}] and keys under it")
    elif section == GRID:
        yield from _grid(path, table)
    else:
        for name, value in table.items():
            try:
                key = find(f"{section}.{name}", f"{where}.{name}")
                if isinstance(value, list):
                    hint = f"a list stands in [grid]: {key.flag} = [...]" if key.takes_list else None
                    yield Problem(f"{where}.{name}", "is a list", f"one value: {key.allowed}", hint)
                else:
                    yield single(key, value, f"file {path}", f"{where}.{name}")
            except ConfigError as error:
                yield from error.problems


def _grid(path: Path, table: Mapping[str, Any]) -> Iterator[Setting | Problem]:
    flat = {}
    for name, value in table.items():
        if isinstance(value, Mapping):  # `network.depth = [5, 20]` is a nested table to TOML
            flat.update({f"{name}.{inner}": values for inner, values in value.items()})
        else:
            flat[name] = value
    for name, values in flat.items():
        where = f"{path}: {GRID}.{name}"
        try:
            if name in BY_FLAG:
                key = BY_FLAG[name]
            elif "." in name:
                key = find(name, where)
            else:
                listable = [flag for flag, key in BY_FLAG.items() if key.takes_list]
                raise ConfigError(
                    Problem(where, f"there is no key {name!r}", ", ".join(listable), nearest(name, listable))
                )
            yield several(key, values, f"file {path}", where)
        except ConfigError as error:
            yield from error.problems


def _twice(path: Path, settings: list[Setting]) -> Iterator[Problem]:
    """A key in its section and in [grid], or in [grid] under both its names."""
    for key in KEYS.values():
        places = [setting.where for setting in settings if setting.key == key]
        if len(places) > 1:
            others = " and ".join(place.removeprefix(f"{path}: ") for place in places[1:])
            yield Problem(places[0], f"is set again as {others}", "one of them")
