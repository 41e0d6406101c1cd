"""Files that are either whole or not there: written beside, flushed to disk, then moved into place."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from secrets import token_hex
from typing import IO

BESIDE = re.compile(r"\.gradlab-[0-9a-f]{16}\.part")
"""The names of files that are being written: so random that nobody else has put a file or a link there."""


def write(path: Path, fill: Callable[[IO[bytes]], object]) -> None:
    """Replace `path` by what `fill` writes; on any failure `path` stays as it was. Raises OSError.

    Where `path` is a link, the link is replaced, and what it points to stays as it is.
    """
    beside = path.with_name(f".gradlab-{token_hex(8)}.part")
    handle = beside.open("xb")  # only a file that did not exist, and through no link
    try:
        with handle:
            fill(handle)
            handle.flush()
            os.fsync(handle.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    _flush_folder(path.parent)


def write_bytes(path: Path, content: bytes) -> None:
    write(path, lambda handle: handle.write(content))


def write_text(path: Path, text: str) -> None:
    """Replace `path` by a UTF-8 text with line ends as given."""
    write_bytes(path, text.encode("utf-8"))


def remove_leftovers(folder: Path) -> None:
    """Remove what writers that were killed left beside their files."""
    for beside in folder.glob(".*.part"):
        if BESIDE.fullmatch(beside.name):
            beside.unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    """Make the move itself survive a power failure, where the system can."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # a folder that may be written but not read; Windows
        return
    try:
        os.fsync(handle)
    except OSError:  # some network file systems refuse
        pass
    finally:
        os.close(handle)
