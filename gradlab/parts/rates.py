"""Learning-rate schedules, `constant|linear|cosine` with `:warmup=STEPS`; free of torch."""

from __future__ import annotations

from collections.abc import Callable
from math import cos, pi

from gradlab.base.errors import ConfigError, Problem, nearest
from gradlab.base.grammar import Parameter, bind, parse_item

RATES = ("constant", "linear", "cosine")
PARAMETERS = {"warmup": Parameter(default=0, low=0, integer=True, meaning="steps of linear rise from 0")}


def parse(text: str, lr: float, steps: int, where: str = "schedule") -> Callable[[int], float]:
    """The learning rate of each step 0 ... steps - 1.

    After a warm-up of w steps (step t < w runs at lr (t + 1) / w), `linear` and `cosine` fall from lr to 0 at
    `steps`, `constant` stays. Raises ConfigError naming `where`.
    """
    item = parse_item(text, where)
    if item.name not in RATES or item.attribute is not None:
        raise ConfigError(
            Problem(where, f"unknown schedule {item.name!r}", ", ".join(RATES), nearest(item.name, RATES))
        )
    warmup = int(bind(item.given, PARAMETERS, item.name, where)["warmup"])
    if warmup > steps:
        raise ConfigError(Problem(where, f"a warm-up of {warmup} steps is longer than the run of {steps}"))

    def rate(step: int) -> float:
        if step < warmup:
            return lr * (step + 1) / warmup
        done = (step - warmup) / max(steps - warmup, 1)
        if item.name == "linear":
            return lr * (1 - done)
        if item.name == "cosine":
            return lr * (1 + cos(pi * done)) / 2
        return lr

    return rate
