"""Stacks as tasks of a Ray cluster: the same work, its records streamed to this process, which keeps the journal."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gradlab.base.errors import ConfigError, GradlabError, Problem
from gradlab.config.plan import Stack
from gradlab.config.sections import Run
from gradlab.lab.cost import largest_first, memory
from gradlab.lab.interrupt import Interrupt
from gradlab.lab.job import Watch, reason, work
from gradlab.store.stack_result import StackResult

RETRIES = 2  # of a stack whose worker or node was lost
AHEAD = 2  # tasks submitted for each core of the cluster: enough to keep it busy, few enough to hold
POLL_SECONDS = 0.5


def train_on_ray(
    stacks: Sequence[Stack], run: Run, watch: Watch, interrupt: Interrupt
) -> Iterator[tuple[Stack, StackResult | str]]:
    """Train each stack in a task of one core. Progress comes stack by stack.

    A user's data file and activation must be where they are here on every node. Raises ConfigError when Ray is not
    installed or asked for what it cannot do, GradlabError when the cluster cannot be reached.
    """
    ray, ours = _connected(run)
    running: dict[Any, Stack] = {}
    try:
        task = ray.remote(num_cpus=1, num_gpus=run.gpus_per_stack, max_retries=RETRIES)(_train)
        waiting = largest_first(stacks)[::-1]
        while waiting or running:
            interrupt.check()
            cores = max(int(ray.cluster_resources().get("CPU", 1)), 1)
            while waiting and len(running) < AHEAD * cores:
                stack = waiting.pop()
                running[task.options(memory=memory(stack)).remote(stack)] = stack
            ready, _ = ray.wait(list(running), timeout=POLL_SECONDS)
            for reference in ready:
                stack = running.pop(reference)
                try:
                    done: StackResult | str = ray.get(reference)
                except ray.exceptions.RayError as error:
                    # its workers were lost, more often than it is retried
                    done = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
                if not isinstance(done, str):
                    watch(stack, stack.cell.training.steps, stack.cell.training.steps, None)
                yield stack, done
    finally:
        if ours:
            ray.shutdown()  # which ends the tasks of this driver
        else:
            for reference in running:
                ray.cancel(reference)


def _train(stack: Stack) -> StackResult | str:
    import torch

    torch.set_num_threads(1)
    try:
        return work(stack, lambda *_: None, lambda _: None)
    except BaseException as error:  # code of the user's may call sys.exit
        return reason(error)


def _connected(run: Run) -> tuple[Any, bool]:
    """Ray, connected to the cluster, with this very package shipped to it, and whether the connection is ours: one
    that the caller has already is used as it is."""
    if run.save_weights:
        problem = Problem("--save-weights", "a Ray cluster sends back records alone", "--executor local")
        raise ConfigError(problem)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        problem = Problem("--executor", "Ray is not installed", "local", "pip install 'gradlab[ray]'")
        raise ConfigError(problem) from None
    if ray.is_initialized():
        return ray, False
    if run.ray_address and not _answers(run.ray_address):
        raise GradlabError(f"no Ray cluster at {run.ray_address}", "ray start --head starts one")
    settings: dict[str, Any] = (
        {"address": run.ray_address} if run.ray_address else {"include_dashboard": False}
    )
    package = Path(__file__).parents[1]
    try:
        ray.init(
            **settings,
            runtime_env={"py_modules": [str(package)]},
            logging_level=logging.ERROR,
            log_to_driver=False,
        )
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        where = run.ray_address or "this machine"
        raise GradlabError(f"no Ray cluster at {where}: {error}", "ray start --head starts one") from error
    return ray, True


def _answers(address: str) -> bool:
    """Whether anything listens at HOST:PORT; Ray itself would wait for minutes. Other addresses are Ray's to judge."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not (host and port.isdecimal()):
        return True
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
        return True
    except OSError:
        return False
