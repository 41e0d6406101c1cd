"""A program's training, watched: the plain loop, or the author's own."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.clinic.program import Program, Setup

PROBE_ROWS = 256


def made(program: Program, seed: int, mended: bool = False) -> Setup:
    """The program's setup, drawn from `seed`."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    return program.make(mended)


def run(setup: Setup, recorder: Any) -> None:
    """Train; `recorder` is entered already."""
    if setup.loop is not None:
        setup.loop(setup, recorder)
        return
    optimizer = setup.optimizer([p for p in setup.model.parameters() if p.requires_grad])
    rows = batches(setup)
    for _ in range(setup.steps):
        chosen = next(rows)
        optimizer.zero_grad()
        loss = setup.criterion(outputs(setup, chosen), setup.y[chosen])
        loss.backward()
        recorder.step(loss=loss, optimizer=optimizer)
        optimizer.step()


def batches(setup: Setup) -> Iterator[Tensor]:
    """Row numbers of batch after batch, each epoch in a new order; a short rest at its end is left out."""
    count = len(setup.y)
    size = min(setup.batch, count)
    while True:
        order = torch.randperm(count)
        yield from (order[at : at + size] for at in range(0, count - size + 1, size))


def probe_of(setup: Setup) -> Any:
    """What the recorder is given as a probe."""
    if setup.probe is not None:
        return setup.probe
    first = slice(PROBE_ROWS)
    return tuple(x[first] for x in setup.x) if isinstance(setup.x, tuple) else setup.x[first]


def outputs(setup: Setup, rows: Tensor | slice) -> Tensor:
    x = setup.x
    found: Tensor = setup.model(*(each[rows] for each in x)) if isinstance(x, tuple) else setup.model(x[rows])
    return found


def score(setup: Setup) -> float:
    """How good the trained model is: larger is better."""
    setup.model.eval()
    with torch.no_grad():
        if setup.score is not None:
            return float(setup.score(setup.model))
        return -float(setup.criterion(outputs(setup, slice(None)), setup.y))
