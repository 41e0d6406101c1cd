"""The table of every configuration key, read off the models: its flag, variable, range and meaning."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from gradlab.base.errors import ConfigError, Problem, nearest
from gradlab.base.grammar import reads_as_number
from gradlab.config.sections import Config, Section
from gradlab.parts.registries import REGISTRIES

Scalar = str | int | float | bool | None

# Lists make a grid of cells. What is recorded and where it is written is the same for all of them; so is
# `target`, whose text is a column's name and may itself hold a comma.
LIST_SECTIONS = ("network", "training")
LIST_KEYS = ("data.name",)
PATHS = ("run.out", "data.name")
"""keys whose text may name a file, which cannot hold a NUL character"""
PARTS: Mapping[str, str] = {
    "network.activation": "activations",
    "network.init": "inits",
    "network.norm": "norms",
    "network.residual": "residuals",
    "data.name": "datasets",
    "training.optimizer": "optimizers",
    "training.schedule": "schedules",
    "training.loss": "losses",
    "recording.record": "records",
}
"""keys whose text names a part, with the kind that `gradlab list` has for it"""


@dataclass(frozen=True)
class Key:
    """One key of one section.

    path:    "training.lr", as in `--set` and in [grid]
    flag:    "lr", the flag's name with underscores; the same as the key, but `data` for data.name
    meaning: the docstring under the field
    allowed: the values it takes, in words
    choices: the allowed words, where there are only a few
    """

    section: str
    name: str
    model: type[Section] = field(repr=False)
    default: Scalar
    meaning: str
    allowed: str
    choices: tuple[str, ...] = ()
    is_text: bool = False
    is_switch: bool = False

    @property
    def path(self) -> str:
        return f"{self.section}.{self.name}"

    @property
    def flag(self) -> str:
        return "data" if self.path == "data.name" else self.name

    @property
    def option(self) -> str:
        """The flag as it is typed: `--batch-size`."""
        return "--" + self.flag.replace("_", "-")

    @property
    def variable(self) -> str:
        return f"GRADLAB_{self.section}__{self.name}".upper()

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the parts that the text may name; a text may also hold parameters, or name the user's own."""
        return tuple(REGISTRIES[PARTS[self.path]]()) if self.path in PARTS else ()

    @property
    def words(self) -> str:
        """The words that it takes, for people; empty where the meaning says where they are listed."""
        if self.path in PARTS and "gradlab list" not in self.meaning:
            return REGISTRIES[PARTS[self.path]]().allowed
        return self.allowed if self.choices else ""

    @property
    def is_number(self) -> bool:
        return not (self.is_text or self.is_switch or self.choices)

    @property
    def takes_list(self) -> bool:
        return self.section in LIST_SECTIONS or self.path in LIST_KEYS

    def parse(self, value: object, where: str) -> Scalar:
        """The typed value of a text, a TOML value or a caller's value. Raises ConfigError naming `where`."""
        if isinstance(value, str):
            value = value.strip()
            if "\0" in value and self.path in PATHS:
                raise ConfigError(Problem(where, f"{value!r} holds a NUL character", self.allowed))
        elif self.is_text and isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)  # `probe = 512` in a file means the text 512
        if isinstance(value, str) and self.is_number and not reads_as_number(value):
            raise ConfigError(self._problem(value, "number", where))
        if isinstance(value, bool) and not self.is_switch:  # else true would be read as the number 1
            raise ConfigError(self._problem(value, "bool", where))
        try:
            parsed: Scalar = getattr(self.model.model_validate({self.name: value}), self.name)
        except ValidationError as error:
            raise ConfigError(self._problem(value, error.errors()[0]["type"], where)) from None
        return parsed

    def _problem(self, value: object, kind: str, where: str) -> Problem:
        shown = _shown(value)
        if isinstance(value, list | tuple | dict):
            return Problem(where, f"{shown} is not a single value", self.allowed)
        if self.choices:
            return Problem(where, f"{shown} is not known", self.allowed, nearest(str(value), self.choices))
        if kind.startswith(("greater_than", "less_than", "finite_number")):
            return Problem(where, f"{shown} is out of range", self.allowed)
        kind_of_value = re.split(" [<>]", self.allowed)[0]
        one = "; it takes one value, not a list" if isinstance(value, str) and "," in value else ""
        return Problem(where, f"{shown} is not {kind_of_value}{one}", self.allowed)


def _shown(value: object) -> str:
    """A value as its writer wrote it: TOML's true, not Python's True."""
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, str) else str(value)


def _allowed(schema: Mapping[str, Any]) -> str:
    """The values a field takes, in words, from its JSON schema."""
    for option in schema.get("anyOf", ()):
        if option.get("type") != "null":
            return _allowed(option)
    if "enum" in schema:
        return ", ".join(schema["enum"])
    if schema["type"] == "boolean":
        return "true or false"
    if schema["type"] == "string":
        return "a text"
    kind = "a whole number" if schema["type"] == "integer" else "a number"
    low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    high, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    words = []
    if low is not None:
        words.append(f">= {low:g}")
    if above is not None:
        words.append(f"> {above:g}")
    if high is not None:
        words.append(f"<= {int(high)}" if schema["type"] == "integer" else f"<= {high:g}")
    if below is not None:
        words.append(f"< {int(below)}" if schema["type"] == "integer" else f"< {below:g}")
    return f"{kind} {' and '.join(words)}" if words else kind


def _key(section: str, model: type[Section], name: str, info: FieldInfo, schema: Mapping[str, Any]) -> Key:
    return Key(
        section=section,
        name=name,
        model=model,
        default=info.default,
        meaning=info.description or "",
        allowed=_allowed(schema),
        choices=tuple(schema.get("enum", ())),
        is_text=info.annotation is str,
        is_switch=info.annotation is bool,
    )


def _read_models() -> dict[str, Key]:
    keys: dict[str, Key] = {}
    for section, outer in Config.model_fields.items():
        model = outer.annotation
        assert isinstance(model, type) and issubclass(model, Section), get_args(model)
        schemas = model.model_json_schema()["properties"]
        for name, info in model.model_fields.items():
            key = _key(section, model, name, info, schemas[name])
            keys[key.path] = key
    return keys


KEYS: dict[str, Key] = _read_models()
"""path -> Key, in the order of the sections"""

BY_FLAG: dict[str, Key] = {key.flag: key for key in KEYS.values()}
assert len(BY_FLAG) == len(KEYS), "two sections share a flag"


def section_names() -> list[str]:
    return list(Config.model_fields)


def find(path: str, where: str) -> Key:
    """The key written `section.name`. Raises ConfigError with the nearest one for a typo."""
    key = KEYS.get(path)
    if key is not None:
        return key
    section, _, name = path.partition(".")
    if section not in Config.model_fields:
        known = section_names()
        raise ConfigError(
            Problem(where, f"there is no section {section!r}", ", ".join(known), nearest(section, known))
        )
    names = [key.name for key in KEYS.values() if key.section == section]
    raise ConfigError(
        Problem(where, f"[{section}] has no key {name!r}", ", ".join(names), nearest(name, names))
    )
