"""From stacks to results: in this process or in worker processes, whatever fails or is interrupted on the way."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from gradlab.config.plan import Stack
from gradlab.config.sections import Run
from gradlab.lab.interrupt import Interrupt
from gradlab.lab.job import Keep, Say, Watch
from gradlab.lab.on_ray import train_on_ray
from gradlab.lab.serial import train_here
from gradlab.lab.workers import train_in_workers
from gradlab.store.stack_result import StackResult


def train(
    stacks: Sequence[Stack],
    run: Run,
    *,
    workers: int,
    watch: Watch,
    say: Say,
    keep: Keep | None,
    interrupt: Interrupt,
) -> Generator[tuple[Stack, StackResult | str], None, None]:
    """Train stacks and yield each with its records, or with why it failed, in the order they finish.

    run: where to train. workers: processes on this machine; 1 is this one. watch and say are called in this process.
    Raises Interrupted soon after the user asks to stop. Close the generator to end the workers.
    """
    if not stacks:
        return
    if run.executor == "ray":
        yield from train_on_ray(stacks, run, watch, interrupt)
    elif workers == 1:
        yield from train_here(stacks, watch, say, keep, interrupt)
    else:
        yield from train_in_workers(stacks, workers, watch, say, keep, interrupt)
