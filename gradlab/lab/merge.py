"""Results folders that were made apart, on several machines or one after another, as one folder.

Their cells are disjoint, or the seeds of cells that they share. What is joined is checked first: it must be whole, of
one schema, recipe and gradlab, of the same recording, columns and data, and hold no seed of a cell twice.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any

import pandas as pd

from gradlab.analyse.records_from_tables import split_cells
from gradlab.analyse.summary import summary_row
from gradlab.base import atomic
from gradlab.base.errors import ConfigError, DataError, Problem, UserError, attempt
from gradlab.base.identity import digest_of_file
from gradlab.base.user_file import read_bytes
from gradlab.config import collect, to_toml
from gradlab.config.plan import plan_id
from gradlab.config.request import Request
from gradlab.config.sections import Recording, Run
from gradlab.store import journal
from gradlab.store.folder import WEIGHTS, Claim, ResultsFolder
from gradlab.store.provenance import provenance
from gradlab.store.results import CONFIG, JOURNAL, MANIFEST, Results, read_folder
from gradlab.tables.spec import SCHEMA_VERSION
from gradlab.tables.summary import FAILURES, SUMMARY, summary_table
from gradlab.tables.table import Texts, of_rows, read_texts, write_texts

STATED = ("schema", "recipe", "cells", "seeds", "recording", "versions", "sha256")
"""What a manifest must say of results that are joined."""
OF_MACHINE = ("platform", "products")


@dataclass(frozen=True)
class Part:
    """One folder that is joined."""

    path: Path
    results: Results
    texts: Mapping[str, Texts]

    @property
    def manifest(self) -> Mapping[str, Any]:
        return self.results.manifest

    @property
    def cells(self) -> list[str]:
        return [str(cell) for cell in self.manifest["cells"]]

    @property
    def seeds(self) -> set[int]:
        return {int(seed) for seed in self.manifest["seeds"]}


def merge(
    folders: Sequence[str | Path],
    out: str | Path,
    *,
    force: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> Results:
    """Join results folders of disjoint cells, or of disjoint seeds of the same cells, into the folder `out`.

    say: told what the new folder lacks, and in what its parts differ that need not agree
    Raises UserError with every problem: a folder that is no whole results folder, two that do not fit, and what is
    wrong with `out`. GradlabError where it cannot be written.

    >>> import gradlab
    >>> for depth in (2, 3):
    ...     _ = gradlab.run(depth=depth, steps=5, seeds=1, out=f"results/depth-{depth}")
    >>> whole = gradlab.merge(["results/depth-2", "results/depth-3"], "results/both")
    >>> sorted(whole.summary["depth"])
    [2, 3]
    """
    target = Path(out)
    parts = _read(list(dict.fromkeys(Path(folder) for folder in folders)), target)
    _check_fit(parts)
    cells = list(dict.fromkeys(cell for part in parts for cell in part.cells))
    seeds = tuple(sorted({seed for part in parts for seed in part.seeds}))
    recording = Recording.model_validate(parts[0].manifest["recording"])
    identity = plan_id(cells, seeds, recording, parts[0].manifest.get("best_over"))
    run = Run(out=str(target), force=force)
    folder = ResultsFolder(Claim(identity, tuple(cells), seeds, recording, run, target), say)
    if folder.state() == "finished":
        return read_folder(folder.path)
    for difference in _may_differ(parts):
        say(difference)
    request = _request(parts, len(cells), seeds)
    if request is None:
        say(f"these cells are no whole grid: there is no {CONFIG} that repeats them")
    tables = _joined(parts)  # what cannot be joined leaves no folder behind
    try:
        folder.prepare()
        weights = _copy_stacks(parts, folder, request)
        for name, texts in tables.items():
            write_texts(folder.file(f"{name}.csv"), texts)
        names = [f"{name}.csv" for name in tables]
        if request is not None:
            atomic.write_text(folder.file(CONFIG), to_toml(request.base, request.grid))
            names.append(CONFIG)
        folder.finish(_manifest(parts) | {"weights": weights}, names)
    except OSError as error:
        raise folder.unwritable(error) from error
    finally:
        folder.close()
    return read_folder(folder.path)


def _read(folders: Sequence[Path], out: Path) -> list[Part]:
    """The folders with their tables. Raises UserError with all that is wrong with any of them by itself."""
    if len(folders) < 2:
        raise ConfigError(Problem("gradlab merge", f"{len(folders)} folder is named", "two or more"))
    if any(folder.resolve() == out.resolve() for folder in folders):
        raise ConfigError(Problem("--out", f"{out} is one of the folders that are joined", "another folder"))
    problems: list[Problem] = []
    found = [attempt(problems, partial(_read_one, folder)) for folder in folders]
    if problems:
        raise DataError(problems)
    return found


def _read_one(folder: Path) -> Part:
    results = read_folder(folder)
    where, manifest = str(folder), results.manifest
    if not results.finished:
        hint = "the command that made it continues it"
        raise DataError(Problem(where, "its run is unfinished", "whole results", hint))
    if lost := [name for name in STATED if name not in manifest]:
        message = f"its {MANIFEST} does not say: {', '.join(lost)}"
        if not manifest:
            message = f"it has no {MANIFEST}: what made it, and whether it is whole, is not known"
        raise DataError(Problem(where, message, "a folder as gradlab left it"))
    if manifest["schema"] != SCHEMA_VERSION:
        message = f"it has schema version {manifest['schema']}, this gradlab writes {SCHEMA_VERSION}"
        raise DataError(Problem(where, message, hint="the command that made it, with --force, makes it anew"))
    sums = {folder / Path(name).name: value for name, value in manifest["sha256"].items()}
    sums |= {folder / WEIGHTS / Path(name).name: v for name, v in manifest.get("weights", {}).items()}
    for path, expected in sums.items():
        if not path.is_file() or digest_of_file(path) != expected:
            raise DataError(
                Problem(str(path), "it is missing or not as gradlab left it", "a folder as gradlab left it")
            )
    texts = {name: read_texts(path) for name, path in results.sources.items()}
    if (failures := folder / f"{FAILURES.name}.csv").is_file():
        texts[FAILURES.name] = read_texts(failures)
    strangers = {row[0] for table in texts.values() for row in table.rows} - {*map(str, manifest["cells"])}
    if strangers:
        message = f"cell {min(strangers)} is in its tables and not in its {MANIFEST}"
        raise DataError(Problem(where, message, "a folder as gradlab left it"))
    return Part(folder, results, texts)


def _check_fit(parts: Sequence[Part]) -> None:
    """Raise DataError with every difference between two parts that keeps them from being joined."""
    problems: list[Problem] = []
    first = parts[0]
    stated = _stated(first)
    for part in parts[1:]:
        for what, value in _stated(part).items():
            if value != stated.get(what, value) or (what not in stated and not what.startswith("data")):
                message = f"{what} is {_shown(value)}, and {_shown(stated.get(what))} in {first.path}"
                problems.append(Problem(str(part.path), message, "the same in all of them"))
        stated |= {what: value for what, value in _stated(part).items() if what.startswith("data")}
    if problems:
        raise DataError(problems)
    have: dict[str, dict[int, Path]] = {}
    for part in parts:
        for cell in part.cells:
            of_cell = have.setdefault(cell, {})
            if twice := sorted(part.seeds & set(of_cell)):
                message = f"cell {cell}, seed {twice[0]} is in {of_cell[twice[0]]}, too"
                problems.append(Problem(str(part.path), message, "each seed of a cell once"))
                break
            of_cell.update(dict.fromkeys(part.seeds, part.path))
    if not problems:
        for (one, some), (other, others) in pairwise(have.items()):
            if set(some) != set(others):
                message = f"cell {one} has seeds {_span(some)}, cell {other} {_span(others)}"
                problems.append(Problem("gradlab merge", message, "the same seeds of every cell"))
                break
    if problems:
        raise DataError(problems)


def _stated(part: Part) -> dict[str, Any]:
    """What all parts must agree in, by its name in a sentence."""
    manifest = part.manifest
    said = {
        "the recipe": manifest["recipe"],
        "gradlab": manifest["versions"].get("gradlab"),
        "[recording]": manifest["recording"],
        "--best-over": manifest.get("best_over"),
        "the list of tables": sorted({*part.results.sources} - {FAILURES.name}),
    }
    said |= {
        f"the header of {name}": ",".join(t.header) for name, t in part.texts.items() if name != FAILURES.name
    }
    return said | {f"data {name}": f"sha256 {sum_}" for name, sum_ in manifest.get("data", {}).items()}


def _may_differ(parts: Sequence[Part]) -> list[str]:
    """What the parts differ in that changes the last digits of numbers at most."""
    found = []
    for name in dict.fromkeys(name for part in parts for name in part.manifest["versions"]):
        if len(values := _distinct(part.manifest["versions"].get(name, "none") for part in parts)) > 1:
            found.append(f"{name} differs: {', '.join(values)}")
    for name in (*OF_MACHINE, "device"):
        if len(values := _distinct(_shown(part.manifest.get(name)) for part in parts)) > 1:
            found.append(f"the {name} differs: {', '.join(values)}")
    return found


def _joined(parts: Sequence[Part]) -> dict[str, Texts]:
    """Every table, cell by cell in the order of the parts, and a cell's seeds ascending; numbers as they stood."""
    order = {cell: place for place, cell in enumerate(dict.fromkeys(c for p in parts for c in p.cells))}
    shared = {cell for cell in order if sum(cell in part.cells for part in parts) > 1}
    tables = {}
    for name in dict.fromkeys(name for part in parts for name in part.texts):
        texts = [part.texts[name] for part in parts if name in part.texts]
        header = texts[0].header
        rows = [row for each in texts for row in each.rows]
        if name == SUMMARY.name:
            rows = [row for row in rows if row[0] not in shared] + _summaries(parts, shared, header)
        seed = header.index("seed") if "seed" in header else 0
        rows.sort(key=partial(_place, order, seed))
        tables[name] = Texts(header, rows)
    return tables


