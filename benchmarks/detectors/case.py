"""A labelled net: its configuration, what was done to it, and what is known of it from that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import cycle
from typing import Any

LATE = 200
"""Step at which a late fault is made."""
MILD = 3.0
"""Decades up to which a made change of the gradient counts as mild: a net that learns with it is healthy."""


@dataclass(frozen=True)
class Change:
    """Something done to a net that its configuration cannot say.

    kind:  "weights" (times `amount`), "kill" and "lift" (bias of a share `amount` of the units to -1000 or 1000),
           "bias" (of all units to `amount`), "rate" (times `amount` from then on), "loss" (times `amount`), "inputs"
           (times `amount`), "labels" (shuffled)
    where: all, first, middle or top hidden layer; step: when
    """

    kind: str
    amount: float = 1.0
    where: str = "all"
    step: int = 0


@dataclass(frozen=True)
class Case:
    """One net and what is known of it from its making.

    made:    the fault it was made with, "" for none
    mild:    a net that learns well with it is healthy; else it is neither
    certain: the fault is there by construction, whatever the net learns
    allowed: verdicts that may follow from what was made, counted neither as hit nor as miss
    sound:   nothing is wrong with the net itself, even where it does not learn (its rate or its labels are)
    flags:   of `gradlab run`
    round:   1 for the first set, 2 for those that were added when its results were known
    """

    name: str
    family: str
    made: str
    flags: Mapping[str, Any]
    changes: tuple[Change, ...] = ()
    mild: bool = False
    certain: bool = False
    allowed: frozenset[str] = frozenset()
    sound: bool = False
    round: int = 1

    @property
    def part(self) -> str:
        """`chosen`, on which thresholds may be chosen, or `held`, on which none may: two cases in five, three."""
        return "chosen" if int(sha256(self.name.encode()).hexdigest()[:8], 16) % 5 < 2 else "held"


@dataclass
class Maker:
    """Collects cases; widths and batches go round so that each fault meets many."""

    cases: list[Case] = field(default_factory=list)
    widths: Iterator[int] = field(default_factory=lambda: cycle((64, 32, 48, 16, 64, 128, 32)))
    batches: Iterator[int] = field(default_factory=lambda: cycle((64, 32, 128, 16)))
    round: int = 1

    def add(
        self,
        family: str,
        made: str,
        activation: str,
        depth: int,
        *changes: Change,
        mild: bool = False,
        certain: bool = False,
        allowed: tuple[str, ...] = (),
        sound: bool = False,
        width: int | None = None,
        **flags: Any,
    ) -> None:
        width = width or (next(self.widths) if depth <= 50 else min(next(self.widths), 64))
        given = {"activation": activation, "depth": depth, "width": width, "batch_size": next(self.batches)}
        given |= {"lr": 0.03, "steps": 200, **flags}
        if any(change.step for change in changes):
            given["steps"] = LATE + 100
        done = [f"{c.kind}*{c.amount:g}@{c.where}" + (f"@{c.step}" if c.step else "") for c in changes]
        texts = [f"{key}={value}" for key, value in given.items()]
        name = " ".join([family, *texts, *done])
        known = (mild, certain, frozenset(allowed), sound, self.round)
        self.cases.append(Case(name, family, made, given, changes, *known))


def gaussian(sigma_w: float, sigma_b: float = 0.0) -> str:
    return f"gaussian:sigma_w={sigma_w:g}" + (f":sigma_b={sigma_b:g}" if sigma_b else "")
