"""From a request to the cells that will be trained: every component checked, every identity hashed, nothing written.

A cell is one configuration but for the seed. Its id covers what determines its numbers: [network], [data],
[training], number format, device type, the bytes of a user's data and the source of a user's activation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradlab import activations, sensors
from gradlab.base.errors import ConfigError, DataError, Problem, UserError
from gradlab.base.identity import identity_of
from gradlab.config import KEYS, Request
from gradlab.config.sections import Config, Data, Network, Recording, Run, Training
from gradlab.parts import inits, norms, rates, record_schedule, residuals
from gradlab.tables.cell import CELL
from gradlab.tables.spec import names

if TYPE_CHECKING:
    from gradlab.data import Dataset

RECIPE = 6  # raise it when the same configuration would give other numbers
DATA_SETS = 8  # held in memory, with those of a grid over data


@dataclass(frozen=True)
class Cell:
    """One configuration, everything but the seed, in canonical texts.

    digest: identity of the data set; source: that of a user's activation
    extra:  the other keys that the grid varies, flag name -> value, extra cell columns of every table
    """

    id: str
    network: Network
    data: Data
    training: Training
    dtype: str
    device: str
    digest: str
    source: str
    extra: Mapping[str, Any] = field(default_factory=dict)

    def dataset(self) -> Dataset:
        """Its data set. Raises DataError where that has changed since the cell was made."""
        return load_data(self.data, self.digest)

    def check_activation(self) -> None:
        """Raise DataError where the user's activation has changed since the cell was made."""
        text = self.network.activation
        if identity_of(activations.get(text).source) != self.source:
            raise _changed(text.partition(":")[0])

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