def _place(order: Mapping[str, int], seed: int, row: Sequence[str]) -> tuple[int, int]:
    """Where a row belongs: by its cell, then by its seed, which stands in the column `seed`, 0 for none."""
    return order[row[0]], int(row[seed]) if seed else 0


def _summaries(parts: Sequence[Part], cells: set[str], header: Sequence[str]) -> list[list[str]]:
    """The rows of summary.csv of cells whose seeds are in several parts: made anew from all seeds."""
    if not cells:
        return []

    def of_cells(name: str) -> pd.DataFrame:
        frames: list[pd.DataFrame] = [getattr(part.results, name) for part in parts]
        return pd.concat([frame[frame["cell"].isin(cells)] for frame in frames], ignore_index=True)

    chance = {cell: level for part in parts for cell, level in part.results.chance.items()}
    records = split_cells(of_cells("layers"), of_cells("steps"))
    table = summary_table(of_rows([summary_row(each, chance) for each in records]))
    return [list(row) for row in zip(*(table.fields(name) for name in header), strict=True)]


def _request(parts: Sequence[Part], cells: int, seeds: Sequence[int]) -> Request | None:
    """The configuration that asks for these cells and seeds; None where they are no grid. Nothing is imported and no
    data set read: the parts are grids, and so is what they make where it has as many cells as a grid of all values."""
    if seeds != tuple(range(seeds[0], seeds[0] + len(seeds))):
        return None
    requests = []
    for part in parts:
        try:
            request, problems = collect(file=part.path / CONFIG, lists=True, default_grid=False)
        except UserError:
            return None
        if problems or not part.results.config:
            return None
        requests.append(request)
    grid: dict[str, tuple[Any, ...]] = {}
    first = requests[0].base
    for section in ("network", "data", "training"):
        for name in type(getattr(first, section)).model_fields:
            path = f"{section}.{name}"
            values = tuple(dict.fromkeys(value for request in requests for value in request.values(path)))
            if len(values) > 1:
                grid[path] = values
    if prod(map(len, grid.values())) != cells:
        return None
    run = first.run.model_copy(update={"first_seed": seeds[0], "seeds": len(seeds)})
    return Request(first.model_copy(update={"run": run}), grid, {})


