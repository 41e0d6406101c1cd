"""Files that are either whole or not there: written beside, flushed to disk, then moved into place."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import IO


def write(path: Path, fill: Callable[[IO[bytes]], object], *, flush: bool = True) -> None:
    """Replace `path` by what `fill` writes; on any failure `path` stays as it was. Raises OSError.

    flush: whether it shall survive a power failure, which takes as long as the disk does
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as handle:
            fill(handle)
            handle.flush()
            if flush:
                os.fsync(handle.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    if flush:
        _flush_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Replace `path` by a UTF-8 text with line ends as given."""
    write(path, lambda handle: handle.write(text.encode("utf-8")))


def remove_leftovers(folder: Path) -> None:
    """Remove what writers that were killed left beside their files."""
    for beside in folder.glob(".*.part"):
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
