"""From a case to its records: the nets of two seeds, trained with what was done to them; kept on disk."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from math import prod
from pathlib import Path

import numpy as np
import torch

from benchmarks.detectors.case import Case, Change
from gradlab.config import resolve
from gradlab.config.plan import Stack, make
from gradlab.data import Dataset
from gradlab.nn.mlp import StackedLinear
from gradlab.store.journal import Unusable, read_stack, write_stack
from gradlab.store.stack_result import StackResult
from gradlab.train.loop import Training

SEEDS = 2
RECORDED = frozenset((0, 1, 2, 3, 5, 9, 20, 50, 100, 150, 200, 220, 250, 300))
"""A third of the default records: enough for every rule, at a third of their cost."""
FAR = 1000.0
"""A bias that no input reaches: below a rectifier's kink, or in either flat part of a hard sigmoid."""


class Tampered(Training):
    """A training in which a case's changes are made."""

    def __init__(self, stack: Stack, dataset: Dataset, changes: tuple[Change, ...]) -> None:
        super().__init__(stack, dataset)
        self.schedule = RECORDED.__contains__
        self.changes = changes
        loss, rate = self.loss, self.rate
        factor = prod(change.amount for change in changes if change.kind == "loss")
        if factor != 1:
            of = loss.of
            self.loss = replace(loss, of=lambda outputs, labels: factor * of(outputs, labels), short_cut=None)
        raised = [change for change in changes if change.kind == "rate"]
        self.rate = lambda step: rate(step) * prod(c.amount for c in raised if step >= c.step)

    def _step(self, step: int, recorded: bool) -> None:
        for change in self.changes:
            if change.step == step:
                self._change(change)
        super()._step(step, recorded)

    @torch.no_grad()
    def _change(self, change: Change) -> None:
        for linear in self._where(change.where):
            if change.kind == "weights":
                linear.weight.mul_(change.amount)
            elif change.kind in ("kill", "lift"):
                some = linear.bias[..., : round(change.amount * linear.bias.shape[-1])]
                some.fill_(-FAR if change.kind == "kill" else FAR)
            elif change.kind == "bias":
                linear.bias.fill_(change.amount)

    def _where(self, where: str) -> list[StackedLinear]:
        hidden = self.mlp.linears[:-1]
        places = {"first": 0, "middle": len(hidden) // 2, "top": len(hidden) - 1}
        return hidden if where == "all" else [hidden[places[where]]]


def stack_of(case: Case) -> Stack:
    flags = {"data": "digits", **case.flags, "seeds": SEEDS, "metrics": "full", "probe": "256"}
    request = resolve(file=None, environment={}, flags=flags, sets=(), lists=False)
    return make(request).stacks()[0]


def records(case: Case, folder: Path) -> tuple[Stack, StackResult]:
    """The case's records, from `folder` when they are there already."""
    stack = stack_of(case)
    kept = folder / f"{sha256(repr(case.flags).encode() + repr(case.changes).encode()).hexdigest()[:16]}.npz"
    try:
        result = read_stack(kept, stack)
    except Unusable:
        result = None
    if result is None:
        torch.set_num_threads(1)
        result = Tampered(stack, _dataset(case, stack), case.changes).run(None, None)
        folder.mkdir(parents=True, exist_ok=True)
        write_stack(kept, stack, result)
    return stack, result


def _dataset(case: Case, stack: Stack) -> Dataset:
    data = stack.cell.dataset()
    for change in case.changes:
        if change.kind == "inputs":
            data = replace(data, x_train=data.x_train * change.amount, x_val=data.x_val * change.amount)
        if change.kind == "labels":
            data = replace(data, y_train=np.random.default_rng(0).permutation(data.y_train))
    return data
