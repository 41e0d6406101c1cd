"""Ctrl-C: once asks the sweep to stop where nothing is lost, twice stops it at once."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class Interrupted(KeyboardInterrupt):
    """The user asked to stop, and everything finished is on disk."""


class Interrupt:
    """While it is entered, the first Ctrl-C is noted in `asked`; the second raises KeyboardInterrupt.

    Outside the main thread, which alone receives signals, it notes nothing.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: Any = None

    def check(self) -> None:
        """Raise Interrupted when the user has asked to stop."""
        if self.asked:
            raise Interrupted

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
