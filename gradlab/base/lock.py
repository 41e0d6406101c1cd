"""One writer a results folder: a lock that the system drops when its holder ends, however it ends."""

from __future__ import annotations

import errno
import json
import os
import socket
from pathlib import Path

from filelock import FileLock, SoftFileLock, Timeout

from gradlab.base.user_file import open_file


class Held(Exception):
    """Somebody else holds the lock; `holder` says who, as far as is known."""

    def __init__(self, holder: str) -> None:
        super().__init__(holder)
        self.holder = holder


class Lock:
    """An exclusive lock on a file that stays; the file says who took it last."""

    def __init__(self, path: Path) -> None:
        """Take the lock at once. Raises Held when somebody else has it, OSError when it cannot be made: the path is a
        link, the folder may not be written, the disk is full, the file system or the whole system has no locks."""
        if issubclass(FileLock, SoftFileLock):  # what filelock falls back to: no fcntl, and not Windows
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK), str(path))
        self._lock = FileLock(
            path,
            blocking=False,
            thread_local=False,
            fallback_to_soft=False,  # a lock that is only a file outlives a holder that is killed
            preserve_lock_file=True,  # whoever deletes it may delete the file that the next holder has locked
            on_acquired=_write_holder,
        )
        try:
            self._lock.acquire()
        except Timeout:
            raise Held(_holder(path)) from None

    def release(self) -> None:
        self._lock.release()


def _write_holder(file: int) -> None:
    """Write who holds the lock into its file. The first byte says nothing: it is the one that Windows locks, and
    that nobody else can read there."""
    os.ftruncate(file, 0)
    os.write(file, b" " + json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode())


def _holder(path: Path) -> str:
    try:
        with open_file(path) as file:
            file.seek(1)
            note = json.loads(file.read())
        return f"process {note['pid']} on {note['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