@dataclass(frozen=True)
class Plan:
    """Everything a run or comparison will do.

    id:      12 hex digits over the cells, the seeds and [recording]: the results folder's identity
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
        return [
            Stack(cell, self.seeds[start : start + cell.training.stack_size], self.recording)
            for cell in self.cells
            for start in range(0, len(self.seeds), cell.training.stack_size)
        ]


def make(request: Request, *, best_over: str | None = None, root: Path | None = None) -> Plan:
    """Check every component of every cell and give each its identity.

    root: the folder that `results/` is in, by default the working directory. Raises ConfigError or DataError with
    every problem found.
    """
    problems: list[Problem] = []
    run, recording = request.base.run, request.base.recording
    device = device_of(run.device, request, problems)
    check_recording(request, problems)
    grid = {path: request.values(path) for path in request.grid}
    varying = tuple(
        KEYS[path].flag
        for path in grid
        if len(grid[path]) > 1 and KEYS[path].flag not in {"data", *names(CELL)}
    )
    if best_over is not None:
        _check_best_over(best_over, grid, problems)
    cells: dict[str, Cell] = {}
    seen: set[tuple[str, str]] = set()
    for values in product(*grid.values()):
        config = _with_values(request.base, dict(zip(grid, values, strict=True)))
        extra = {KEYS[path].flag: value for path, value in zip(grid, values, strict=True)}
        found: list[Problem] = []
        cell = _cell(config, request, device, {name: extra[name] for name in varying}, found)
        problems.extend(p for p in found if (p.where, p.message) not in seen)
        seen.update((p.where, p.message) for p in found)
        if cell is not None:
            cells.setdefault(cell.id, cell)
    if problems:
        raise UserError(problems)
    seeds = tuple(range(run.first_seed, run.first_seed + run.seeds))
    identity = identity_of([sorted(cells), seeds, recording.model_dump(), best_over])
    out = (
        Path(run.out)
        if run.out
        else (root or Path.cwd()) / "results" / f"{_slug(tuple(cells.values()))}-{identity}"
    )
    return Plan(identity, tuple(cells.values()), seeds, recording, run, request, out, varying, best_over)


def parse_probe(text: str, where: str = "probe") -> int | None:
    """Rows of the probe; None for all of them. Raises ConfigError naming `where`."""
    if text == "all":
        return None
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise ConfigError(Problem(where, f"{text!r} is no number of rows", "a whole number from 1, or all"))


_loaded: dict[tuple[Data, str], Dataset] = {}


def load_data(data: Data, digest: str, where: str = "data.name") -> Dataset:
    """The data set of a canonical name, loaded once a process; `digest` tells a changed file from the one loaded
    before. Raises ConfigError and DataError naming `where`."""
    key = (data, digest)
    if key not in _loaded:
        from gradlab.data import load

        found = load(data.name, data.target, where)
        if found.digest != digest:
            raise _changed(data.name)
        while len(_loaded) >= DATA_SETS:
            del _loaded[next(iter(_loaded))]
        _loaded[key] = found
    return _loaded[key]


def _changed(name: str) -> DataError:
    return DataError(Problem(name, "it has changed since this was planned", hint="start the command again"))


def check_recording(request: Request, problems: list[Problem]) -> None:
    """What no model alone can say of [recording]."""
    recording, where = request.base.recording, request.where
    collect(problems, lambda: record_schedule.parse(recording.record, where("recording.record")))
    collect(problems, lambda: parse_probe(recording.probe, where("recording.probe")))
    for table in recording.asked if recording.record == "off" else ():
        if option := sensors.optional()[table].table.option:
            message = "they are taken at the records, and record = off makes none"
            problems.append(
                Problem(where(f"recording.{option.name}"), message, "record = log, all or every:N")
            )


def check_training(training: Training, request: Request, problems: list[Problem]) -> None:
    """What no model alone can say of [training]."""
    where = request.where
    collect(
        problems,
        lambda: rates.parse(training.schedule, training.lr, training.steps, where("training.schedule")),
    )
    if training.momentum is not None and training.optimizer in ("sgd", "adam", "adamw"):
        problems.append(
            Problem(
                where("training.momentum"),
                f"{training.optimizer} has no momentum of its own",
                "momentum, nesterov or rmsprop as the optimizer, or no momentum",
            )
        )


def _cell(
    config: Config, request: Request, device: str, extra: Mapping[str, Any], problems: list[Problem]
) -> Cell | None:
    """The cell of one resolved configuration, or None with what is wrong appended to `problems`."""
    from gradlab import data

    network, training, where = config.network, config.training, request.where
    before = len(problems)
    activation = collect(problems, lambda: activations.get(network.activation, where("network.activation")))
    init = activation and collect(
        problems, lambda: inits.get(network.init, activation, where("network.init"))
    )
    norm = collect(problems, lambda: norms.get(network.norm, where("network.norm")))
    residual = collect(
        problems, lambda: residuals.get(network.residual, network.depth, where("network.residual"))
    )
    check_training(training, request, problems)
    if norm and norm.name == "batch" and training.batch_size == 1:
        problems.append(Problem(where("training.batch_size"), "batch norm needs two samples or more", ">= 2"))
    digest = collect(problems, lambda: data.digest(config.data.name, config.data.target, where("data.name")))
    if len(problems) > before or not (activation and init and norm and residual and digest):
        return None
    named = config.data.model_copy(update={"name": data.canonical(config.data.name, where("data.name"))})
    dataset = collect(problems, lambda: load_data(named, digest, where("data.name")))
    if dataset is None:
        return None
    collect(problems, lambda: data.check_batch(dataset, training.batch_size, where("training.batch_size")))
    if training.loss == "binary_cross_entropy" and dataset.classes != 2:
        problems.append(
            Problem(
                where("training.loss"),
                f"binary_cross_entropy needs two classes, {dataset.name} has {dataset.classes}",
                "cross_entropy or mse",
            )
        )
    if len(problems) > before:
        return None
    network = network.model_copy(
        update={
            "activation": activation.text,
            "init": init.text,
            "norm": norm.text,
            "residual": residual.text,
        }
    )
    identity = identity_of(
        [
            RECIPE,
            network.model_dump(),
            digest,
            training.model_dump(),
            config.run.dtype,
            device,
            activation.source,
        ]
    )
    source = identity_of(activation.source)
    return Cell(identity, network, named, training, config.run.dtype, device, digest, source, extra)


def collect(problems: list[Problem], call: Callable[[], Any]) -> Any:
    """The call's value, or None with its problems collected."""
    try:
        return call()
    except UserError as error:
        problems.extend(error.problems)
        return None


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
        network, data = cells[0].network, cells[0].data
        parts = [network.activation, f"d{network.depth}", Path(data.name).stem]
    else:
        parts = ["compare", f"{len(cells)}-cells"]
    return re.sub(r"[^A-Za-z0-9.]+", "-", "-".join(parts)).strip("-").lower()[:60]
