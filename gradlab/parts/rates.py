"""Learning-rate schedules, `constant|linear|cosine` with `:warmup=STEPS`; free of torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import cos, pi

from gradlab.base.errors import ConfigError, Problem
from gradlab.base.grammar import Parameter
from gradlab.base.registry import Registry

WARMUP = {"warmup": Parameter(default=0, low=0, integer=True, meaning="steps of linear rise from 0")}


@dataclass(frozen=True, kw_only=True)
class Definition:
    """One schedule. share: the share of the full rate, from the share of the steps that are done."""

    summary: str
    share: Callable[[float], float]
    parameters: Mapping[str, Parameter]


RATES = Registry(
    "schedule",
    {
        "constant": Definition(summary="the same rate", share=lambda done: 1.0, parameters=WARMUP),
        "linear": Definition(summary="falls in a line to 0", share=lambda done: 1 - done, parameters=WARMUP),
        "cosine": Definition(
            summary="falls in half a wave to 0",
            share=lambda done: (1 + cos(pi * done)) / 2,
            parameters=WARMUP,
        ),
    },
)


@dataclass(frozen=True)
class Rate:
    """The learning rate of each step 0 ... steps - 1, called with the step; text: how it is written, canonically."""

    text: str
    definition: Definition
    lr: float
    steps: int
    warmup: int

    def __call__(self, step: int) -> float:
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        done = (step - self.warmup) / max(self.steps - self.warmup, 1)
        return self.lr * self.definition.share(done)


def parse(text: str, lr: float, steps: int, where: str = "schedule") -> Rate:
    """The schedule written as `text`, of full rate `lr`.

    After a warm-up of w steps (step t < w runs at lr (t + 1) / w), `linear` and `cosine` fall from lr to 0 at
    `steps`, `constant` stays. Raises ConfigError naming `where`.
    """
    chosen = RATES.choose(text, where)
    warmup = int(chosen.values["warmup"])
    if warmup > steps:
        message = f"a warm-up of {warmup} steps is longer than the run of {steps}"
        raise ConfigError(Problem(where, message, f"warmup <= {steps}, or more steps"))
    return Rate(chosen.text, chosen.entry, lr, steps, warmup)
