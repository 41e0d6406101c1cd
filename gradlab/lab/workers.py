"""Stacks in worker processes: the largest is trained first, and a worker that dies is replaced."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf
from multiprocessing import connection as connections
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from time import sleep
from typing import Any

from gradlab.base import fork_server
from gradlab.base.errors import GradlabError
from gradlab.base.machine import available_memory
from gradlab.config.plan import Stack
from gradlab.lab.cost import largest_first, memory
from gradlab.lab.interrupt import Interrupt
from gradlab.lab.job import Keep, Say, Watch
from gradlab.lab.worker_server import start_server
from gradlab.store.stack_result import StackResult

ATTEMPTS = 3  # how often a stack is tried in all if its workers die
POLL_SECONDS = 0.2  # how soon Ctrl-C is noticed
FAILED_STARTS = 10  # of workers, over a whole sweep, before it is given up
PATIENCE_SECONDS = 5.0  # how long a worker may take to end after its connection has closed


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    stack: Stack


def train_in_workers(
    stacks: Sequence[Stack],
    workers: int,
    watch: Watch,
    say: Say,
    keep: Keep | None,
    interrupt: Interrupt,
) -> Iterator[tuple[Stack, StackResult | str]]:
    """Train stacks in so many processes of one torch thread each."""
    start_server()
    context = fork_server.context()
    import gradlab.analyse.summary  # noqa: F401  # needed when the first stack comes; the server imports meanwhile

    waiting = largest_first(stacks)[::-1]  # the next one to train is at the end
    deaths: Counter[str] = Counter()
    running: list[_Worker] = []
    free = available_memory() or inf
    failed_starts = 0

    def fits(stack: Stack, others: Sequence[_Worker]) -> bool:
        """Whether a stack fits into memory beside others; alone it is tried in any case."""
        return not others or memory(stack) + sum(memory(other.stack) for other in others) <= free

    try:
        while waiting or running:
            while waiting and len(running) < workers and fits(waiting[-1], running):
                interrupt.check()
                try:
                    running.append(_start(context, waiting[-1], keep))
                    waiting.pop()
                except (
                    EOFError,
                    OSError,
                ) as error:  # the server that forks them was killed: another is started
                    failed_starts += 1
                    if failed_starts > FAILED_STARTS:
                        raise GradlabError(
                            f"worker processes cannot be started: {error!r}", "--workers 1"
                        ) from error
                    sleep(POLL_SECONDS)
            ready = connections.wait([worker.connection for worker in running], POLL_SECONDS)
            interrupt.check()
            for worker in [worker for worker in running if worker.connection in ready]:
                message = _receive(worker)
                if isinstance(message, tuple):
                    if len(message) == 1:
                        say(*message)
                    else:
                        watch(worker.stack, *message)
                    continue
                stack = worker.stack
                if message is None:  # it died
                    running.remove(worker)
                    deaths[stack.key] += 1
                    if deaths[stack.key] < ATTEMPTS:
                        waiting.append(stack)
                        continue
                    message = f"its worker process died {ATTEMPTS} times ({_end_of(worker.process)})"
                elif (
                    not waiting
                    or not fits(waiting[-1], [other for other in running if other is not worker])
                    or not _send(worker, waiting[-1], keep)
                ):
                    running.remove(worker)
                    worker.connection.close()  # then the worker ends by itself
                else:
                    worker.stack = waiting.pop()
                yield stack, message
    finally:
        for worker in running:
            worker.process.kill()
        for worker in running:
            worker.process.join()


def _start(context: Any, stack: Stack, keep: Keep | None) -> _Worker:
    """A new worker, busy with a stack."""
    ours, theirs = context.Pipe()
    with fork_server.no_main_module():
        process = context.Process(target=_serve, args=(theirs,), daemon=True, name="gradlab worker")
        process.start()
    theirs.close()
    worker = _Worker(process, ours, stack)
    _send(worker, stack, keep)  # if it fails, the next read finds the worker dead
    return worker


def _serve(connection: Connection) -> None:
    from gradlab.lab.worker import serve  # here, so that the parent need not load torch

    serve(connection)


def _send(worker: _Worker, stack: Stack, keep: Keep | None) -> bool:
    try:
        worker.connection.send((stack, keep))
        return True
    except OSError:
        return False


def _receive(worker: _Worker) -> StackResult | str | tuple[Any, ...] | None:
    """A worker's message: progress or a text as a tuple, records, or why there are none; None when it has died."""
    try:
        message: StackResult | str | tuple[Any, ...] = worker.connection.recv()
        return message
    except (EOFError, OSError):
        worker.process.join(PATIENCE_SECONDS)
        return None


def _end_of(process: BaseProcess) -> str:
    """How a process ended, in words."""
    code = process.exitcode
    if code is None:
        return "it does not answer"
    if code == -9:
        return "killed, as the system does when memory is short"
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}"
