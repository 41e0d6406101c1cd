"""One case of the fuzzer: a command line with the files around it, and what came of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

Prepare = Callable[[Path], None]
"""Puts files into the working directory of a case."""

TINY = {
    "--data": "moons:samples=40",
    "--width": "3",
    "--depth": "2",
    "--batch-size": "8",
    "--steps": "2",
    "--seeds": "2",
}
"""A training of milliseconds."""


@dataclass(frozen=True)
class Case:
    """argv:        what stands behind `gradlab`
    prepare:     run in the working directory before the command, one after another
    writes:      what the command may write, relative to its working directory
    environment: variables, beside those of the fuzzer
    process:     None for a call in this process, else how a real one is treated (`fuzz.processes`)
    """

    argv: Sequence[str]
    prepare: Sequence[Prepare] = ()
    writes: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    process: str | None = None


@dataclass(frozen=True)
class Ended:
    """How a command ended. code: None where its process was ended by a signal; before, after: see `contents`."""

    code: int | None
    out: bytes
    err: bytes
    before: Mapping[str, str | bytes]
    after: Mapping[str, str | bytes]


def tiny(**others: str | None) -> list[str]:
    """The flags of a tiny training, with others in their place; None leaves a flag out."""
    flags = TINY | {"--" + name.replace("_", "-"): value for name, value in others.items()}
    return [text for flag, value in flags.items() if value is not None for text in (flag, value)]


def file(name: str, content: bytes | str) -> Prepare:
    """Writes one file, and the folders that it is in."""

    def write(here: Path) -> None:
        path = here / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content)

    return write


def contents(folder: Path) -> dict[str, str | bytes]:
    """Everything in a folder by its path: the bytes of a file, and of anything else what it is."""
    found: dict[str, str | bytes] = {}
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place, name)
            key = str(path.relative_to(folder))
            if path.is_symlink():
                found[key] = f"link to {path.readlink()}"
            elif path.is_file():
                found[key] = path.read_bytes()
            else:
                found[key] = "folder" if path.is_dir() else "special"
    return found
