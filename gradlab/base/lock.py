"""One writer a results folder: a lock that the system drops when its holder ends, however it ends."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows has no such lock: there, two writers are not told apart
    fcntl = None  # type: ignore[assignment]


class Held(Exception):
    """Somebody else holds the lock; `holder` says who, as far as is known."""

    def __init__(self, holder: str) -> None:
        super().__init__(holder)
        self.holder = holder


class Lock:
    """An exclusive lock on a file that stays; the file says who took it last."""

    def __init__(self, path: Path) -> None:
        """Take the lock at once. Raises Held when another process has it, OSError when it cannot be made."""
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
        if fcntl is None:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode(), 0)
        except BlockingIOError:
            os.close(self._file)
            raise Held(_holder(path)) from None
        except OSError:  # no locks here, or no room for the name
            os.close(self._file)
            raise

    def release(self) -> None:
        os.close(self._file)


def _holder(path: Path) -> str:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return f"process {found['pid']} on {found['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
