"""From a request to the cells that will be trained: every component checked, every identity hashed, nothing written.

A cell is one configuration but for the seed. Its id covers what determines its numbers: [network], [data] and
[training] where they differ from the defaults, number format, device type, the bytes of a user's data and the sources
of a user's own parts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

from gradlab import data
from gradlab.base.errors import ConfigError, DataError, Problem, UserError, attempt
from gradlab.base.identity import identity_of
from gradlab.base.places import working_directory
from gradlab.config import KEYS, Request
from gradlab.config.bound import Bound, bind
from gradlab.config.sections import Config, Data, Network, Recording, Run, Section, Training
from gradlab.data import Dataset
from gradlab.tables.cell import CELL
from gradlab.tables.spec import names

RECIPE = 9  # raise it when the same configuration would give other numbers, or when a default changes
MOST_CELLS = 10_000  # of a plan that nobody has said yes to
DATA_SETS = 8  # held in memory, with those of a grid over data


@dataclass(frozen=True)
class Cell:
    """One configuration, everything but the seed, in canonical texts.

    digest:  identity of the data set
    sources: those of the user's own parts, by the path of their key
    extra:   the other keys that the grid varies, flag name -> value, extra cell columns of every table
    """

    id: str
    network: Network
    data: Data
    training: Training
    dtype: str
    device: str
    digest: str
    sources: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    def dataset(self) -> Dataset:
        """Its data set. Raises DataError where that has changed since the cell was made."""
        return load_data(self.data, self.digest)

    def columns(self) -> dict[str, Any]:
        """The cell columns of every table, in the order of `tables.cell.CELL`, then `extra`."""
        network, training = self.network, self.training
        return {
            "cell": self.id,
            "activation": network.activation,
            "depth": network.depth,
            "width": network.width,
            "init": network.init,
            "norm": network.norm,
            "residual": network.residual,
            "optimizer": training.optimizer,
            "lr": training.lr,
            "dataset": self.data.name,
            **self.extra,
        }


@dataclass(frozen=True)
class Stack:
    """Seeds of one cell that train together."""

    cell: Cell
    seeds: tuple[int, ...]
    recording: Recording

    @property
    def key(self) -> str:
        """Names the stack in a journal."""
        return f"{self.cell.id}-{self.seeds[0]}-{self.seeds[-1]}"

    @cached_property
    def bound(self) -> Bound:
        """Its parts, made in each process for itself. Raises ConfigError where a user's own cannot be imported."""
        return bind(self.cell.network, self.cell.training, self.recording)

    def check_sources(self) -> None:
        """Raise DataError where a part of the user's own has changed since the cell was made."""
        for path, own in self.bound.own.items():
            if identity_of(own.source_now) != self.cell.sources.get(path):
                hint = "start the command again"
                raise DataError(Problem(own.name, "it has changed since this was planned", hint=hint))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "bound"}


@dataclass(frozen=True)
class Plan:
    """Everything a run or comparison will do.

    id:      `g` and 12 hex digits over the cells, the seeds and [recording]: the results folder's identity
    out:     where the results go
    varying: flag names of grid keys that have a column of their own besides the cell columns
    """

    id: str
    cells: tuple[Cell, ...]
    seeds: tuple[int, ...]
    recording: Recording
    run: Run
    request: Request
    out: Path
    varying: tuple[str, ...] = ()
    best_over: str | None = None

    def stacks(self) -> list[Stack]:
        """The units of work: every cell's seeds in fixed chunks of `training.stack_size`."""
        return list(self._stacks)

    @cached_property
    def _stacks(self) -> tuple[Stack, ...]:
        return tuple(
            Stack(cell, self.seeds[start : start + cell.training.stack_size], self.recording)
            for cell in self.cells
            for start in range(0, len(self.seeds), cell.training.stack_size)
        )


def make(
    request: Request, *, best_over: str | None = None, root: Path | None = None, most: int | None = MOST_CELLS
) -> Plan:
    """Check every component of every cell and give each its identity.

    root: the folder that `results/` is in, by default the working directory. most: the cells of a plan; None for any
    number. Raises ConfigError or DataError with
    every problem found.
    """
    problems: list[Problem] = []
    here = working_directory()  # without one, not even PyTorch can be loaded
    run, recording = request.base.run, request.base.recording
    device = device_of(run.device, request, problems)
    grid = {path: request.values(path) for path in request.grid}
    _check_size(grid, most)
    columns = {"data", *names(CELL)}
    varying = [path for path in grid if len(grid[path]) > 1 and KEYS[path].flag not in columns]
    if best_over is not None:
        _check_best_over(best_over, grid, problems)
    cells: dict[str, Cell] = {}
    seen: set[tuple[str, str]] = set()
    datasets = cache(_first_load)
    for values in product(*grid.values()):
        config = _with_values(request.base, dict(zip(grid, values, strict=True)))
        found: list[Problem] = []
        cell = _cell(config, request, device, varying, datasets, found)
        problems.extend(p for p in found if (p.where, p.message) not in seen)
        seen.update((p.where, p.message) for p in found)
        if cell is not None:
            cells.setdefault(cell.id, cell)
    if problems:
        raise UserError(problems)
    seeds = tuple(range(run.first_seed, run.first_seed + run.seeds))
    identity = plan_id(cells, seeds, recording, best_over)
    name = f"{_slug(tuple(cells.values()))}-{identity}"
    out = Path(run.out) if run.out else (root or here) / "results" / name
    flags = tuple(KEYS[path].flag for path in varying)
    return Plan(identity, tuple(cells.values()), seeds, recording, run, request, out, flags, best_over)


