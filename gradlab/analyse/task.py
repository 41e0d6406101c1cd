"""What is known of a model's task from steps.csv: its criterion, its outputs, its targets, its inputs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gradlab.analyse.facts import Facts
from gradlab.analyse.fault import Fault
from gradlab.tables.steps import OVER_SAMPLES

SIGN_LOSSES = frozenset(
    {"soft_margin_loss", "hinge_embedding_loss", "margin_ranking_loss", "cosine_embedding_loss"}
)
"""Criteria whose targets are -1 and 1."""

PROBABILITY_LOSSES = frozenset({"binary_cross_entropy", "binary_cross_entropy_with_logits"})
CLASS_LOSSES = frozenset({"cross_entropy", "nll_loss", "multi_margin_loss"})
DISTANCES = frozenset({"mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"})
"""Losses of numbers: of the difference between outputs and targets."""

RANGES = {
    "sigmoid": (0.0, 1.0), "hard_sigmoid_6": (0.0, 1.0), "softmax": (0.0, 1.0), "tanh": (-1.0, 1.0),
    "hard_tanh": (-1.0, 1.0), "softsign": (-1.0, 1.0), "erf": (-1.0, 1.0), "relu": (0.0, np.inf),
    "relu6": (0.0, 6.0), "softplus": (0.0, np.inf), "exp": (0.0, np.inf),
}  # fmt: skip
"""What a function can give, where that is not every number."""


class Task(NamedTuple):
    """One seed's, nan and "" for what is not known.

    made_by: the function that made the outputs; shares: the function of shares that it was applied to, ""
    over_samples: whether it runs along the samples
    """

    criterion: str
    made_by: str
    shares: str
    over_samples: bool
    units: float
    output_shape: tuple[int, ...]
    target_shape: tuple[int, ...]
    kind: str
    target_min: float
    target_max: float
    target_rms: float
    target_spread: float
    distinct: float

    @property
    def rows(self) -> int:
        """Samples of the probe, 0 where nothing tells."""
        shape = self.target_shape or self.output_shape
        return shape[0] if shape else 0

    @property
    def of_numbers(self) -> bool:
        """Whether it is a regression."""
        return self.kind == "numbers" or (self.criterion in DISTANCES and self.kind == "classes")

    @classmethod
    def of(cls, facts: Facts, seed: int) -> Task:
        records = facts.records

        def number(column: str) -> float:
            return float(records.known(column)[seed])

        words = records.words
        made = words.get("output_activation", "")
        shares, _, last = made.removesuffix(OVER_SAMPLES).rpartition(", ")
        return cls(
            words.get("criterion", ""),
            last,
            shares,
            made.endswith(OVER_SAMPLES),
            number("output_units"),
            _shape(words.get("output_shape", "")),
            _shape(words.get("target_shape", "")),
            words.get("target_kind", ""),
            *(number(f"target_{name}") for name in ("min", "max", "rms", "spread", "distinct")),
        )


def from_the_start(facts: Facts, seed: int, layer: int | None = None) -> Fault:
    """A fault that is there before any update."""
    first = int(facts.records.in_steps[seed].argmax())
    return Fault(first, layer, True, first)


def _shape(text: str) -> tuple[int, ...]:
    parts = text.split(" x ")
    return tuple(int(part) for part in parts) if all(part.isdigit() for part in parts) else ()
