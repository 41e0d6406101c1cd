"""The grammar of one item on the command line: `name:key=value:key=value`, or `package.module:Attr`.

Activations, initialisers, norms, residual schemes, data sets and schedules are all written this way, so that a
comma can separate items and a colon can separate the parts of one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf, isfinite

from gradlab.base.errors import ConfigError, Problem, nearest

Value = float | str
LARGEST = 3e38
"""The largest number of float32, rounded down: what a parameter may be, if it says no more."""


def reads_as_number(text: str) -> bool:
    """Whether a text may be a number at all. Python would read 1_0 as 10, and digits of every script."""
    return text.isascii() and "_" not in text


def is_float(text: str) -> bool:
    """Whether Python and spreadsheets read a text as a number; `nan` and `inf` are some."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def whole_number(text: str) -> int | None:
    """The whole number from 0 that a text writes in at most 18 digits, which a float and an int64 hold; else None."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One parameter of an item: a number in a range, or one of a few words.

    low, high: the range of a number; `open_low` excludes `low` itself
    choices:   the allowed words; when given, the value is a word, not a number
    integer:   a whole number
    default:   None where the parameter may be left out and then means "by the rule in `meaning`"
    """

    default: Value | None
    meaning: str
    low: float = -inf
    high: float = inf
    open_low: bool = False
    integer: bool = False
    choices: tuple[str, ...] = ()

    @property
    def allowed(self) -> str:
        if self.choices:
            return " or ".join(self.choices)
        kind = "a whole number" if self.integer else "a number"
        if self.low == -inf and self.high == inf:
            return kind
        if self.high == inf:
            return f"{kind} {'>' if self.open_low else '>='} {self.low:g}"
        return f"{kind} in {'(' if self.open_low else '['}{self.low:g}, {self.high:g}]"

    def parse(self, text: Value, where: str) -> Value:
        """The value written as `text`. Raises ConfigError naming `where` when it is not allowed."""
        if self.choices:
            if text in self.choices:
                return text
            raise ConfigError(
                Problem(where, f"{text!r} is not known", self.allowed, nearest(str(text), self.choices))
            )
        try:
            if isinstance(text, str) and not reads_as_number(text):
                raise ValueError
            number = float(text)
        except ValueError:
            raise ConfigError(Problem(where, f"{text!r} is not a number", self.allowed)) from None
        too_low = number < self.low or (self.open_low and number == self.low)
        if (
            not isfinite(number)
            or too_low
            or number > self.high
            or abs(number) > max(LARGEST, self.high if isfinite(self.high) else 0.0)
            or (self.integer and not number.is_integer())
        ):
            raise ConfigError(Problem(where, f"{text} is out of range", self.allowed))
        return number


@dataclass(frozen=True)
class Item:
    """A parsed item. `attribute` is set for a user's own `module:Attr`, whose `name` is then the module."""

    name: str
    attribute: str | None = None
    given: Mapping[str, str] = field(default_factory=dict)


def names_attribute(text: str) -> bool:
    """Whether `parse_item` would find a `package.module:Attr` in the text, or refuse it as a wrong one."""
    _, *parts = text.split(":")
    return bool(parts) and "=" not in parts[0]


def parse_item(text: str, where: str) -> Item:
    """Split one item into its name and its parameters, as text. Raises ConfigError naming `where`."""
    name, *parts = text.strip().split(":")
    if not name:
        raise ConfigError(Problem(where, f"{text!r} has no name", "NAME or NAME:key=value"))
    attribute = None
    if names_attribute(text):
        attribute = parts.pop(0)
        if not all(part.isidentifier() for part in (*name.split("."), *attribute.split("."))):
            raise ConfigError(
                Problem(
                    where, f"{text!r} is neither NAME:key=value nor package.module:Attr", hint="see --help"
                )
            )
    given: dict[str, str] = {}
    for part in parts:
        key, equals, value = part.partition("=")
        if not (key and equals and value):
            raise ConfigError(Problem(where, f"{part!r} in {text!r} is not key=value", "NAME:key=value"))
        if key in given:
            raise ConfigError(Problem(where, f"{key!r} is given twice in {text!r}", "each once"))
        given[key] = value
    return Item(name, attribute, given)


def bind(
    given: Mapping[str, Value], parameters: Mapping[str, Parameter], name: str, where: str
) -> dict[str, Value]:
    """The value of every parameter that has one: what was given, else the default.

    Raises ConfigError with one problem per unknown key or bad value.
    """
    problems: list[Problem] = []
    values = {key: parameter.default for key, parameter in parameters.items()}
    for key, text in given.items():
        if key not in parameters:
            allowed = ", ".join(parameters) or f"{name} takes no parameters"
            problems.append(
                Problem(where, f"{name} has no parameter {key!r}", allowed, nearest(key, list(parameters)))
            )
            continue
        try:
            values[key] = parameters[key].parse(text, f"{where} {name}:{key}")
        except ConfigError as error:
            problems.extend(error.problems)
    if problems:
        raise ConfigError(problems)
    return {key: value for key, value in values.items() if value is not None}


def write_item(name: str, values: Mapping[str, Value], parameters: Mapping[str, Parameter]) -> str:
    """The canonical text of an item: parameters that differ from their default, in their declared order."""
    parts = [name]
    for key, parameter in parameters.items():
        if key in values and values[key] != parameter.default:
            value = values[key]
            parts.append(f"{key}={value if isinstance(value, str) else format_number(value)}")
    return ":".join(parts)


def format_number(value: float) -> str:
    """The shortest text that reads back as the same float, without a trailing `.0`."""
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(float(value))
