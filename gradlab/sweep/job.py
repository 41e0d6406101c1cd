"""The work on one stack, wherever it is done: train it, and put the theory's prediction beside its records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from time import perf_counter
from typing import Any

from gradlab.errors import GradlabError
from gradlab.plan import Stack
from gradlab.train.result import StackResult

Watch = Callable[[Stack, int, int, "Mapping[str, Any] | None"], None]
"""watch(stack, step, made, shown): see `train.loop.train_stack`"""


def work(stack: Stack, watch: Watch) -> StackResult:
    """The records of a stack with their prediction. Its bytes depend on the stack alone, not on where it runs."""
    from gradlab.analyse.predicted import predicted_delta
    from gradlab.train.loop import train_stack

    result = train_stack(
        stack, stack.cell.dataset(), lambda step, made, shown: watch(stack, step, made, shown)
    )
    started = perf_counter()
    predicted = predicted_delta(stack.cell, result)
    timings = {**result.timings, "prediction_seconds": perf_counter() - started}
    return replace(result, predicted=predicted, timings=timings)


def reason(error: Exception) -> str:
    """Why a stack failed, in one line."""
    text = error.message if isinstance(error, GradlabError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())
