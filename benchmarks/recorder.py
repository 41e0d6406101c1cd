"""What recording costs: the time of a training step with the recorder over the time without, paired in one run.

    python benchmarks/recorder.py [--pairs N] [--threads N]

Blocks of recorded and plain steps alternate on the same model, so that both see the same machine; every figure is the
median of the pairs' ratios with their smallest and largest. Beside the recorder stands the notebook's way: hooks that
call `.item()` on every layer's output and gradient in every step.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradlab import Recorder


@dataclass
class Task:
    """A model with one batch; block: steps in one block of a pair."""

    model: nn.Module
    x: Tensor
    y: Tensor
    block: int

    def __post_init__(self) -> None:
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01)

    def step(self, recorder: Any = None) -> None:
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.model(self.x), self.y)
        loss.backward()
        if recorder is not None:
            recorder.step(optimizer=self.optimizer, loss=loss)
        self.optimizer.step()


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 64)
        layer = nn.TransformerEncoderLayer(64, 4, 128, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 4)
        self.head = nn.Linear(64, 10)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.encoder(self.embed(tokens)).mean(dim=1))


def tasks() -> dict[str, Task]:
    torch.manual_seed(0)
    hidden = [part for _ in range(20) for part in (nn.Linear(128, 128), nn.ReLU())]
    conv = [
        part
        for c in (8, 16, 16)
        for part in (nn.LazyConv2d(c, 3, padding=1), nn.LazyBatchNorm2d(), nn.ReLU())
    ]
    cnn = nn.Sequential(*conv, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.LazyLinear(10))
    images = torch.randn(32, 3, 24, 24)
    cnn(images)
    return {
        "mlp 20 x 128": Task(
            nn.Sequential(*hidden, nn.Linear(128, 10)), torch.randn(128, 128), torch.arange(128) % 10, 10
        ),
        "small cnn": Task(cnn, images, torch.arange(32) % 10, 8),
        "small transformer": Task(Transformer(), torch.randint(0, 50, (32, 24)), torch.arange(32) % 10, 5),
    }


class Notebook:
    """Every layer's mean, standard deviation and zeros, and its gradient's norm, as numbers at once, every step."""

    def __init__(self, model: nn.Module) -> None:
        self.rows: list[tuple[Any, ...]] = []
        self.model = model
        self.handles = []
        for name, module in model.named_modules():
            if any(True for _ in module.parameters(recurse=False)):
                self.handles.append(module.register_forward_hook(self._forward(name)))
                self.handles.append(module.register_full_backward_hook(self._backward(name)))

    def _forward(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, out: Any) -> None:
            out = (out[0] if isinstance(out, tuple) else out).detach()
            self.rows.append((name, out.mean().item(), out.std().item(), (out == 0).float().mean().item()))

        return hook

    def _backward(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, grad_in: Any, grad_out: Any) -> None:
            self.rows.append((name, grad_out[0].norm().item(), grad_out[0].abs().mean().item()))

        return hook

    def step(self, optimizer: Any, loss: Any) -> None:
        for name, parameter in self.model.named_parameters():
            if parameter.grad is not None:
                self.rows.append((name, parameter.grad.norm().item(), parameter.norm().item()))

    def __enter__(self) -> Notebook:
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self.handles:
            handle.remove()


def timed(task: Task, steps: int, make: Callable[[Task], Any] | None) -> float:
    with make(task) if make else nullcontext() as recorder:
        if make and steps == task.block:  # the first step of a block warms up, unless it is a whole run
            task.step(recorder)
        started = perf_counter()
        for _ in range(steps):
            task.step(recorder)
        return perf_counter() - started


def compare(
    task: Task, make: Callable[[Task], Any], pairs: int, steps: int | None = None
) -> tuple[float, float, float]:
    """Median, smallest and largest ratio of a block with recording over the plain blocks before and after it."""
    steps = steps or task.block
    ratios = []
    before = timed(task, steps, None)
    for _ in range(pairs):
        with_recorder = timed(task, steps, make)
        after = timed(task, steps, None)
        ratios.append(2 * with_recorder / (before + after))
        before = after
    return median(ratios), min(ratios), max(ratios)


WAYS: dict[str, Callable[[Task], Any]] = {
    "gradient norms, every step": lambda t: Recorder(t.model, schedule="all", metrics="gradients"),
    "everything of the batch, every step": lambda t: Recorder(t.model, schedule="all"),
    "everything and a probe of one batch, every step": lambda t: Recorder(t.model, probe=t.x, schedule="all"),
    "a probe with its targets and criterion, every step": lambda t: Recorder(
        t.model, probe=t.x, targets=t.y, criterion=F.cross_entropy, schedule="all"
    ),
    "the notebook's way, every step": lambda t: Notebook(t.model),
}
RUNS: dict[str, Callable[[Task], Any]] = {
    "default schedule": lambda t: Recorder(t.model),
    "default schedule and a probe of one batch": lambda t: Recorder(t.model, probe=t.x),
    "default schedule, probe, targets and criterion": lambda t: Recorder(
        t.model, probe=t.x, targets=t.y, criterion=F.cross_entropy
    ),
}
RUN_STEPS = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--runs", type=int, default=3, help=f"pairs of whole runs of {RUN_STEPS} steps")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(
        f"torch {torch.__version__}, {options.threads} thread(s), {options.pairs} pairs; median (smallest, largest)"
    )
    for name, task in tasks().items():
        for _ in range(5):
            task.step()
        print(f"\n{name}: a plain step takes {timed(task, 20, None) / 20 * 1e3:.2f} ms")
        for way, make in WAYS.items():
            middle, low, high = compare(task, make, options.pairs)
            print(f"  {way:<50} {middle:5.2f} x ({low:.2f}, {high:.2f})")
        for way, make in RUNS.items():
            middle, low, high = compare(task, make, options.runs, RUN_STEPS)
            print(f"  {f'{way}, {RUN_STEPS} steps':<50} {middle:5.2f} x ({low:.2f}, {high:.2f})")


if __name__ == "__main__":
    main()
