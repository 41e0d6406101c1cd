"""The article's claims about speed: hard sigmoid's iterations (7) and accuracy under a time limit (8).

Everything is timed in turns in one process, so that a busy machine slows both sides alike; the ratio of each round
is taken, and its median over rounds with the order statistics that hold it in 95 of 100 cases.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import sqrt
from time import perf_counter

import numpy as np
import torch

from gradlab import activations
from gradlab.activations.modules import build_module
from gradlab.papers.claims import decide, measurement
from gradlab.papers.random_nets import random_nets, unit_inputs
from gradlab.papers.rows import Finding, Measured, Panel, Series, mean_of
from gradlab.papers.training import last, trained
from gradlab.parts import optimizers
from gradlab.parts.losses import cross_entropy

HARD, SOFT = "hard_sigmoid", "sigmoid"
FASTER = 0.95


def interleaved(first: Callable[[], object], second: Callable[[], object], rounds: int) -> Measured:
    """Median over rounds of the time of `first` over that of `second`, in turns; who begins alternates."""
    for call in (first, second):
        call()
    ratios = []
    for round_ in range(rounds):
        times = {}
        for call in (first, second) if round_ % 2 else (second, first):
            begin = perf_counter()
            call()
            times[call] = perf_counter() - begin
        ratios.append(times[first] / times[second])
    ordered = np.sort(ratios)
    reach = 0.98 * sqrt(rounds)
    low, high = int(max(0, rounds / 2 - reach)), int(min(rounds - 1, rounds / 2 + reach))
    return Measured(float(np.median(ordered)), float(ordered[low]), float(ordered[high]))


def kernel(activation: str) -> Callable[[], object]:
    """Forward and backward of the activation alone, on a batch of 64 through 256 units, 8 replicas."""
    module = build_module(activations.get(activation), 8, 256, tuple(range(8)))
    z = torch.randn(8, 64, 256, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    ones = torch.ones_like(z)
    return lambda: torch.autograd.grad(module(z), z, ones)


def step(activation: str, width: int) -> Callable[[], object]:
    """One SGD step of 3 hidden layers."""
    mlp = random_nets(activation, "glorot", depth=3, width=width, features=64, outputs=10, seeds=3)
    x = unit_inputs(mlp, 64)
    labels = torch.zeros(3, 64, dtype=torch.int64)
    parameters = list(mlp.parameters())
    optimizer = optimizers.get("sgd").for_stack(mlp.owners(), 0.01)
    return lambda: optimizer.step(torch.autograd.grad(cross_entropy(mlp(x), labels).sum(), parameters), 0.01)


def speed(quick: bool) -> Iterator[Finding]:
    rounds = 100 if quick else 400
    kernels = interleaved(kernel(HARD), kernel(SOFT), rounds)
    steps = interleaved(step(HARD, 64), step(SOFT, 64), rounds)
    yield measurement(7, "kernel", "time of hard sigmoid over sigmoid's, forward and backward alone", kernels)
    yield measurement(
        7, "whole step", "time of an SGD step of 3 layers of 64, hard sigmoid over sigmoid", steps
    )
    yield decide(
        7,
        "hard sigmoid makes each iteration faster",
        [
            (
                f"the kernel takes {kernels.value:.2f} of sigmoid's time, its interval under {FASTER}",
                kernels.high < FASTER,
            ),
            (
                f"the whole step takes {steps.value:.2f} of sigmoid's time, its interval under {FASTER}",
                steps.high < FASTER,
            ),
        ],
    )
    yield from _time_limit(quick, steps.value)


def _time_limit(quick: bool, ratio: float) -> Iterator[Finding]:
    """Accuracy at equal wall-clock: hard sigmoid gets as many more steps as its step is faster."""
    seeds = 3 if quick else 5
    differences = []
    for budget in (100, 300) if quick else (100, 300, 1000):
        settings = {"depth": 2, "width": 64, "lr": 0.5, "seeds": seeds, "record": "off"}
        soft = last(trained(activation="sigmoid", steps=budget, **settings), "val_accuracy")
        hard = last(
            trained(activation="hard_sigmoid", steps=max(1, round(budget / ratio)), **settings),
            "val_accuracy",
        )
        difference = mean_of(np.array(hard) - np.array(soft))
        differences.append((budget, difference))
        yield measurement(
            8,
            f"time of {budget} sigmoid steps",
            f"accuracy of hard sigmoid ({round(budget / ratio)} steps) minus sigmoid's, same seeds (digits)",
            difference,
        )
    yield decide(
        8,
        "so under a time limit hard sigmoid can give a smarter model",
        [
            (
                f"in the time of {budget} steps it is better beyond noise ({d.value:+.3f}, interval above 0)",
                d.low > 0,
            )
            for budget, d in differences
        ],
    )
    yield Panel(
        "Accuracy at equal time",
        "steps of sigmoid",
        "hard sigmoid minus sigmoid",
        [
            Series(
                "difference",
                [float(b) for b, _ in differences],
                [d.value for _, d in differences],
                "points",
                [d.low for _, d in differences],
                [d.high for _, d in differences],
            )
        ],
        log_x=True,
    )
