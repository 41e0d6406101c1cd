"""From the text of `--data` to a Dataset, its canonical name and its digest."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from gradlab.data.dataset import Dataset, Table
from gradlab.data.registry import RECIPE_VERSION, REGISTRY
from gradlab.errors import ConfigError, DataError, Problem, nearest
from gradlab.items import Value, bind, parse_item, write_item


def names() -> list[str]:
    """The built-in names, in the registry's order."""
    return list(REGISTRY)


def load(name: str, target: str = "", where: str = "--data") -> Dataset:
    """The data set written as `name`, split and standardised (gradlab.data.split).

    name:   a built-in (`digits`, `moons:noise=0.1`)
    target: the column (or array) of a file that holds the class; empty for a built-in
    where:  what to call the place in an error
    Raises ConfigError for an unknown name or parameter.
    """
    from gradlab.data import recipes
    from gradlab.data.split import prepare

    built_in = _built_in(name, where)
    table: Table = getattr(recipes, built_in.name)(built_in.values)
    return prepare(table, built_in.text, digest(name, target, where))


def canonical(name: str, where: str = "--data") -> str:
    """The canonical text of `name`: a built-in's parameters that differ from their default."""
    return _built_in(name, where).text


def digest(name: str, target: str = "", where: str = "--data") -> str:
    """sha256 (hex) of what defines the data: for a built-in its text and the version of its recipe."""
    text = f"{canonical(name, where)} recipe {RECIPE_VERSION}"
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class _BuiltIn:
    name: str
    values: dict[str, Value]
    text: str


def _built_in(text: str, where: str) -> _BuiltIn:
    item = parse_item(text, where)
    definition = REGISTRY.get(item.name)
    if definition is None:
        raise ConfigError(
            Problem(where, f"unknown data set {text!r}", ", ".join(REGISTRY), nearest(item.name, names()))
        )
    values = bind(item.given, definition.parameters, item.name, where)
    return _BuiltIn(item.name, values, write_item(item.name, values, definition.parameters))
