"""Precedence: defaults < file < environment < flags and `--set`. Everything wrong in any of them, at once."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from gradlab.base.errors import DEBUG, ConfigError, Problem, nearest
from gradlab.config import shipped
from gradlab.config.files import read_file
from gradlab.config.keys import BY_FLAG, KEYS, Scalar, find
from gradlab.config.request import Request
from gradlab.config.sections import Config
from gradlab.config.settings import USE_COMPARE, Setting, from_text

PREFIX = "GRADLAB_"

DEFAULT_GRID: Mapping[str, tuple[Scalar, ...]] = {
    "network.activation": (
        "sigmoid",
        "hard_sigmoid",
        "tanh",
        "linear",
        "relu",
        "leaky_relu",
        "prelu",
        "gelu",
    ),
    "network.depth": (5, 20),
}
"""What `compare` compares when nobody gave a list: logistic, linear and rectifiers, at two depths."""

DEFAULT_GRID_STEPS = 250
"""Its number of updates: enough to see who learns, in under a minute on two cores."""

Layer = Mapping[str, Setting]


def resolve(
    *,
    file: Path | None = None,
    trusted: bool = False,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
    sets: Sequence[str] = (),
    lists: bool = False,
) -> Request:
    """The configuration that a file, the environment, flags and `--set` ask for.

    file:        a TOML file, or the name of one that comes with gradlab
    trusted:     whether the file may name code, which is then imported (`gradlab.config.trust`)
    environment: variables by name; only GRADLAB_SECTION__KEY count
    flags:       the flag's name with underscores -> text, typed value or list; None means not given
    sets:        texts `section.key=value`
    lists:       several values a key are allowed (a comparison)

    Raises ConfigError with every problem at once.
    """
    request, problems = collect(
        file=file, trusted=trusted, environment=environment, flags=flags, sets=sets, lists=lists
    )
    if problems:
        raise ConfigError(problems)
    return request


def collect(
    *,
    file: Path | None = None,
    trusted: bool = False,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
    sets: Sequence[str] = (),
    lists: bool = False,
    default_grid: bool = True,
) -> tuple[Request, list[Problem]]:
    """As `resolve`, but the problems are returned beside a request that has the defaults in their places.

    For a caller that checks more and reports everything at once. Without `default_grid` a comparison in which
    nobody gave a list stays a single cell.
    """
    problems: list[Problem] = []
    from_file, file_problems = read_file(shipped.found(file), trusted) if file is not None else ([], [])
    problems += file_problems
    warnings = _unknown_variables(environment or {})
    layers: list[Layer] = [
        _layer(_command(flags or {}, sets), problems),
        _layer(_environment(environment or {}), problems),
        {setting.key.path: setting for setting in from_file},
    ]
    chosen = dict(ChainMap(*map(dict, layers)))
    if lists and default_grid:
        chosen |= _default_grid(chosen)
    if not lists:
        problems += [
            Problem(
                s.where,
                f"{', '.join(map(str, s.values))} is a list",
                f"one value: {s.key.allowed}",
                USE_COMPARE,
            )
            for s in chosen.values()
            if len(s.values) > 1
        ]
    return _request(chosen, lists, warnings), problems


def _layer(parts: Iterable[Setting | Problem], problems: list[Problem]) -> Layer:
    """The settings of one layer by key. Its problems, with settings that disagree, go to `problems`."""
    layer: dict[str, Setting] = {}
    for part in parts:
        if isinstance(part, Problem):
            problems.append(part)
            continue
        before = layer.setdefault(part.key.path, part)
        if before.values != part.values:
            given, again = (", ".join(map(str, setting.values)) for setting in (before, part))
            problems.append(
                Problem(part.where, f"is {again}, but {before.where} says {given}", "one of them")
            )
    return layer


def _command(flags: Mapping[str, object], sets: Sequence[str]) -> Iterator[Setting | Problem]:
    for flag, value in flags.items():
        if value is None:
            continue
        where = "--" + flag.replace("_", "-")
        if flag not in BY_FLAG:
            yield Problem(
                where, "there is no such flag", hint=nearest(flag, list(BY_FLAG)) or "see gradlab run --help"
            )
            continue
        try:
            yield from_text(BY_FLAG[flag], value, f"flag {where}", where)
        except ConfigError as error:
            yield from error.problems
    for text in sets:
        path, equals, value = text.partition("=")
        path = path.strip()
        where = f"--set {path}"
        if not equals:
            yield Problem(f"--set {text}", "has no value", "--set section.key=value")
            continue
        try:
            yield from_text(find(path, where), value, where, where)
        except ConfigError as error:
            yield from error.problems


def _environment(environment: Mapping[str, str]) -> Iterator[Setting | Problem]:
    for key in KEYS.values():
        text = environment.get(key.variable)
        if text:
            try:
                yield from_text(key, text, f"environment {key.variable}", key.variable)
            except ConfigError as error:
                yield from error.problems


def _unknown_variables(environment: Mapping[str, str]) -> tuple[str, ...]:
    known = [DEBUG, *(key.variable for key in KEYS.values())]
    warnings = []
    for name in sorted(environment):
        if name.startswith(PREFIX) and name not in known:
            hint = nearest(name, known)
            warnings.append(f"environment variable {name} is not known{f'; {hint}' if hint else ''}")
    return tuple(warnings)


def _default_grid(chosen: Layer) -> dict[str, Setting]:
    """The default grid over its keys that nobody set, where nobody gave a list."""
    grid = {path: values for path, values in DEFAULT_GRID.items() if path not in chosen}
    if not grid or any(setting.is_list for setting in chosen.values()):
        return {}
    settings = {
        path: Setting(KEYS[path], values, True, "default grid", path) for path, values in grid.items()
    }
    if "training.steps" not in chosen:
        steps = Setting(
            KEYS["training.steps"], (DEFAULT_GRID_STEPS,), False, "default grid", "training.steps"
        )
        settings["training.steps"] = steps
    return settings


def _request(chosen: Layer, lists: bool, warnings: tuple[str, ...]) -> Request:
    sections: dict[str, dict[str, Scalar]] = {}
    for setting in chosen.values():
        sections.setdefault(setting.key.section, {})[setting.key.name] = setting.values[0]
    ordered = [chosen[path] for path in KEYS if path in chosen]
    return Request(
        base=Config.model_validate(sections),
        grid={setting.key.path: setting.values for setting in ordered if lists and setting.is_list},
        provenance={path: chosen[path].source if path in chosen else "default" for path in KEYS},
        warnings=warnings,
        places={setting.key.path: setting.where for setting in ordered},
    )
