"""The server that worker processes are forked from: Python's own, one for each process that needs any.

It imports what its workers need once, beside the command that starts it, and computes nothing.
"""

from __future__ import annotations

import multiprocessing as mp
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from types import ModuleType
from typing import Any


def start(module: str) -> None:
    """Start the server, which imports `module`, where there can be one and none is running.

    Ctrl-C is blocked during the start, and the server inherits that. A terminal sends Ctrl-C to the server too, and the
    imports there would end in a traceback.
    """
    if sys.platform != "win32" and "forkserver" in mp.get_all_start_methods():
        mp.get_context("forkserver").set_forkserver_preload([module])
        resource_tracker.ensure_running()  # or the server starts it, which unblocks Ctrl-C there
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            forkserver.ensure_running()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def context() -> Any:
    """How workers start: forked from the server; where there is none, they are spawned."""
    return mp.get_context("forkserver" if "forkserver" in mp.get_all_start_methods() else "spawn")


@contextmanager
def no_main_module() -> Iterator[None]:
    """Keep workers from importing the user's script again, which would run it again where nothing guards it."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