def _copy_stacks(parts: Sequence[Part], folder: ResultsFolder, request: Request | None) -> dict[str, str]:
    """Take over the journals, so that `compare` finds its stacks there, and the weights; the sums of these.

    request: where it is known, stacks of seeds that it would train together become one
    """
    claim, sums = folder.claim, {}
    size = request.base.training.stack_size if request else len(claim.seeds)
    chunks = [claim.seeds[start : start + size] for start in range(0, len(claim.seeds), size)]
    for cell in claim.cells:
        stacks = dict(sorted(_stacks(parts, cell).items()))
        for chunk in chunks:
            inside = [seeds for seeds in stacks if chunk[0] <= seeds[0] and seeds[1] <= chunk[-1]]
            paths = [stacks.pop(seeds) for seeds in inside]
            target = folder.journal / f"{cell}-{chunk[0]}-{chunk[-1]}.npz"
            covered = [seed for first, last in inside for seed in range(first, last + 1)]
            if len(paths) < 2 or covered != [*chunk] or not journal.join_stacks(paths, target):
                for path in paths:
                    atomic.write_bytes(folder.journal / path.name, read_bytes(path, most=None))
    for part in parts:
        for name, expected in part.manifest.get("weights", {}).items():
            path = part.path / WEIGHTS / Path(name).name
            folder.weights.mkdir(exist_ok=True)
            atomic.write_bytes(folder.weights / path.name, read_bytes(path, most=None))
            sums[path.name] = str(expected)
    return sums


