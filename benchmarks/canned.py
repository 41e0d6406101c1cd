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
from gradlab.tables.columns import STEP_COLUMNS, layer_columns

# The default run (1,000 steps, depth 20, 3 seeds), or a small one (depth 3, 10 records).
RECORDS, LAYERS, SEEDS, BATCH = (10, 4, 3, 16) if "CANNED_SMALL" in os.environ else (34, 21, 3, 64)


def canned() -> StackResult:
    """Records with numbers that judge as a healthy net's."""
    columns, random = layer_columns("standard"), np.random.default_rng(0)
    layers = random.uniform(0.1, 0.2, size=(RECORDS, LAYERS, SEEDS, len(columns)))
    layers[..., columns.index("nonfinite")] = 0
    return StackResult(
        cell="",
        seeds=tuple(range(SEEDS)),
        steps=np.arange(RECORDS),
        layers=layers,
        layer_applies=np.ones((RECORDS, LAYERS, len(columns)), dtype=bool),
        scalars=random.uniform(0.1, 0.9, size=(RECORDS, SEEDS, len(STEP_COLUMNS))),
        scalar_applies=np.ones((RECORDS, len(STEP_COLUMNS)), dtype=bool),
        layer_columns=columns,
        names=(*(f"hidden_{layer}" for layer in range(1, LAYERS)), "output"),
        fan_in=(64,) * LAYERS,
        fan_out=(64,) * LAYERS,
        batch=BATCH,
        input_sq=np.ones((SEEDS, BATCH)),
        timings={"plain_seconds": 1.0, "plain_steps": 1.0},
        predicted=np.full((SEEDS, LAYERS), 0.15),
    )


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
