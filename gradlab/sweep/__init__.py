"""From stacks to results: in this process or in worker processes, whatever fails or is interrupted on the way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gradlab.plan import Stack
from gradlab.sweep.interrupt import Interrupt
from gradlab.sweep.job import Watch
from gradlab.train.result import StackResult


def train(
    stacks: Sequence[Stack], *, workers: int, watch: Watch, interrupt: Interrupt
) -> Iterator[tuple[Stack, StackResult | str]]:
    """Train stacks and yield each with its records, or with why it failed, in the order they finish.

    watch is called in this process; Interrupted is raised soon after the user asks to stop.
    """
    from gradlab.sweep.serial import train_here

    return train_here(stacks, watch, interrupt)
