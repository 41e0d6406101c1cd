"""The server that worker processes are forked from.

Light to import: the server starts before the comparison is planned, since it needs longer than planning does.
"""

from __future__ import annotations

import multiprocessing as mp
import signal
from multiprocessing import forkserver, resource_tracker
from typing import TYPE_CHECKING

from gradlab.base.machine import cores

if TYPE_CHECKING:
    from gradlab.config.sections import Run


def prepare(run: Run) -> None:
    """Begin, while a comparison is planned, what its worker processes will need."""
    if run.executor == "local" and run.workers != 1 and cores() > 1:
        start_server()


def start_server() -> None:
    """Start the server that workers are forked from: its imports take longer than planning does.

    It inherits that Ctrl-C is blocked: a terminal sends it to the server too, whose imports would end in a traceback.
    """
    if "forkserver" in mp.get_all_start_methods():
        mp.get_context("forkserver").set_forkserver_preload(["gradlab.lab.preload"])
        resource_tracker.ensure_running()  # the server starts it otherwise, and its start unblocks Ctrl-C
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            forkserver.ensure_running()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
