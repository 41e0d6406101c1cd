"""What a configuration file may not start by itself: code that it names, and a cluster that runs it.

The word of the user is what was typed: a flag, `--set`, a variable of the environment, an argument of a library's call.
A file may be somebody else's. So what it names is imported where the user says `--trust` alone, whatever the command.
"""

from __future__ import annotations

from gradlab import data
from gradlab.base.errors import Problem
from gradlab.base.grammar import names_attribute
from gradlab.config.keys import PARTS
from gradlab.config.settings import Setting
from gradlab.parts.registries import REGISTRIES
from gradlab.tables.layers import is_own

TRUST = "--trust"


def untrusted(setting: Setting) -> Problem | None:
    """The problem of a setting that somebody must vouch for; None where it starts nothing."""
    found = [text for value in setting.values for text in _started(setting.key.path, value)]
    if not found:
        return None
    what = ", ".join(map(repr, dict.fromkeys(found)))
    if setting.key.path == "run.ray_address":
        message, hint = (
            f"{what} is a cluster that would run code and send objects",
            "the file may be somebody else's",
        )
    else:
        message, hint = f"{what} is code, which no file starts by itself", "read that code first"
    return Problem(setting.where, message, f"{TRUST}, where you trust the file", hint)


def _started(path: str, value: object) -> list[str]:
    """What a value of a key starts: each `package.module:Attr`, or the address of a cluster."""
    if not isinstance(value, str):
        return []
    if path == "run.ray_address":
        return [value] if value else []
    if path == "data.name":
        return [value] if data.is_code(value) else []
    if path == "recording.metrics":
        return [part.strip() for part in value.split(",") if is_own(part)]
    if path not in PARTS or not names_attribute(value):
        return []
    registry = REGISTRIES[PARTS[path]]()
    registered = getattr(
        registry.get(value.split(":")[0]), "short", ""
    )  # `dks:relu` names an entry, not a module
    return [value] if getattr(registry, "own", False) and not registered else []
