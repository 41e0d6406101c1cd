"""The C allocator of a process that trains: memory that a step has freed stays there for the next one."""

from __future__ import annotations

import ctypes
from contextlib import suppress

# malloc.h of glibc
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
LARGEST_MMAP_THRESHOLD = 32 << 20  # glibc refuses more


def keep_freed_memory() -> None:
    """Have glibc keep what is freed: given back to the system, every page of it faults again in the next record.

    For processes of gradlab's own; a library would change its caller's. Does nothing where there is no glibc.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_TRIM_THRESHOLD, 1 << 30)
        mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)
