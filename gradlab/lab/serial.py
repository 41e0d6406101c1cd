"""Stacks one after another in this process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gradlab.config.plan import Stack
from gradlab.lab.interrupt import Interrupt
from gradlab.lab.job import Keep, Say, Watch, reason, work
from gradlab.store.stack_result import StackResult


def train_here(
    stacks: Sequence[Stack], watch: Watch, say: Say, keep: Keep | None, interrupt: Interrupt
) -> Iterator[tuple[Stack, StackResult | str]]:
    """Train on one torch thread; the caller's setting is restored."""
    import torch

    def watched(stack: Stack, step: int, made: int, shown: Mapping[str, Any] | None) -> None:
        watch(stack, step, made, shown)
        interrupt.check()

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for stack in stacks:
            interrupt.check()
            try:
                done: StackResult | str = work(stack, watched, say, keep)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # code of the user's may call sys.exit
                done = reason(error)
            yield stack, done
    finally:
        torch.set_num_threads(threads)
