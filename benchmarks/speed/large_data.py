"""Data of MNIST's size in a CSV of the user's own: gradlab's command beside a script, whole, from start to end."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from benchmarks.speed.pairs import Figure
from benchmarks.speed.spent import Spent, spent
from gradlab.train.phases import PHASES

ROWS, FEATURES, CLASSES = 60_000, 784, 10


class Shape(NamedTuple):
    depth: int
    width: int
    batch: int
    steps: int
    seeds: int

    def __str__(self) -> str:
        return (
            f"ReLU {self.depth} x {self.width}, batch {self.batch}, {self.steps:,} steps, {self.seeds} seeds"
        )


GOALS = {
    Shape(5, 128, 64, 500, 3): ">= 1.3",
    Shape(5, 128, 64, 2000, 5): ">= 2.5",
    Shape(10, 512, 128, 500, 5): ">= 1.5",
}


def make_csv(path: Path) -> None:
    """Whole numbers from 0 to 255, most of them 0, as grey values are: each class a pattern with noise, from a seed."""
    draw = np.random.RandomState(0)
    y = draw.randint(0, CLASSES, ROWS)
    patterns = np.clip(draw.randn(CLASSES, FEATURES), 0, None) * (draw.rand(CLASSES, FEATURES) < 0.35)
    x = 110 * patterns[y] + 45 * draw.randn(ROWS, FEATURES)
    x = np.where(draw.rand(ROWS, FEATURES) < 0.55, 0, np.clip(x, 0, 255)).astype(np.uint8)
    frame = pd.DataFrame(x, columns=[f"pixel_{place}" for place in range(FEATURES)])
    frame.assign(label=y).to_csv(path, index=False)


def mnist(pairs: int) -> Iterator[Figure]:
    """Script and gradlab in turn: the script's time over gradlab's, by the clock and in processor time; the peak of
    memory; and which share of training and of the whole command recording takes.

    The first command, which reads the file and keeps it, is a line of its own; the others find it in the cache.
    """
    with tempfile.TemporaryDirectory() as folder, _cache_in(Path(folder, "cache")):
        path = Path(folder, "rows.csv")
        make_csv(path)
        yield _first_command(path, next(iter(GOALS)), pairs)
        for shape, goal in GOALS.items():
            yield from _pairs(path, shape, goal, pairs)


def _first_command(path: Path, shape: Shape, pairs: int) -> Figure:
    """A script's time over that of a gradlab whose cache is empty."""
    both = []
    for _ in range(pairs):
        with tempfile.TemporaryDirectory() as empty, _cache_in(Path(empty)):
            ours, _ = _gradlab(path, shape)
        both.append((ours.wall, _script(path, shape).wall))
    note = f"{np.median([ours for ours, _ in both]):.1f} s"
    what = f"60,000 x 784, {shape}: a script's time over that of the first gradlab run, which reads the file"
    return Figure("mnist", what, [theirs / ours for ours, theirs in both], note=note)


@contextmanager
def _cache_in(folder: Path) -> Iterator[None]:
    """Within it, commands keep what they read there."""
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(folder)
    try:
        yield
    finally:
        del os.environ["XDG_CACHE_HOME"]
        if before is not None:
            os.environ["XDG_CACHE_HOME"] = before


def _pairs(path: Path, shape: Shape, goal: str, pairs: int) -> Iterator[Figure]:
    ours: list[Spent] = []
    theirs: list[Spent] = []
    shares: list[tuple[float, float, float]] = []
    for pair in range(pairs):
        for own in (True, False) if pair % 2 == 0 else (False, True):
            if own:
                found, timings = _gradlab(path, shape)
                ours.append(found)
                recording = timings["recording_seconds"]
                phases = sum(timings[f"{phase}_seconds"] for phase in PHASES)
                last = timings["evaluation_seconds"] / phases
                shares.append((recording / phases, recording / found.processor, last))
            else:
                theirs.append(_script(path, shape))
    here = f"60,000 x 784, {shape}: "
    both = list(zip(ours, theirs, strict=True))
    clock = f"{np.median([one.wall for one in ours]):.1f} s"
    yield Figure(
        "mnist", f"{here}a script's time over gradlab run's", [b.wall / a.wall for a, b in both], goal, clock
    )
    work = f"{np.median([one.processor for one in ours]):.1f} s"
    in_work = [b.processor / a.processor for a, b in both]
    yield Figure("mnist", f"{here}a script's processor time over gradlab run's", in_work, note=work)
    of_training, of_command, evaluation = zip(*shares, strict=True)
    yield Figure("mnist", f"{here}recording's share of training", of_training, "<= 0.15")
    yield Figure("mnist", f"{here}recording's share of the command's processor time", of_command)
    yield Figure("mnist", f"{here}share of training that scores the whole split in the end", evaluation)
    peaks = f"{max(one.peak for one in theirs):,.0f} and {max(one.peak for one in ours):,.0f} MB"
    yield Figure(
        "mnist", f"{here}peak memory over the script's", [a.peak / b.peak for a, b in both], note=peaks
    )


def _script(path: Path, shape: Shape) -> Spent:
    return spent("-m", "benchmarks.speed.script_csv", str(path), *map(str, shape))


def _gradlab(path: Path, shape: Shape) -> tuple[Spent, dict[str, float]]:
    flags = {
        "activation": "relu", "depth": shape.depth, "width": shape.width, "batch-size": shape.batch,
        "steps": shape.steps, "seeds": shape.seeds, "data": path, "target": "label",
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out")
        every = [part for name, value in flags.items() for part in (f"--{name}", str(value))]
        found = spent("-m", "gradlab", "run", *every, "--out", str(out), "--quiet")
        return found, json.loads((out / "manifest.json").read_text())["timings"]