def _stacks(parts: Sequence[Part], cell: str) -> dict[tuple[int, int], Path]:
    """(first seed, last seed) -> the file of a stack of that cell, in any journal of the parts."""
    name = re.compile(re.escape(cell) + r"-(-?\d+)-(-?\d+)\.npz")
    found = {}
    for part in parts:
        if cell in part.cells and (part.path / JOURNAL).is_dir():
            for path in (part.path / JOURNAL).iterdir():
                if match := name.fullmatch(path.name):
                    found[int(match[1]), int(match[2])] = path
    return found


def _manifest(parts: Sequence[Part]) -> dict[str, Any]:
    every = [part.manifest for part in parts]
    names = dict.fromkeys(name for each in every for name in each["versions"])
    timings: dict[str, float] = {}
    for each in every:
        for name, value in each.get("timings", {}).items():
            if name != "recording_overhead":  # a ratio
                timings[name] = timings.get(name, 0.0) + value
    said = provenance({str(device) for each in every for device in each.get("device", [])})
    said["versions"] = {
        name: " | ".join(_distinct(each["versions"].get(name, "none") for each in every)) for name in names
    }
    said |= {name: " | ".join(_distinct(each.get(name, "unknown") for each in every)) for name in OF_MACHINE}
    about = ("plan", "seeds", "versions", "written", "argv", "device", *OF_MACHINE)
    return {
        **said,
        "best_over": every[0].get("best_over"),
        "data": {name: digest for each in every for name, digest in each.get("data", {}).items()},
        "chance": {cell: level for part in parts for cell, level in part.results.chance.items()},
        "failed": [failure for each in every for failure in each.get("failed", [])],
        "timings": timings,
        "merged": [
            {"folder": part.path.resolve().name, "cells": len(part.cells)}
            | {name: part.manifest[name] for name in about if name in part.manifest}
            for part in parts
        ],
    }


def _distinct(values: Any) -> list[str]:
    return list(dict.fromkeys(str(value) for value in values))


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {each}" for name, each in value.items()) or "as by default"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "nothing"
    return "nothing" if value is None else str(value)


def _span(seeds: Mapping[int, object]) -> str:
    found = sorted(seeds)
    whole = found == list(range(found[0], found[-1] + 1)) and len(found) > 1
    return f"{found[0]}-{found[-1]}" if whole else ", ".join(map(str, found))
