"""The command that trains a cell of gradlab's own again with something changed: whole, so that it works where it is
pasted, and not beside the results alone."""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Mapping
from typing import Any

from gradlab.analyse.advice import in_parts
from gradlab.analyse.origin import is_users
from gradlab.base.grammar import format_number
from gradlab.config.keys import KEYS, Key

SECTIONS = ("network", "data", "training")
ALONG = ("run.seeds", "run.first_seed", "run.dtype")
"""keys of other sections that change what is trained"""
COLUMNS = {"dataset": "data.name"}
"""cell columns that are called otherwise than their key"""
ALWAYS = ("network.activation", "network.depth")
"""keys that are said though they are at their default, since people look for them"""


def advised(row: Mapping[str, Any], config: str) -> tuple[str, str]:
    """(the command that the advice of a row of summary.csv comes to, why); the advice itself where it is no command."""
    text = row["advice"] if isinstance(row.get("advice"), str) else ""
    flags, reason = in_parts(text)
    if flags and not is_users(row):
        return command(row, config, flags), reason
    reason, _, code = text.rpartition(": ")
    return (code, reason) if reason else ("", text)


def command(row: Mapping[str, Any], config: str, changes: str = "") -> str:
    """`gradlab run --activation relu --depth 20`: every key of the cell that is not at its default, then the changes.

    row: its cell columns; config: the text of its config.toml, whose lists the columns decide; changes: flags
    """
    given = _of_file(config)
    for column, value in row.items():
        path = COLUMNS.get(column) or next((f"{s}.{column}" for s in SECTIONS if f"{s}.{column}" in KEYS), "")
        if path and not (isinstance(value, float) and value != value):
            given[path] = value
    flags = {
        KEYS[path].option: _text(value)
        for path, value in sorted(given.items(), key=_place)
        if _differs(path, value)
    }
    words = shlex.split(changes)
    flags |= dict(zip(words[::2], words[1::2], strict=True))
    return " ".join(["gradlab run", *(f"{flag} {shlex.quote(value)}" for flag, value in flags.items())])


def _of_file(config: str) -> dict[str, Any]:
    try:
        sections = tomllib.loads(config)
    except tomllib.TOMLDecodeError:
        return {}
    found = {}
    for section, keys in sections.items():
        for name, value in keys.items() if isinstance(keys, dict) else ():
            path = f"{section}.{name}"
            if path in KEYS and (section in SECTIONS or path in ALONG) and not isinstance(value, list):
                found[path] = value
    return found


def _place(item: tuple[str, object]) -> int:
    return list(KEYS).index(item[0])


def _differs(path: str, value: object) -> bool:
    key: Key = KEYS[path]
    if key.is_switch:  # a switch is a flag without a value
        return False
    return path in ALWAYS or _text(value) != ("" if key.default is None else _text(key.default))


def _text(value: object) -> str:
    item = value.item() if hasattr(value, "item") else value
    return format_number(item) if isinstance(item, float) else str(item)
