"""The server that worker processes are forked from.

Light to import: the server starts before the comparison is planned, since it needs longer than planning does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradlab.base import fork_server
from gradlab.base.machine import cores

if TYPE_CHECKING:
    from gradlab.config.sections import Run


def prepare(run: Run) -> None:
    """Start the server while a comparison, or a long run, is still being planned, if it will have workers."""
    if run.executor == "local" and run.workers != 1 and cores() > 1:
        start_server()


def start_server() -> None:
    """Start the server that workers are forked from: its imports take longer than planning does."""
    fork_server.start("gradlab.lab.preload")
