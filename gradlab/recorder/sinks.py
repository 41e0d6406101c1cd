"""`log_to=`: every record's numbers to a TensorBoard writer, a W&B run, or MLflow, while the training goes on.

None of these packages is imported here: the object the user hands over says what it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any

from gradlab.base.errors import ConfigError, Problem

Sink = Callable[[int, Mapping[str, float]], object]


def sink(target: Any) -> Sink:
    """A function of (step, numbers by name) that hands a record to `target`.

    target: a TensorBoard SummaryWriter, a W&B run, the mlflow module or an MLflow run, or such a function itself.
    Names are `gradlab/<column>/<module>`. Raises ConfigError for anything else.
    """
    if hasattr(target, "add_scalar"):
        return lambda step, numbers: _each(target.add_scalar, step, numbers)
    if hasattr(target, "define_metric") and hasattr(target, "log"):
        # a step axis of its own: W&B's own steps belong to what the user logs
        target.define_metric("gradlab/step")
        target.define_metric("gradlab/*", step_metric="gradlab/step")
        return lambda step, numbers: target.log({"gradlab/step": step, **numbers})
    if hasattr(target, "log_metrics"):
        return lambda step, numbers: target.log_metrics(_allowed(numbers), step=step)
    run = getattr(getattr(target, "info", None), "run_id", None)
    if run is not None:
        import mlflow

        return lambda step, numbers: mlflow.log_metrics(_allowed(numbers), step=step, run_id=run)
    if callable(target):
        chosen: Sink = target
        return chosen
    allowed = "a TensorBoard SummaryWriter, a W&B run, the mlflow module, an MLflow run, or a function"
    raise ConfigError(Problem("log_to", f"{type(target).__name__} is nothing to log to", allowed))


def _each(add: Callable[..., Any], step: int, numbers: Mapping[str, float]) -> None:
    for name, number in numbers.items():
        add(name, number, step)


def _allowed(numbers: Mapping[str, float]) -> dict[str, float]:
    """Finite numbers under names that MLflow takes."""
    return {re.sub(r"[^\w./ -]", "_", name): number for name, number in numbers.items() if isfinite(number)}
