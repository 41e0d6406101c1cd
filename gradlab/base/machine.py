"""The machine: how many cores and how much memory a process may use."""

from __future__ import annotations

import os
from math import ceil
from pathlib import Path


def cores() -> int:
    """The cores this process may use: its affinity, and a container's share of processor time."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return max(1, min(allowed, ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no such limit ("max 100000")
        return allowed


def available_memory() -> int | None:
    """The bytes that the machine and a container's limit leave, whichever is less; None where neither is known."""
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
