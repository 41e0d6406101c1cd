"""What is the user's own or any library's, written `package.module:Attr[:key=value]`: imported, called, identified.

The code is the user's: it may raise anything, print, or call sys.exit. Whatever it does becomes one problem with its
place, and what it prints goes to stderr, since stdout carries data.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from gradlab.base.errors import DEBUG, ConfigError, GradlabError, Problem, in_words, nearest
from gradlab.base.grammar import Item, Parameter, Value, bind, reads_as_number, write_item
from gradlab.base.places import working_directory
from gradlab.base.user_file import read_text

Literal = int | float | str
WORDS: Mapping[str, Literal] = {"True": True, "False": False}


@dataclass(frozen=True)
class Own:
    """An attribute that the user named.

    text:      how it is written: `mynets:Swish:beta=2`; name: without the parameters
    attribute: what was imported
    arguments: the parameters that are its own, numbers where they read as such
    settings:  the value of each parameter that gradlab keeps for itself
    source:    the texts of the module that was named and of the file that defines it, where that is another; part of
               the identity of whatever is made with it
    where:     how an error names the place it was given in
    """

    text: str
    name: str
    attribute: Any
    arguments: Mapping[str, Literal]
    settings: Mapping[str, Value]
    source: str
    where: str

    @property
    def source_now(self) -> str:
        """As `source`, of the files as they are by now."""
        return "\n".join(_text(module) for module in _modules(self.name, self.attribute))

    def running(self) -> AbstractContextManager[None]:
        """Around a call of it in the middle of a run: see `users_code`."""
        return users_code(self.where, f"{self.text} failed")

    def refused(self, message: str, allowed: str | None = None, hint: str | None = None) -> ConfigError:
        """The error that says what is wrong with it."""
        return ConfigError(Problem(self.where, f"{self.text} {message}", allowed, hint))


def load_own(item: Item, where: str, reserved: Mapping[str, Parameter] | None = None) -> Own:
    """Import what an item names; the working directory counts as on the path.

    A module that is there already is taken as it is, as Python does.

    reserved: the parameters that are not passed on to it. Raises ConfigError naming `where` when there is no such
    module or attribute, when it cannot be called or its file has changed since it was imported, and for a reserved
    parameter that is not allowed.
    """
    reserved = reserved or {}
    name = f"{item.name}:{item.attribute}"
    given = {key: value for key, value in item.given.items() if key not in reserved}
    kept = {key: value for key, value in item.given.items() if key in reserved}
    settings = bind(kept, reserved, name, where)
    text = write_item(
        ":".join([name, *(f"{key}={value}" for key, value in given.items())]), settings, reserved
    )
    attribute = import_attribute(item, where)
    arguments = {key: _literal(value) for key, value in given.items()}
    with users_code(where, f"{name} cannot be looked at"):
        source = _imported_source(name, attribute, where)
    return Own(text, name, attribute, arguments, settings, source, where)


def import_attribute(item: Item, where: str) -> Any:
    """The attribute of an item `package.module:Attr`, which must be callable. Raises ConfigError naming `where`."""
    with suppress(ConfigError):  # one that is gone holds no module
        here = str(working_directory())
        if here not in sys.path:
            sys.path.insert(0, here)
    allowed = "a module in the working directory or the environment"
    if item.name.endswith(".py"):
        message = f"{item.name!r} is the name of a file"
        module = item.name.removesuffix(".py")
        raise ConfigError(Problem(where, message, allowed, f"write {module}:{item.attribute}"))
    with users_code(where, f"cannot import {item.name!r}", allowed):
        found: Any = importlib.import_module(item.name)
    _check_default_device(item.name, where)
    assert item.attribute is not None
    name = f"{item.name}:{item.attribute}"
    with users_code(where, f"cannot get {name}"):  # a module may have a __getattr__ of its own
        for part in item.attribute.split("."):
            if not hasattr(found, part):
                message = f"module {item.name!r} has no attribute {item.attribute!r}"
                raise ConfigError(
                    Problem(where, message, "a class or a function that is there", nearest(part, dir(found)))
                )
            found = getattr(found, part)
    if not callable(found):
        raise ConfigError(Problem(where, f"{name} cannot be called", "a class or a function"))
    return found


def _check_default_device(module: str, where: str) -> None:
    """Raise ConfigError where a module that was imported has left torch a default device that computes nothing; the
    default is set back."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_default_device().type == "meta":
        torch.set_default_device(None)
        message = f"{module!r} makes meta torch's default device, on which nothing is computed"
        raise ConfigError(Problem(where, message, "a device that computes", 'with torch.device("meta"): ...'))


@contextmanager
def users_code(where: str, failed: str, allowed: str | None = None) -> Iterator[None]:
    """Around a call of the user's code: whatever it raises becomes a ConfigError `failed: reason` naming `where`, and
    what it prints goes to stderr. Ctrl-C and gradlab's own errors pass through."""
    try:
        with redirect_stdout(sys.stderr):
            yield
    except (KeyboardInterrupt, MemoryError, GradlabError):
        raise
    except BaseException as error:  # a user's code may also call sys.exit
        hint = None if allowed else f"{DEBUG}=1 shows where in your code"
        raise ConfigError(Problem(where, f"{failed}: {in_words(error)}", allowed, hint)) from error


_seen: dict[str, tuple[object, str]] = {}
"""module -> what Python imported it by, and the text of its file when gradlab first met it"""


def _imported_source(name: str, attribute: Any, where: str) -> str:
    """The source of what is in memory. Raises ConfigError where the file says something else by now: its results would
    be kept under the wrong name."""
    texts = {module: _text(module) for module in _modules(name, attribute)}
    for module, text in texts.items():
        spec = getattr(module, "__spec__", None)
        met, then = _seen.setdefault(module.__name__, (spec, text))
        if met is not spec:  # it was imported again
            _seen[module.__name__] = (spec, text)
        elif text != then:
            message = f"module {module.__name__!r} has changed since it was imported"
            raise ConfigError(Problem(where, message, hint="start Python again, or reload the module"))
    return "\n".join(texts.values())


def _modules(name: str, attribute: Any) -> list[ModuleType]:
    """The module that was named, and the one that defines the attribute, beneath decorators and `functools.partial`; of
    an object that was built already, the one of its class. Whole files: a change in a helper beside it counts, too."""
    found = inspect.unwrap(attribute)
    while isinstance(found, partial):
        found = inspect.unwrap(found.func)
    defined = found if inspect.isclass(found) or inspect.isroutine(found) else type(found)
    names = (name.partition(":")[0], getattr(defined, "__module__", None) or "")
    return [sys.modules[each] for each in dict.fromkeys(names) if each in sys.modules]


def _text(module: ModuleType) -> str:
    """The text of its file; its name where it has none, such as one in C."""
    try:
        return read_text(Path(inspect.getsourcefile(module) or ""), most=None, errors="backslashreplace")
    except (OSError, TypeError, ValueError):
        return module.__name__


def _literal(text: str) -> Literal:
    """A parameter as a number or truth where it reads as one; never evaluated."""
    if text in WORDS:
        return WORDS[text]
    for kind in (int, float) if reads_as_number(text) else ():
        try:
            return kind(text)
        except ValueError:
            continue
    return text
