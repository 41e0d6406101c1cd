"""Two things run alternately, so that both see the same machine; a figure is the median of the pairs' ratios."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

UNUSUAL = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "PYTHONDONTWRITEBYTECODE")
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    values: the pairs' ratios, or numbers that stand alone; goal: what it should be, in words
    """

    group: str
    what: str
    values: Sequence[float]
    goal: str = ""
    note: str = ""

    def row(self) -> dict[str, str | float]:
        low, high = min(self.values), max(self.values)
        return {
            "group": self.group,
            "what": self.what,
            "median": median(self.values),
            "min": low,
            "max": high,
            "runs": len(self.values),
            "goal": self.goal,
            "note": self.note,
        }


def ratios(
    one: Callable[[], float], other: Callable[[], float], pairs: int, *, warm: bool = True
) -> list[float]:
    """other's seconds (or any number) over one's, pair by pair; warm: each is called once before."""
    if warm:
        one(), other()
    found = []
    for pair in range(pairs):
        first, second = (one, other) if pair % 2 == 0 else (other, one)
        a, b = first(), second()
        found.append(b / a if pair % 2 == 0 else a / b)
    return found


def seconds(call: Callable[[], object]) -> float:
    started = perf_counter()
    call()
    return perf_counter() - started


def command(*arguments: str) -> str:
    """What a Python command prints; run from the checkout, as a user's shell would: torch's default threads, and
    compiled modules kept."""
    environment = {k: v for k, v in os.environ.items() if k not in UNUSUAL}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, check=True, capture_output=True, text=True
    )
    return done.stdout
