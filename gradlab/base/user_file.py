"""A user's file, opened only where it is one, and no larger than its reader can take.

Whatever is refused is an OSError with its reason in words, so that whoever reads files says it as every other failure
of reading.
"""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

from gradlab.base.machine import available_memory

TEXT_BYTES = 16 << 20
"""Of a text that a person writes, such as a configuration; the longest are some kilobytes."""
READABLE = "a file that you may read and that fits into memory"
KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class Unfit(OSError):
    """A path that is no file, or one that holds too much."""

    def __init__(self, message: str) -> None:
        super().__init__(errno.EINVAL, message)

    def __str__(self) -> str:
        return str(self.strerror)


def open_file(path: Path, most: float | None = None) -> BufferedReader:
    """The regular file at `path`, links followed, to be read in binary.

    most: its bytes at most; where it is not given, as many as there is memory free; `inf` for any number. Raises
    Unfit for a pipe, a device, a socket, and for a larger file; OSError where it cannot be opened.
    """
    waits = getattr(os, "O_NONBLOCK", 0)  # to open a pipe would wait for its writer
    handle = os.open(path, os.O_RDONLY | waits | getattr(os, "O_BINARY", 0))
    try:
        state = os.fstat(handle)
        kind = stat.S_IFMT(state.st_mode)
        if kind == stat.S_IFDIR:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if kind != stat.S_IFREG:
            raise Unfit(f"it is {KINDS.get(kind, 'something else')}, not a file")
        if most is None:
            check_room(state.st_size, "it holds")
        elif state.st_size > most:
            raise Unfit(f"it holds {in_bytes(state.st_size)}, and {in_bytes(int(most))} are read at most")
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_bytes(path: Path, most: float | None = TEXT_BYTES) -> bytes:
    """All bytes of a file. Raises as `open_file` does."""
    with open_file(path, most) as stream:
        return stream.read()


def read_text(path: Path, most: float | None = TEXT_BYTES, errors: str = "strict") -> str:
    """A file as UTF-8. Raises as `open_file` does, and UnicodeDecodeError."""
    return read_bytes(path, most).decode("utf-8", errors)


def check_room(needed: int, what: str) -> None:
    """Raise Unfit where so many bytes are more than the memory there is. what: `its 5 rows take`"""
    room = available_memory()
    if room is not None and needed > room:
        raise Unfit(f"{what} {in_bytes(needed)}, and {in_bytes(room)} of memory are free")


def in_bytes(count: int) -> str:
    """Bytes in words: `512 bytes`, `1.5 GB`."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= unit:
            return f"{count / unit:,.1f} {name}"
    return f"{count} bytes"
