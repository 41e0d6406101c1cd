"""Things of one kind by name: the optimisers, the norms ... and the one error for a name that is none of them.

An entry says everything about its thing. Whoever needs to know what there is (the configuration, `gradlab list`, the
docs, the remedies) reads it off the registry.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Generic, Protocol, TypeVar

from gradlab.base.errors import ConfigError, unknown
from gradlab.base.grammar import Item, Parameter, Value, bind, parse_item, write_item

OWN = "package.module:Attr"
"""How an error calls what is the user's own or another library's."""


class Entry(Protocol):
    """What every entry of a registry says of itself.

    summary: one line for `gradlab list`; parameters: what may be written behind the name, `name:key=value`
    """

    @property
    def summary(self) -> str: ...

    @property
    def parameters(self) -> Mapping[str, Parameter]: ...


T = TypeVar("T", bound=Entry)


@dataclass(frozen=True)
class Chosen(Generic[T]):
    """An entry with its parameters. text: how it is written canonically, without what is at its default."""

    name: str
    entry: T
    values: Mapping[str, Value]
    text: str


class Registry(Mapping[str, T]):
    """The entries of one kind, in the order in which people see them.

    kind: what an error calls them: "norm"
    own:  whether a user's own or any library's, `package.module:Attr`, may stand in an entry's place
    """

    def __init__(self, kind: str, entries: Mapping[str, T], *, own: bool = False) -> None:
        self.kind, self.own = kind, own
        self._entries = dict(entries)

    def __getitem__(self, name: str) -> T:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def allowed(self) -> str:
        """Every name, in words."""
        return ", ".join([*self, *([OWN] if self.own else [])])

    def find(self, name: str, where: str) -> T:
        """The entry of a name. Raises ConfigError naming `where`, with what there is and the nearest name."""
        if name not in self:
            raise ConfigError(unknown(where, self.kind, name, list(self), self.allowed))
        return self[name]

    def choose(self, item: Item | str, where: str) -> Chosen[T]:
        """The entry that an item names, its parameters bound. Raises ConfigError for an unknown name or parameter, and
        for a `package.module:Attr`, which the caller takes care of where `own` is set."""
        item = parse_item(item, where) if isinstance(item, str) else item
        if item.attribute is not None:
            raise ConfigError(unknown(where, self.kind, item.name, list(self), self.allowed))
        entry = self.find(item.name, where)
        values = bind(item.given, entry.parameters, item.name, where)
        return Chosen(item.name, entry, values, write_item(item.name, values, entry.parameters))


def modules_of(package: ModuleType) -> list[ModuleType]:
    """The modules of a package, imported: what is found by being there. Names that begin with `_` are left out."""
    names = sorted(
        module.name for module in iter_modules(package.__path__) if not module.name.startswith("_")
    )
    return [import_module(f"{package.__name__}.{name}") for name in names]
