"""Stacks divided among workers, so that one cell uses every core, and what the parts left behind joined again.

A part is a stack of some of the seeds. It is divided only where a replica gets the same bits in a part as in the whole
stack, so that no byte of a result depends on the number of workers (`divisible` has the rule).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from math import ceil

import numpy as np

from gradlab.base import blas
from gradlab.config.plan import Stack
from gradlab.config.sections import Run
from gradlab.lab.cost import seconds, workers_wanted
from gradlab.store.stack_result import StackResult

Span = tuple[int, int]
"""The first and the last seed of a stack."""
VECTOR = 16
"""Entries that a vector register holds at most, in float32: in rows of whole registers a vectorised activation computes
each replica's entries alike, wherever in the stack they lie."""
ROUNDING = 1e-9


def divisible(stack: Stack) -> bool:
    """Whether every replica gets the same bits alone and in a stack.

    gradlab's own BLAS multiplies each replica by itself; torch's batched products do not, for some shapes (float32: 33
    outputs, or 10 of one sample), nor does bfloat16. Vectorised activations compute the last entries of a tensor by
    other instructions than the rest, and some reductions too: widths of whole registers leave no such entries. A user's
    own part may look at all replicas, or draw from the stack's generator.
    """
    cell, bound = stack.cell, stack.bound
    return (
        cell.device == "cpu"
        and cell.dtype in ("float32", "float64")
        and blas.own() is not None
        and cell.network.width % VECTOR == 0
        and not bound.own
    )


class Division:
    """The units of work that stacks are divided into.

    workers: processes that shall be busy; 1 divides nothing
    begun:   by cell, the spans that were in training before: a stack keeps the parts that it was divided into then
    """

    def __init__(
        self, stacks: Sequence[Stack], workers: int, begun: Mapping[str, Collection[Span]] | None = None
    ) -> None:
        self.units: list[Stack] = []
        self._whole: dict[str, Stack] = {}
        self._parts: dict[str, list[Stack]] = {}
        self._done: dict[str, dict[str, StackResult]] = {}
        share = sum(map(seconds, stacks)) / workers
        for stack in stacks:
            count = min(len(stack.seeds), ceil(seconds(stack) / share - ROUNDING)) if workers > 1 else 1
            parts = _parts(stack, count, (begun or {}).get(stack.cell.id, ()))
            self._parts[stack.key] = parts
            self._whole |= {part.key: stack for part in parts}
            self.units += parts

    @classmethod
    def of(
        cls, run: Run, stacks: Sequence[Stack], begun: Mapping[str, Collection[Span]]
    ) -> tuple[Division, int]:
        """The division for a run, and how many processes train its units.

        Ray gets whole stacks, and so does a run that keeps weights: those of a stack are one file.
        """
        workers = workers_wanted(run, stacks)
        whole = run.executor != "local" or run.save_weights
        division = cls(stacks, 1) if whole else cls(stacks, workers, begun)
        return division, max(1, min(workers, len(division.units)))

    def whole(self, unit: Stack) -> Stack:
        """The stack that a unit is of: itself, where it was not divided."""
        return self._whole[unit.key]

    def add(self, unit: Stack, result: StackResult) -> StackResult | None:
        """Take a unit's records; those of its stack when this was its last part."""
        stack = self.whole(unit)
        done = self._done.setdefault(stack.key, {})
        done[unit.key] = result
        parts = self._parts[stack.key]
        if len(done) < len(parts):
            return None
        del self._done[stack.key]
        return joined([done[part.key] for part in parts])

    def parts(self, stack: Stack) -> list[Stack]:
        """What a stack was divided into; nothing where it stays whole."""
        parts = self._parts[stack.key]
        return parts if len(parts) > 1 else []


def _parts(stack: Stack, count: int, begun: Collection[Span]) -> list[Stack]:
    """A stack in `count` parts of about as many seeds, or in the parts that were begun, the rest divided."""
    seeds = stack.seeds
    if (seeds[0], seeds[-1]) in begun:
        return [stack]
    before = [span for span in sorted(begun) if seeds[0] <= span[0] <= span[1] <= seeds[-1]]
    if (count == 1 and not before) or not divisible(stack):
        return [stack]
    known = [
        each
        for place, each in enumerate(before)
        if place == 0 or before[place - 1][1] < each[0]  # overlapping ones are no division of gradlab's
    ]
    spans: list[Span] = []
    edges = [(0, seeds[0] - 1), *known, (seeds[-1] + 1, 0)]
    for (_, last), (first, end) in pairwise(edges):
        left = first - last - 1
        pieces = min(left, max(1, ceil(count * left / len(seeds))))
        cuts = [last + 1 + left * piece // pieces for piece in range(pieces + 1)] if left else []
        spans += [(start, stop - 1) for start, stop in pairwise(cuts)]
        if first <= seeds[-1]:
            spans.append((first, end))
    return [replace(stack, seeds=tuple(range(first, last + 1))) for first, last in spans]


def joined(parts: Sequence[StackResult]) -> StackResult:
    """The records of a whole stack, from those of its parts in the order of their seeds."""
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    blocks = {
        name: replace(block, values=np.concatenate([part.blocks[name].values for part in parts]))
        for name, block in first.blocks.items()
    }
    timings: dict[str, float] = {}
    for part in parts:
        for name, number in part.timings.items():
            timings[name] = timings.get(name, 0.0) + number
    return StackResult(
        cell=first.cell,
        seeds=tuple(seed for part in parts for seed in part.seeds),
        steps=first.steps,
        blocks=blocks,
        input_sq=np.concatenate([part.input_sq for part in parts]),
        timings=timings,
    )
