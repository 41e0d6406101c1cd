"""What is known of a cell before any verdict: worked out once, and given to all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gradlab.analyse.gradient import Gradient, profile
from gradlab.analyse.learning import Learning, judge_learning
from gradlab.analyse.paths import readings_of
from gradlab.analyse.records import SEVERAL

if TYPE_CHECKING:
    from gradlab.analyse.records import Records

Bools = NDArray[np.bool_]

READS = (
    "delta_rms", "weight_grad_norm", "nonfinite", "dead_fraction", "batch_dead_fraction", "zero_fraction",
    "saturated_fraction", "slope_sq",
    "train_loss", "train_accuracy", "val_loss", "val_accuracy", "val_r2", "probe_loss", "probe_accuracy",
    "baseline_loss", "baseline_accuracy", "unpulled_fraction",
)  # fmt: skip
"""The columns of layers.csv and steps.csv behind these facts; a verdict names those that it reads beside them."""


@dataclass(frozen=True)
class Facts:
    """Axes: S seeds, T records.

    records:  what was recorded of the cell
    learning: of each seed, whether it learned
    counts:   [S, T], the records that speak: those in the table, without what a blow-up left behind
    broke:    [S], whether training broke off (a verdict of `Phase.BREAK` holds)
    """

    records: Records
    learning: tuple[Learning, ...]
    counts: Bools
    broke: Bools

    @classmethod
    def of(cls, records: Records, chance: float | None = None) -> Facts:
        """chance: accuracy of always guessing the commonest class."""
        learning = tuple(judge_learning(records, seed, chance) for seed in range(len(records.seeds)))
        return cls(records, learning, records.in_layers, np.zeros(len(records.seeds), dtype=bool))

    @cached_property
    def readings(self) -> Mapping[str, Bools]:
        """The paths along which a gradient is read, each with its hidden layers [L]; the first is the net's own."""
        return readings_of(self.records)

    def rows_of(self, path: str = "") -> Bools:
        """[L], the hidden layers of a path; of the net's own one unless said."""
        return self.readings[path or next(iter(self.readings))]

    @cached_property
    def gradients(self) -> Mapping[str, Gradient]:
        """The gradient's way down each path."""
        rows = self.readings.items()
        return {name: profile(self.records, own, beside=nth > 0) for nth, (name, own) in enumerate(rows)}

    def gradient_of(self, path: str = "") -> Gradient:
        return self.gradients[path or next(iter(self.readings))]

    @property
    def gradient(self) -> Gradient:
        """The gradient's way down the net: all its layers, or its stream."""
        return self.gradient_of()

    @property
    def in_half(self) -> bool:
        """Whether modules put out float16, which holds nothing between 0 and 6e-8."""
        return "float16" in self.records.words.get("number_format", "").split(SEVERAL)

    def draws(self, seed: int) -> bool:
        """Whether chance makes most of what the outputs vary by, in eval mode: then two calls differ by their deviation
        or more."""
        return bool(self.records.known("output_noise")[seed] >= 1)

    def rounds_to_0(self, seed: int) -> bool:
        """Whether every weight gradient is exactly 0 in float16, though the criterion pulls at every sample."""
        size = self.records.parameters.get("weight_grad_norm")
        if not self.in_half or size is None or self.records.known("unpulled_fraction")[seed] != 0:
            return False
        known = size[seed][self.counts[seed]]
        known = known[np.isfinite(known)]
        return len(known) > 0 and bool((known == 0).all())

    def learned(self, seed: int) -> bool | None:
        """Whether seed number `seed` (an index) learned; None where the records cannot tell."""
        return False if self.broke[seed] else self.learning[seed].learned

    def harmed(self, seed: int) -> bool:
        """Whether that seed broke off, did not learn, or lost what it had learned."""
        return bool(self.broke[seed]) or self.learning[seed].learned is False or self.learning[seed].fell

    def unharmed(self, seed: int) -> bool | None:
        """Whether that seed learned so much that a weak fault did no harm; None where the records cannot tell."""
        return self.learned(seed) and self.learning[seed].excuses
