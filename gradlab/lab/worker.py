"""The worker process: it receives stacks, trains them and sends back progress and records.

The parent loads this module once, in the server that workers are forked from, so everything slow is imported here
and nothing here computes: a process that has run a parallel operation must not be forked.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import torch

import gradlab.lab.predict
import gradlab.train.loop  # noqa: F401
from gradlab.base.allocator import keep_freed_memory
from gradlab.base.gc_tuning import collect_rarely
from gradlab.config.plan import Stack
from gradlab.lab.job import reason, work


def serve(connection: Connection) -> None:
    """Train every stack that arrives, until the parent closes the connection or dies. Ctrl-C is left to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.stdout = sys.stderr  # what the user's own code prints is no data of gradlab's
    torch.set_num_threads(1)
    collect_rarely()
    keep_freed_memory()

    def watch(stack: Stack, step: int, made: int, shown: Mapping[str, Any] | None) -> None:
        try:
            connection.send((step, made, shown))
        except OSError:  # the parent has gone
            raise SystemExit from None

    def say(text: str) -> None:
        with suppress(OSError):
            connection.send((text,))

    while True:
        try:
            stack, keep = connection.recv()
        except EOFError:
            return
        try:
            done: object = work(stack, watch, say, keep)
        except BaseException as error:  # code of the user's may call sys.exit
            done = reason(error)
        try:
            connection.send(done)
        except OSError:
            return