def plan_id(cells: Iterable[str], seeds: Sequence[int], recording: Recording, best_over: str | None) -> str:
    """A hash of what a results folder holds: the ids of its cells, its seeds, and what is recorded."""
    return identity_of([sorted(cells), [*seeds], recording.differing(), best_over])


def cell_id(
    network: Section, training: Section, digest: str, dtype: str, device: str, sources: Mapping[str, str]
) -> str:
    """A hash of what determines a cell's numbers: sections in canonical texts, as far as they differ from the
    defaults; the identity of the data; the number format and device type; the sources of the user's own parts."""
    return identity_of(
        [RECIPE, network.differing(), training.differing(), digest, dtype, device, dict(sources)]
    )


_loaded: dict[tuple[Data, str], Dataset] = {}


def load_data(section: Data, digest: str, where: str = "data.name") -> Dataset:
    """The data set of a canonical name, loaded once a process; `digest` tells a changed file from the one loaded
    before. Raises ConfigError and DataError naming `where`."""
    key = (section, digest)
    if key not in _loaded:
        found = data.load(section.name, section.target, where, section.task, section.csv, digest)
        if found.digest != digest:
            raise data.changed(section.name)
        _remember(key, found)
    return _loaded[key]


def _remember(key: tuple[Data, str], dataset: Dataset) -> None:
    while len(_loaded) >= DATA_SETS:
        del _loaded[next(iter(_loaded))]
    _loaded[key] = dataset


def _first_load(section: Data, where: str) -> tuple[Data, Dataset]:
    """The data set that a section names, with the section in canonical texts."""
    found = data.load(section.name, section.target, where, section.task, section.csv)
    texts = {"name": data.canonical(section.name, where), "csv": data.canonical_csv(section.csv)}
    named = section.model_copy(update=texts)
    _remember((named, found.digest), found)
    return named, found


def _cell(
    config: Config,
    request: Request,
    device: str,
    varying: Sequence[str],
    datasets: Callable[[Data, str], tuple[Data, Dataset]],
    problems: list[Problem],
) -> Cell | None:
    """The cell of one resolved configuration, or None with what is wrong appended to `problems`.

    varying: the keys with extra columns; datasets: a data set, loaded once a plan, and how it is named
    """
    where, place = request.where, request.where("data.name")
    bound = attempt(problems, lambda: bind(config.network, config.training, config.recording, request.where))
    loaded = attempt(problems, lambda: datasets(config.data, place))
    if bound is None or loaded is None:
        return None
    named, dataset = loaded
    digest = dataset.digest
    network, training = bound.network, bound.training.section
    before = len(problems)
    attempt(problems, lambda: data.check_batch(dataset, training.batch_size, where("training.batch_size")))
    attempt(
        problems,
        lambda: bound.training.loss.check(dataset, where("training.loss")),
    )
    if len(problems) > before:
        return None
    sources = {path: identity_of(own.source) for path, own in bound.own.items()}
    sections: dict[str, Section] = {"network": network, "training": training}
    extra = {key.flag: getattr(sections[key.section], key.name) for key in (KEYS[path] for path in varying)}
    dtype = config.run.dtype
    identity = cell_id(network, training, digest, dtype, device, sources)
    return Cell(identity, network, named, training, dtype, device, digest, sources, extra)


def _with_values(base: Config, values: Mapping[str, Any]) -> Config:
    sections: dict[str, dict[str, Any]] = {}
    for path, value in values.items():
        section, _, name = path.partition(".")
        sections.setdefault(section, {})[name] = value
    return base.model_copy(
        update={
            section: getattr(base, section).model_copy(update=update) for section, update in sections.items()
        }
    )


def _check_size(grid: Mapping[str, Sequence[Any]], most: int | None) -> None:
    """Raise ConfigError where the grid has more cells than anybody asks for by accident."""
    cells = prod(map(len, grid.values()))
    if most is None or cells <= most:
        return
    sizes = [f"{len(values):,} of {KEYS[path].option}" for path, values in grid.items() if len(values) > 1]
    message = f"{' x '.join(sizes)} are {cells:,} cells"
    hint = "fewer values, or --yes if you want them all"
    raise ConfigError(Problem("grid", message, f"{most:,} cells without --yes", hint))


def _check_best_over(name: str, grid: Mapping[str, Sequence[Any]], problems: list[Problem]) -> None:
    over = {KEYS[path].flag: values for path, values in grid.items()}
    if len(over.get(name, ())) < 2:
        allowed = (
            ", ".join(flag for flag, values in over.items() if len(values) > 1) or "a key given as a list"
        )
        problems.append(Problem("--best-over", f"the comparison does not vary {name!r}", allowed))


def device_of(name: str, request: Request, problems: list[Problem]) -> str:
    """The device type that `name` stands for here; torch is loaded only when it is not the CPU."""
    if name == "cpu":
        return name
    import torch

    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return next(device for device, there in available.items() if there)
    if not available[name]:
        there = ", ".join(device for device, there in available.items() if there)
        problems.append(Problem(request.where("run.device"), f"this machine has no {name}", f"auto, {there}"))
    return name


def _slug(cells: Sequence[Cell]) -> str:
    """A readable start for the folder's name: the one cell, or what is compared."""
    if len(cells) == 1:
        network, dataset = cells[0].network, cells[0].data
        parts = [network.activation, f"d{network.depth}", Path(dataset.name).stem]
    else:
        parts = ["compare", f"{len(cells)}-cells"]
    return re.sub(r"[^A-Za-z0-9.]+", "-", "-".join(parts)).strip("-").lower()[:60]
