"""The folders that --force makes beside a results folder: the new results while they are made, the old ones as they go.

A plain name proves nothing: somebody else's folder may have it. So both bear a random token, which stands in
`.journal/swap` of the results folder before anything of that name is made. Where the results folder is away, between
the two moves of a swap, the token in the old results' own journal proves that they are these.
"""

from __future__ import annotations

import re
import shutil
from contextlib import suppress
from pathlib import Path
from secrets import token_hex

from gradlab.base import atomic
from gradlab.base.user_file import read_text
from gradlab.store.results import JOURNAL

TOKEN = "swap"
"""The file of a journal that holds the token."""


class Swap:
    """The two folders beside the results folder `path`. Whoever calls holds the lock of `path`, where that exists."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._token = ""

    def building(self) -> Path:
        """The folder in which new results are made: the one that an interrupted --force left, or a new one."""
        self._token = _token_of(self.path)
        left = self._beside("new")
        if not (self._token and _is_folder(left)):
            self._token = token_hex(8)
            _note(self.path, self._token)
            left = self._beside("new")
            left.mkdir()
        _note(left, self._token)
        return left

    def into_place(self) -> None:
        """Put the new results in the place of the old ones, and remove these."""
        self.path.replace(self._beside("old"))
        self._beside("new").replace(self.path)
        self.clear()

    def restore(self) -> None:
        """Undo a swap that was killed between its two moves: nothing is in the results folder's place."""
        if self.path.exists() or self.path.is_symlink() or not self.path.parent.is_dir():
            return
        name = re.compile(re.escape(f".{self.path.name}.") + r"([0-9a-f]{16})\.old")
        for folder in self.path.parent.iterdir():
            found = name.fullmatch(folder.name)
            if found and _is_folder(folder) and _token_of(folder) == found[1]:
                folder.replace(self.path)
                return

    def clear(self) -> None:
        """Remove the old results of a swap that went through, where they are still beside the new ones."""
        self._token = _token_of(self.path)
        if self._token and _is_folder(old := self._beside("old")):
            shutil.rmtree(old, ignore_errors=True)

    def _beside(self, kind: str) -> Path:
        return self.path.with_name(f".{self.path.name}.{self._token}.{kind}")


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _note(folder: Path, token: str) -> None:
    (folder / JOURNAL).mkdir(exist_ok=True)
    atomic.write_text(folder / JOURNAL / TOKEN, token)


def _token_of(folder: Path) -> str:
    """The token that a folder's journal holds; empty where there is none."""
    with suppress(OSError, ValueError):
        text = read_text(folder / JOURNAL / TOKEN)
        return text if re.fullmatch(r"[0-9a-f]{16}", text) else ""
    return ""
