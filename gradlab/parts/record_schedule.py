"""When to record: a schedule tells of each step whether it is on it. Step 0 and the last step are always recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import ceil

from gradlab.base.errors import ConfigError, unknown
from gradlab.base.grammar import Parameter, whole_number
from gradlab.base.registry import Registry

GROWTH = 1.2


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
EVERY = "every:N"


@dataclass(frozen=True, kw_only=True)
class Definition:
    """One way to record. make: the schedule, from the N of `every:N`; None: no layers are recorded."""

    summary: str
    make: Callable[[int], Schedule | None]
    parameters: Mapping[str, Parameter] = field(default_factory=dict)


RECORDS = Registry(
    "record schedule",
    {
        "log": Definition(
            summary="dense at the start, then ever rarer: 34 records in 1,000 steps, 59 in 100,000",
            make=lambda _: Logarithmic(),
        ),
        "all": Definition(summary="every step", make=Every),
        EVERY: Definition(summary="step 0 and every N steps, N >= 1", make=Every),
        "off": Definition(summary="no layers; the first and the last row of steps.csv", make=lambda _: None),
    },
)


def parse(text: str, where: str = "record") -> Schedule | None:
    """The schedule written as `log`, `all`, `every:N` or `off` (None: no layers are recorded).

    Raises ConfigError naming `where`.
    """
    name, _, number = text.partition(":")
    if name == "every" and (steps := whole_number(number)):
        return RECORDS[EVERY].make(steps)
    if name == "every" or text not in RECORDS:
        raise ConfigError(unknown(where, RECORDS.kind, text, list(RECORDS)))
    return RECORDS[text].make(1)


def is_due(schedule: Schedule | None, step: int, last: int | None) -> bool:
    """Whether a step is recorded in a run whose last step is `last` (None: it is not known)."""
    return step in (0, last) or (schedule is not None and schedule(step))


def count(schedule: Schedule | None, last: int) -> int:
    """How many of the steps 0 ... `last` are recorded."""
    if schedule is None:
        return len({0, last})
    return schedule.until(last) + (not schedule(last))
