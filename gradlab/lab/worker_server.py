"""The server that worker processes are forked from.

Light to import: the server starts before the comparison is planned, since it needs longer than planning does.
"""

from __future__ import annotations

import multiprocessing as mp
import signal
import sys
from multiprocessing import forkserver, resource_tracker
from typing import TYPE_CHECKING

from gradlab.base.machine import cores

if TYPE_CHECKING:
    from gradlab.config.sections import Run


def prepare(run: Run) -> None:
    """Start the server while a comparison, or a long run, is still being planned, if it will have workers."""
    if run.executor == "local" and run.workers != 1 and cores() > 1:
        start_server()


def start_server() -> None:
    """Start the server that workers are forked from: its imports take longer than planning does.

    Ctrl-C is blocked during the start, and the server inherits that. A terminal sends Ctrl-C to the server too, and the
    imports there would end in a traceback.
    """
    if sys.platform != "win32" and "forkserver" in mp.get_all_start_methods():
        mp.get_context("forkserver").set_forkserver_preload(["gradlab.lab.preload"])
        resource_tracker.ensure_running()  # or the server starts it, which unblocks Ctrl-C there
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            forkserver.ensure_running()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
