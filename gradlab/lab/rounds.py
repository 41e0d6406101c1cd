"""Changes tried one after another, in rounds: each round starts from the best of the one before."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar

Setting = TypeVar("Setting")
Change = TypeVar("Change")


class Attempted(Protocol):
    """What is known of one trained change. setting: what was trained; good: whether nothing else need be tried."""

    @property
    def setting(self) -> Any: ...
    @property
    def good(self) -> bool: ...


Attempt = TypeVar("Attempt", bound=Attempted)


def in_rounds(
    start: Setting,
    changes: Callable[[Setting, Attempt | None], Iterable[Change]],
    changed: Callable[[Setting, Change], Setting | None],
    attempt: Callable[[Setting, Change, int, Attempt | None], Attempt | None],
    worth: Callable[[Attempt], Any],
    *,
    most: int,
    rounds: int,
) -> list[Attempt]:
    """The attempts in their order, until one is good, `most` are made, or a round finds nothing better.

    changes: of a setting, and of the attempt that it comes from (None for `start`), the likeliest first
    changed: the setting after a change; None where it does not allow that. A setting is tried once
    attempt: trains a setting, given its number from 1 and the attempt that it was laid on; None where that failed
    worth:   what makes one attempt better than another
    """
    attempts: list[Attempt] = []
    seen = [start]
    best: Attempt | None = None
    for _ in range(rounds):
        current: Setting = start if best is None else best.setting
        for change in changes(current, best):
            if len(attempts) == most:
                return attempts
            setting = changed(current, change)
            if setting is None or setting in seen:
                continue
            seen.append(setting)
            made = attempt(setting, change, len(attempts) + 1, best)
            if made is None:
                continue
            attempts.append(made)
            if made.good:
                return attempts
        now = max(attempts, key=worth, default=None)
        if now is None or now is best:
            break
        best = now
    return attempts
