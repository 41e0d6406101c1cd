"""The C allocator of a process that trains: memory that a step has freed stays there for the next one."""

from __future__ import annotations

import ctypes
from contextlib import suppress

# malloc.h of glibc
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
LARGEST_MMAP_THRESHOLD = 32 << 20  # glibc refuses more


def keep_freed_memory() -> None:
    """Make glibc keep freed memory. Given back to the system, it would cost a page fault a page in the next record.

    Only for gradlab's own processes: as a library gradlab must not change how its caller's process allocates. Does
    nothing where there is no glibc.
    """
    with suppress(OSError, AttributeError, TypeError):  # TypeError: on Windows a library must have a name
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_TRIM_THRESHOLD, 1 << 30)
        mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)
