"""Stacks whose training is replaced by records made once: for measuring everything around the training."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from gradlab.config.plan import Stack
from gradlab.store.stack_result import StackResult
from gradlab.tables.block import Block
from gradlab.tables.layers import LAYERS as LAYER_TABLE
from gradlab.tables.steps import STEPS

# The default run (1,000 steps, depth 20, 3 seeds), or a small one (depth 3, 10 records).
RECORDS, LAYERS, SEEDS, BATCH = (10, 4, 3, 16) if "CANNED_SMALL" in os.environ else (34, 21, 3, 64)


def canned() -> StackResult:
    """Records with numbers that judge as a healthy net's."""
    random = np.random.default_rng(0)
    places = {
        "layer": range(1, LAYERS + 1),
        "name": (*(f"hidden_{layer}" for layer in range(1, LAYERS)), "output"),
        "fan_in": (64,) * LAYERS,
        "fan_out": (64,) * LAYERS,
        "batch": BATCH,
    }
    empty = {
        LAYER_TABLE.name: Block.empty(LAYER_TABLE, SEEDS, places),
        STEPS.name: Block.empty(STEPS, SEEDS, {}),
    }
    blocks = {name: _filled(block, random) for name, block in empty.items()}
    blocks["layers"].column("nonfinite")[:] = 0
    return StackResult(
        cell="",
        seeds=tuple(range(SEEDS)),
        steps=np.arange(RECORDS),
        blocks=blocks,
        input_sq=np.ones((SEEDS, BATCH)),
        timings={"plain_seconds": 1.0, "plain_steps": 1.0},
    )


def _filled(block: Block, random: np.random.Generator) -> Block:
    shape = (SEEDS, RECORDS, *block.values.shape[2:])
    return block.with_records(random.uniform(0.1, 0.2, size=shape), np.ones(shape[1:], dtype=bool))


_RECORDS = canned()


def work(stack: Stack, *_: Any) -> StackResult:
    return replace(_RECORDS, cell=stack.cell.id, seeds=stack.seeds)


def serve(connection: Connection) -> None:
    """In place of `gradlab.lab.worker.serve`."""
    while True:
        try:
            stack, _ = connection.recv()
        except EOFError:
            return
        connection.send(work(stack))


def task(stack: Stack) -> StackResult:
    """In place of `gradlab.lab.on_ray._train`."""
    return work(stack)


def ship() -> None:
    """Have Ray's tasks do `task`; its workers do not see this file, so it goes along by value."""
    import ray

    from gradlab.lab import on_ray

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    on_ray._train = task
