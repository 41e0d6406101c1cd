"""What a stack costs, before it is trained: enough to order stacks, to choose workers and to judge their memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from math import ceil
from pathlib import Path

from gradlab.plan import Plan, Stack

LAYER_SECONDS = 60e-6  # what a layer costs a step however small it is: some twenty calls of small kernels
FLOPS = 2e10  # a core's float32 rate in products of matrices of this size
WORTH_WORKERS = 5.0  # seconds of work below which worker processes start up for longer than they save


def seconds(stack: Stack) -> float:
    """Roughly how long one core takes to train a stack, within a factor of three or so."""
    network, training = stack.cell.network, stack.cell.training
    weights = (network.depth + 1) * network.width**2
    # A product forward and two backward, a multiplication and an addition each.
    work = 6 * len(stack.seeds) * training.batch_size * weights
    return (training.steps + 1) * (network.depth * LAYER_SECONDS + work / FLOPS)


def largest_first(stacks: Sequence[Stack]) -> list[Stack]:
    """So that no long stack starts last, when the other workers have nothing left to do."""
    return sorted(stacks, key=seconds, reverse=True)


def worker_count(plan: Plan, stacks: Sequence[Stack]) -> int:
    """How many processes train the stacks: as configured, else one a core where there is enough to do."""
    wanted = plan.run.workers
    if wanted is None:
        on_cpu = all(stack.cell.device == "cpu" for stack in stacks)
        short = sum(map(seconds, stacks)) < WORTH_WORKERS
        wanted = cores() if on_cpu and not short else 1
    return max(1, min(wanted, len(stacks)))


def cores() -> int:
    """The cores this process may use: its affinity, and a container's share of processor time."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return max(1, min(allowed, ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no such limit ("max 100000")
        return allowed
