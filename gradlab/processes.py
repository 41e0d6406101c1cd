"""The server that worker processes are forked from, and how many of them there is room for.

Light to import: the server starts before the comparison is planned, since it needs longer than planning does.
"""

from __future__ import annotations

import multiprocessing as mp
import os
import signal
from math import ceil
from multiprocessing import forkserver, resource_tracker
from pathlib import Path
from typing import TYPE_CHECKING

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
        mp.get_context("forkserver").set_forkserver_preload(["gradlab.preload"])
        resource_tracker.ensure_running()  # the server starts it otherwise, and its start unblocks Ctrl-C
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            forkserver.ensure_running()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def cores() -> int:
    """The cores this process may use: its affinity, and a container's share of processor time."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return max(1, min(allowed, ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no such limit ("max 100000")
        return allowed


def available_memory() -> int | None:
    """Bytes that may still be used, by the machine and by a container's limit; None where neither says."""
    found = []
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    except OSError:
        pass
    try:
        limit, used = (
            int(Path(f"/sys/fs/cgroup/memory.{name}").read_text(encoding="ascii"))
            for name in ("max", "current")
        )
        found.append(limit - used)
    except (OSError, ValueError):  # no such limit ("max")
        pass
    return min(found, default=None)
