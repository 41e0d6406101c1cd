"""Data sets that were read from large files, kept as arrays that every process maps into its memory.

An entry is one file: the arrays, what else a data set is, and a sum of each array. It is found by what the data set's
digest is made of, so that a file that has changed finds nothing. A cache that cannot be written or read is none: the
user's file is read instead. The entries that nobody has used for the longest time make room for new ones.
"""

from __future__ import annotations

import json
import os
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from math import inf
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from gradlab.base import atomic
from gradlab.base.user_file import open_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

LIMIT = 8_000_000_000
"""Bytes of all entries."""
FORMAT = 1
"""Part of every entry's name: raised when the layout of an entry changes. Reading that gives other numbers raises
RECIPE_VERSION, which is part of every digest (`gradlab.data.registry`)."""
ENDING = ".arrays"
ALIGNMENT = 64
BLOCK = 1 << 24
TRAILER = 16
"""Bytes at the end of an entry: the length of its facts, and their sum."""
ABANDONED_SECONDS = 3600.0
"""After so long a file beside an entry is what a writer that was killed has left."""


@dataclass(frozen=True)
class Part:
    """An array that is made a few rows at a time: `rows()` gives them in order."""

    shape: tuple[int, ...]
    dtype: str
    rows: Callable[[], Iterator[NDArray[Any]]]

    def whole(self) -> NDArray[Any]:
        """The array in memory."""
        import numpy as np

        made, start = np.empty(self.shape, dtype=self.dtype), 0
        for rows in self.rows():
            made[start : start + len(rows)] = rows
            start += len(rows)
        return made


@dataclass(frozen=True)
class Kept:
    """An entry: its facts as JSON gives them, and its arrays, mapped. Writing to one changes a copy of this process."""

    facts: dict[str, Any]
    arrays: Mapping[str, NDArray[Any]]


def folder() -> Path:
    """Where the entries are: `gradlab` in the user's folder for caches, as the system has it."""
    home = Path.home()
    if given := os.environ.get("XDG_CACHE_HOME"):
        return Path(given) / "gradlab"
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "gradlab"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", home / "AppData" / "Local")) / "gradlab" / "cache"
    return home / ".cache" / "gradlab"


def holds(size: int) -> bool:
    """Whether there may be an entry of a file of so many bytes, which is worth hashing the file for."""
    with suppress(OSError):
        return any(folder().glob(f"{size}-*{ENDING}"))
    return False


def find(digest: str) -> Kept | None:
    """The entry of a data set, its sums checked; None where there is none. A damaged one is removed."""
    with suppress(OSError):
        for path in folder().glob(f"*-{_key(digest)}{ENDING}"):
            if (found := _read(path)) is not None:
                os.utime(path)
                return found
            path.unlink(missing_ok=True)
    return None


def keep(digest: str, size: int, facts: Mapping[str, Any], parts: Mapping[str, Part]) -> Kept | None:
    """Write an entry and give it back mapped; None where it cannot be kept. size: of the file that it was read from."""
    needed = sum(_bytes(part) for part in parts.values())
    if needed > LIMIT:
        return None
    place = folder()
    path = place / f"{size}-{_key(digest)}{ENDING}"
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make_room(needed)
        atomic.write(path, lambda handle: _fill(handle, facts, parts), flush=False)
        return _read(path, checked=False)  # the sums have just been made of what was written
    except OSError:
        return None


@dataclass(frozen=True)
class Entry:
    """What `gradlab cache` shows of an entry. used: when it was last used, seconds since 1970"""

    path: Path
    name: str
    rows: int
    columns: int
    bytes: int
    used: float


def entries() -> list[Entry]:
    """What is there, the last used first; what cannot be read is left out."""
    found = []
    for path in _files():
        with suppress(OSError, ValueError, KeyError, TypeError):
            state = path.stat()
            with open_file(path, inf) as handle:
                described = _described(handle)
            (rows, columns), (more, _) = (described["arrays"][name]["shape"] for name in ("x_train", "x_val"))
            name = str(described["facts"]["name"])
            found.append(Entry(path, name, rows + more, columns, state.st_size, state.st_mtime))
    return sorted(found, key=lambda entry: -entry.used)


