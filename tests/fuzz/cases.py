"""The cases by their number."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random

from fuzz import configurations, data_files, flags, processes, results_folders, users_parts
from fuzz.case import Case

KINDS: Mapping[str, tuple[Callable[[Random], Case], int]] = {
    "flags": (flags.make, 7),
    "configurations": (configurations.make, 4),
    "data files": (data_files.make, 5),
    "results folders": (results_folders.make, 7),
    "users' parts": (users_parts.make, 6),
    "processes": (processes.make, 1),
}
"""What makes the cases of a kind, and how many of them there are in each round."""
ROUND = [kind for kind, (_, share) in KINDS.items() for _ in range(share)]


def case_of(seed: int, number: int) -> tuple[str, Case]:
    """The kind of a case, and the case: the same for the same seed and number."""
    kind = ROUND[number % len(ROUND)]
    return kind, KINDS[kind][0](Random(f"{seed} {number}"))
