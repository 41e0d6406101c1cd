"""Ctrl-C, or a scheduler's SIGTERM: once asks the sweep to stop where nothing is lost, twice stops it at once."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """The user asked to stop, and everything finished is on disk."""


class Interrupt:
    """While it is entered, the first of SIGNALS is noted in `asked`; the second raises KeyboardInterrupt.

    Outside the main thread, which alone receives signals, it notes nothing.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[signal.Signals, Any] = {}

    def check(self) -> None:
        """Raise Interrupted when the user has asked to stop."""
        if self.asked:
            raise Interrupted

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
