"""Where a training's time goes: a stopwatch that is pressed at the end of each phase of a step."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Protocol

PHASES = ("data", "forward", "backward", "optimizer", "recording", "evaluation")


class Busy(Protocol):
    """Something that works inside other phases, such as a sensor in its hooks; `seconds` in all so far."""

    seconds: float


class Phases:
    """Seconds of the host spent in each phase. On a GPU that is the time to queue the work, not to do it."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(PHASES, 0.0)
        self._last = 0.0

    def start(self) -> None:
        self._last = perf_counter()

    def lap(self, phase: str, inside: Sequence[Busy] = ()) -> None:
        """End `phase` here. What others did inside it since the last lap counts as recording."""
        now = perf_counter()
        self.seconds[phase] += now - self._last
        for busy in inside:
            self.seconds[phase] -= busy.seconds
            self.seconds["recording"] += busy.seconds
            busy.seconds = 0.0
        self._last = now
