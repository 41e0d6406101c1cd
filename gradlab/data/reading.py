"""A file on its way through a reader: hashed as it passes by, and watched by whoever shows how far it is."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from hashlib import _Hash

Watch = Callable[[str, int, int], None]
"""watch(name, done, size): so many bytes of a file are read"""
_watch: ContextVar[Watch | None] = ContextVar("watch", default=None)


@contextmanager
def watched(watch: Watch) -> Iterator[None]:
    """Within it, `watch` is told of every file that is read for a data set."""
    before = _watch.set(watch)
    try:
        yield
    finally:
        _watch.reset(before)


class Passing(io.RawIOBase):
    """A stream of which every byte goes into a hash."""

    def __init__(self, stream: BinaryIO, hashed: _Hash, name: str) -> None:
        super().__init__()
        self._stream, self._hashed, self._name = stream, hashed, name
        self._watch, self._done = _watch.get(), 0
        place = stream.tell()
        self._size = stream.seek(0, io.SEEK_END)
        stream.seek(place)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = self._stream.readinto(buffer)  # type: ignore[attr-defined]
        self._hashed.update(memoryview(buffer)[:count])
        self._done += count
        if self._watch:
            self._watch(self._name, self._done, self._size)
        return int(count)