def clear() -> int:
    """Remove every entry; the bytes that they had. Raises OSError."""
    freed = 0
    for path in [*_files(), *folder().glob(f".*{ENDING}.*.part")]:
        freed += path.stat().st_size
        path.unlink(missing_ok=True)
    return freed


def _files() -> list[Path]:
    return list(folder().glob(f"*-*{ENDING}"))


def _key(digest: str) -> str:
    return sha256(f"{FORMAT} {digest}".encode()).hexdigest()[:32]


def _bytes(part: Part) -> int:
    import numpy as np

    return int(np.prod(part.shape)) * np.dtype(part.dtype).itemsize


def _make_room(needed: int) -> None:
    """Remove what was not used for the longest time until so many bytes more are within the limit."""
    for beside in folder().glob(f".*{ENDING}.*.part"):
        with suppress(OSError):
            if time.time() - beside.stat().st_mtime > ABANDONED_SECONDS:
                beside.unlink()
    states = []
    for path in _files():
        with suppress(OSError):  # another process has removed it
            states.append((path.stat().st_mtime, path.stat().st_size, path))
    total = needed + sum(size for _, size, _ in states)
    for _, size, path in sorted(states):
        if total <= LIMIT:
            return
        with suppress(OSError):
            path.unlink()
        total -= size


def _fill(handle: IO[bytes], facts: Mapping[str, Any], parts: Mapping[str, Part]) -> None:
    import numpy as np

    described = {}
    for name, part in parts.items():
        handle.write(bytes(-handle.tell() % ALIGNMENT))
        place, total = handle.tell(), 0
        for rows in part.rows():
            block = np.ascontiguousarray(rows, dtype=part.dtype).data.cast("B")
            total = zlib.crc32(block, total)
            handle.write(block)
        described[name] = {"dtype": part.dtype, "shape": [*part.shape], "place": place, "sum": total}
    text = json.dumps({"facts": dict(facts), "arrays": described}).encode()
    handle.write(text)
    handle.write(len(text).to_bytes(8, "little") + zlib.crc32(text).to_bytes(8, "little"))


def _described(handle: IO[bytes]) -> dict[str, Any]:
    """The facts of an entry and where its arrays are. Raises ValueError where they are damaged."""
    end = handle.seek(0, os.SEEK_END)
    handle.seek(max(0, end - TRAILER))
    trailer = handle.read(TRAILER)
    length, total = int.from_bytes(trailer[:8], "little"), int.from_bytes(trailer[8:], "little")
    if length > end - TRAILER:
        raise ValueError("its end is damaged")
    handle.seek(end - TRAILER - length)
    text = handle.read(length)
    if zlib.crc32(text) != total:
        raise ValueError("its end is damaged")
    described: dict[str, Any] = json.loads(text)
    return described


def _read(path: Path, checked: bool = True) -> Kept | None:
    """An entry, mapped; None where one of its sums is not that of what it holds. Raises OSError."""
    import numpy as np

    try:
        with open_file(path, inf) as handle:
            described = _described(handle)
            for array in described["arrays"].values() if checked else ():
                left = int(np.prod(array["shape"])) * np.dtype(array["dtype"]).itemsize
                handle.seek(array["place"])
                total = 0
                while left and (block := handle.read(min(left, BLOCK))):
                    total = zlib.crc32(block, total)
                    left -= len(block)
                if left or total != array["sum"]:
                    return None
            arrays = {
                name: np.asarray(
                    np.memmap(handle, array["dtype"], "c", array["place"], tuple(array["shape"]))
                )
                for name, array in described["arrays"].items()
            }
    except (ValueError, KeyError, TypeError):
        return None
    return Kept(described["facts"], arrays)
