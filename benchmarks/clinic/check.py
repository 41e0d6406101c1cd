"""Whether the programs do what is said of them, without any diagnosis: `python -m benchmarks.clinic.check [FILE ...]`.

A faulty program ends clearly worse than its mended form in three seeds; a training that works ends clearly better than
it began. Nothing here depends on gradlab.
"""

from __future__ import annotations

import sys
from importlib import import_module
from time import perf_counter
from types import SimpleNamespace

from benchmarks.clinic.loop import made, run, score
from benchmarks.clinic.program import Program

SEEDS = (0, 1, 2)


class _Nobody(SimpleNamespace):
    """A recorder that records nothing."""

    def step(self, **_: object) -> None:
        pass


def _ends(program: Program, mended: bool) -> tuple[list[float], list[float], float]:
    before, after, started = [], [], perf_counter()
    for seed in SEEDS:
        setup = made(program, seed, mended)
        before.append(score(setup))
        setup = made(program, seed, mended)
        run(setup, _Nobody())
        after.append(score(setup))
    return before, after, (perf_counter() - started) / len(SEEDS)


def main(files: list[str]) -> None:
    for file in files:
        for program in import_module(f"benchmarks.clinic.programs.{file}").PROGRAMS:
            for mended in (False, True) if program.fault else (False,):
                before, after, seconds = _ends(program, mended)
                kind = "mended" if mended else "faulty" if program.fault else "works"
                numbers = "  ".join(f"{a:.4g}->{b:.4g}" for a, b in zip(before, after, strict=True))
                print(f"{program.name:34} {kind:7} {numbers}  ({seconds:.1f} s)", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
