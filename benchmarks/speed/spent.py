"""What a command takes with all its processes, those that its own children leave behind among them. Linux alone."""

from __future__ import annotations

import ctypes
import os
import resource
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from benchmarks.speed.pairs import ROOT, UNUSUAL

PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
LOOK_SECONDS = 0.05


class Spent(NamedTuple):
    """wall: seconds; processor: seconds of user and system of all processes; peak: MB of all of them at one time, what
    they share counted once"""

    wall: float
    processor: float
    peak: float


def spent(*arguments: str) -> Spent:
    """Run a Python command from the checkout, as `pairs.command` does."""
    # the server that workers are forked from outlives its parent: as its reaper, this process gets its times too
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    environment = {name: value for name, value in os.environ.items() if name not in UNUSUAL}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), perf_counter()
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    peaks, over = [0.0], threading.Event()

    def look() -> None:
        while not over.wait(LOOK_SECONDS):
            peaks.append(_megabytes(process.pid))

    watching = threading.Thread(target=look)
    watching.start()
    code = process.wait()
    wall = perf_counter() - began
    over.set()
    watching.join()
    with suppress(ChildProcessError):
        while True:
            os.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if code:
        raise RuntimeError(f"{arguments} ended with {code}")
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Spent(wall, processor, max(peaks))


def _megabytes(session: int) -> float:
    """Proportional set sizes of a session's processes."""
    total = 0
    for entry in Path("/proc").iterdir():
        try:
            if int((entry / "stat").read_text().rpartition(")")[2].split()[3]) != session:
                continue
            lines = (entry / "smaps_rollup").read_text().splitlines()
        except (OSError, ValueError, IndexError):  # no process, or one that has just ended
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024
