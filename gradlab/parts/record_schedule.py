"""When to record: a schedule tells of each step whether it is on it. Step 0 and the last step are always recorded."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from gradlab.base.errors import ConfigError, Problem

GROWTH = 1.2  # 34 records in 1,000 steps, 59 in 100,000


@dataclass(frozen=True)
class Every:
    """Step 0 and every so many steps."""

    steps: int

    def __call__(self, step: int) -> bool:
        return step % self.steps == 0

    def until(self, step: int) -> int:
        """How many of the steps 0 ... `step` are on the schedule."""
        return step // self.steps + 1


class Logarithmic:
    """Dense at the start, then each recorded step about 1.2 times the one before, whatever the run's length."""

    def __init__(self) -> None:
        self._steps, self._last = {0}, 0

    def __call__(self, step: int) -> bool:
        while self._last < step:
            self._last = max(self._last + 1, ceil(self._last * GROWTH))
            self._steps.add(self._last)
        return step in self._steps

    def until(self, step: int) -> int:
        """How many of the steps 0 ... `step` are on the schedule."""
        self(step)
        return sum(each <= step for each in self._steps)


Schedule = Every | Logarithmic


def parse(text: str, where: str = "record") -> Schedule | None:
    """The schedule written as `log`, `all`, `every:N` or `off` (None: no layers are recorded).

    Raises ConfigError naming `where`.
    """
    if text == "off":
        return None
    if text == "all":
        return Every(1)
    if text == "log":
        return Logarithmic()
    kind, _, number = text.partition(":")
    if kind == "every" and number.isdecimal() and int(number) > 0:
        return Every(int(number))
    raise ConfigError(Problem(where, f"{text!r} is not a schedule", "log, all, every:N with N >= 1, or off"))


def is_due(schedule: Schedule | None, step: int, last: int | None) -> bool:
    """Whether a step is recorded in a run whose last step is `last` (None: it is not known)."""
    return step in (0, last) or (schedule is not None and schedule(step))


def count(schedule: Schedule | None, last: int) -> int:
    """How many of the steps 0 ... `last` are recorded."""
    if schedule is None:
        return len({0, last})
    return schedule.until(last) + (not schedule(last))
