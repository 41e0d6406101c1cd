"""When to record: a schedule is a function step -> bool. Step 0 and the last step are always recorded."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import ceil

from gradlab.errors import ConfigError, Problem

Schedule = Callable[[int], bool]
GROWTH = 1.2  # 34 records in 1,000 steps, 59 in 100,000


def parse(text: str, where: str = "record") -> Schedule | None:
    """The schedule written as `log`, `all`, `every:N` or `off` (None: no layers are recorded).

    Raises ConfigError naming `where`.
    """
    if text == "off":
        return None
    if text == "all":
        return lambda step: True
    if text == "log":
        return logarithmic()
    kind, _, number = text.partition(":")
    if kind == "every" and number.isdecimal() and int(number) > 0:
        every = int(number)
        return lambda step: step % every == 0
    raise ConfigError(Problem(where, f"{text!r} is not a schedule", "log, all, every:N with N >= 1, or off"))


@lru_cache(maxsize=64)
def records(text: str, steps: int) -> int:
    """How many records a run of so many updates makes by the schedule `text`."""
    schedule = parse(text)
    return sum(step in (0, steps) or schedule(step) for step in range(steps + 1)) if schedule else 0


def logarithmic() -> Schedule:
    """Dense at the start, then each recorded step about 1.2 times the one before, whatever the run's length."""
    steps, last = {0}, 0

    def recorded(step: int) -> bool:
        nonlocal last
        while last < step:
            last = max(last + 1, ceil(last * GROWTH))
            steps.add(last)
        return step in steps

    return recorded
