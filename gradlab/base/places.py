"""Folders as the system knows them: the working directory, which may be gone, and links, which may lead in a circle."""

from __future__ import annotations

from pathlib import Path

from gradlab.base.errors import ConfigError, Problem


def working_directory() -> Path:
    """The working directory. Raises ConfigError where it has been removed."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        message, hint = "it is there no more: it was removed or renamed", "go to a folder that exists"
        raise ConfigError(Problem("working directory", message, hint=hint)) from None


def short_path(path: Path) -> str:
    """The path from the working directory where it lies below it."""
    try:
        here = Path.cwd()
    except FileNotFoundError:  # it was removed, and the path holds without it
        return str(path)
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def resolved(path: Path) -> Path:
    """The path without links. Raises ConfigError naming it where they lead in a circle."""
    try:
        return path.resolve()
    except RuntimeError:  # what Python raises before 3.13
        raise ConfigError(Problem(str(path), "its links lead in a circle", "another path")) from None
