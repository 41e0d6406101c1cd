"""What several programs share: the digits, scores, and an update as most authors write it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.optim import Optimizer

Score = Callable[[nn.Module], float]


def digits(rows: int) -> tuple[Tensor, Tensor]:
    """Handwritten digits of 64 pixels in [0, 1], [sample, 64], and what they show; drawn from torch's generator."""
    images, labels = load_digits(return_X_y=True)
    chosen = torch.randperm(len(labels))[:rows]
    return torch.tensor(images, dtype=torch.float32)[chosen] / 16, torch.tensor(labels)[chosen]


def centred(pixels: Tensor) -> Tensor:
    """Pixels of `digits` about 0, with one scale for all of them."""
    return (pixels - 0.3) / 0.38


def standard(values: Tensor) -> Tensor:
    """Every column with mean 0 and deviation 1."""
    return (values - values.mean(0)) / values.std(0)


def accuracy(x: Tensor | tuple[Tensor, ...], y: Tensor) -> Score:
    """The share of the classes, on the outputs' last axis, that are right."""
    given = x if isinstance(x, tuple) else (x,)
    return lambda model: (model(*given).argmax(-1) == y).float().mean().item()


def explained(x: Tensor, y: Tensor) -> Score:
    """The share of the targets' variance that is explained; outputs that are no number explain minus infinity."""

    def share(model: nn.Module) -> float:
        left = (model(x) - y).square().mean() / (y - y.mean(0)).square().mean()
        return float(torch.nan_to_num(1 - left, nan=-torch.inf))

    return share


def update(recorder: Any, optimizer: Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    recorder.step(loss=loss, optimizer=optimizer)
    optimizer.step()


def taught(model: nn.Module, x: Tensor, y: Tensor, steps: int = 150) -> None:
    """Train a net that a program begins with, unrecorded."""
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(steps):
        chosen = torch.randint(len(y), (128,))
        optimizer.zero_grad()
        F.cross_entropy(model(x[chosen]), y[chosen]).backward()
        optimizer.step()
