"""A configuration as TOML: the file that repeats a run, and the commented one to start from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tomli_w

from gradlab.config.keys import KEYS, section_names
from gradlab.config.sections import Config

NOT_SAVED = (
    "out",
    "force",
    "workers",
    "executor",
    "ray_address",
    "gpus_per_stack",
    "on_error",
    "checkpoint",
)
"""keys of [run] that change nothing in the results"""


def to_toml(config: Config, grid: Mapping[str, Sequence[Any]] | None = None) -> str:
    """The text of a file that asks for the same run: every key that has a value, and the lists in [grid].

    grid: "network.depth" -> its values. Left out: keys without a value (`momentum` by the optimiser's rule) and
    where to write and how to go about it, so that a run has the same text wherever it lands.
    """
    grid = grid or {}
    left_out = {*grid, *(f"run.{name}" for name in NOT_SAVED)}
    tables: dict[str, dict[str, Any]] = {}
    for section, keys in config.model_dump(exclude_none=True).items():
        tables[section] = {name: value for name, value in keys.items() if f"{section}.{name}" not in left_out}
    lists = {KEYS[path].flag: list(values) for path, values in grid.items()}
    return tomli_w.dumps(tables | ({"grid": lists} if lists else {}))


def starter() -> str:
    """A file with every key at its default, commented out, under its meaning and what it allows."""
    lines = [
        "# A gradlab configuration. Every key is shown at its default: uncomment what you change.",
        "# Defaults < this file < environment (GRADLAB_TRAINING__LR) < flags, --set training.lr=0.1",
    ]
    for section in section_names():
        lines += ["", f"[{section}]"]
        for key in KEYS.values():
            if key.section == section:
                words = key.words or ("" if key.is_text else key.allowed)
                lines += ["", f"# {key.meaning}" + (f": {words}" if words else "")]
                value = "..." if key.default is None else _toml_value(key.default)
                lines.append(f"# {key.name} = {value}")
    lines += [
        "",
        "# Lists make a grid of cells, for `gradlab compare`: one cell for each combination.",
        "# Keys are those of [network] and [training], and `data`; a key stands here or in its section.",
        "[grid]",
        '# activation = ["sigmoid", "relu"]',
        "# depth = [5, 20, 50]",
    ]
    return "\n".join(lines) + "\n"


def schema() -> dict[str, Any]:
    """The JSON schema of a file: the sections, and [grid] with a list for each key that takes one. The parts that a key
    may name are its examples: a text with parameters, or one that names the user's own, is as good."""
    document = Config.model_json_schema()
    lists = {}
    for key in KEYS.values():
        items = document["$defs"][key.section.capitalize()]["properties"][key.name]
        if key.parts:
            items["examples"] = [*key.parts]
        if key.takes_list:
            lists[key.flag] = {"type": "array", "minItems": 1, "items": items, "description": key.meaning}
    document["properties"]["grid"] = {"type": "object", "additionalProperties": False, "properties": lists}
    return document


def _toml_value(value: object) -> str:
    return tomli_w.dumps({"key": value}).removeprefix("key = ").rstrip("\n")
