"""The work on one stack, wherever it is done: train it, and put the theory's prediction beside its records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from time import perf_counter
from traceback import print_exception
from typing import Any

from gradlab.base.errors import GradlabError, debugging, in_words
from gradlab.config.plan import Stack
from gradlab.store.stack_result import StackResult

Watch = Callable[[Stack, int, int, "Mapping[str, Any] | None"], None]
"""watch(stack, step, made, shown): see `train.loop.train_stack`"""
Say = Callable[[str], None]
"""a message for the user"""


@dataclass(frozen=True)
class Keep:
    """What the training of a stack leaves on disk by itself.

    journal: the folder of checkpoints; seconds: between two of them, 0 for none
    weights: the folder for the final weights; None when they are not wanted
    """

    journal: Path
    seconds: float
    weights: Path | None = None

    def checkpoint_file(self, stack: Stack) -> Path:
        return self.journal / f"{stack.key}.checkpoint"

    def weights_file(self, stack: Stack) -> Path | None:
        return self.weights and self.weights / f"{stack.key}.safetensors"


def work(stack: Stack, watch: Watch, say: Say, keep: Keep | None = None) -> StackResult:
    """The records of a stack with their prediction. Its bytes depend on the stack alone, not on where it runs.

    Raises GradlabError when the weights cannot be written, DataError when the data or a part of the user's own have
    changed since the stack was planned.
    """
    from gradlab.base import generators
    from gradlab.lab.predict import predict
    from gradlab.train.checkpoint import Checkpoint
    from gradlab.train.loop import train_stack

    checkpoint = Checkpoint(keep.checkpoint_file(stack), keep.seconds, say) if keep and keep.seconds else None
    dataset = stack.cell.dataset()
    stack.check_sources()

    def watched(step: int, made: int, shown: Mapping[str, Any] | None) -> None:
        watch(stack, step, made, shown)

    seed = int.from_bytes(sha256(stack.key.encode()).digest()[:7], "little")
    with generators.seeded(seed, stack.cell.device):  # the user's own parts may draw from them
        try:
            weights = keep.weights_file(stack) if keep else None
            result = train_stack(stack, dataset, watched, checkpoint, weights)
        except OSError as error:
            message = f"cannot write {error.filename or weights}: {error.strerror}"
            raise GradlabError(message, "make room there, or choose another --out") from error
    started = perf_counter()
    predict(stack, result, dataset)
    timings = {**result.timings, "prediction_seconds": perf_counter() - started}
    return replace(result, timings=timings)


def reason(error: BaseException) -> str:
    """Why a stack failed, in one line; the traceback goes to stderr where the user wants to see it."""
    if debugging():
        print_exception(error)
    return " ".join(error.message.split()) if isinstance(error, GradlabError) else in_words(error)
