"""What recording costs: the processor time of a training step with the recorder over that without, paired in one run.

    python -m benchmarks.recorder [--pairs N] [--threads N] [--only NAME]

Blocks of recorded and plain steps alternate on the same model, so that both see the same machine; every figure is the
median of the pairs' ratios with their smallest and largest. Beside the recorder stands the notebook's way: hooks that
call `.item()` on every layer's output and gradient in every step. At the end `gradlab watch`: its training with one
seed beside the user's own loop of the same net on the same rows.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from statistics import median
from time import process_time
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradlab import Recorder, data
from gradlab.config import resolve
from gradlab.lab.watch.plan import plan
from gradlab.lab.watch.training import train

Criterion = Callable[[Tensor, Tensor], Tensor]


@dataclass
class Task:
    """A model with one batch; block: steps in one block of a pair."""

    model: nn.Module
    x: Tensor
    y: Tensor
    block: int
    criterion: Criterion = F.cross_entropy

    def __post_init__(self) -> None:
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01)

    def step(self, recorder: Any = None) -> None:
        self.optimizer.zero_grad()
        loss = self.criterion(self.model(self.x), self.y)
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


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.inputs, self.out = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.inputs(x).chunk(3, dim=-1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        return self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))


class Decoder(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm_1, self.attention, self.norm_2 = (
            nn.LayerNorm(width),
            Attention(width, heads),
            nn.LayerNorm(width),
        )
        self.wide, self.gelu, self.back = (
            nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width)
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm_1(x))
        return x + self.back(self.gelu(self.wide(self.norm_2(x))))


class GPT2(nn.Module):
    """4 blocks of width 128 with 4 heads, as GPT-2 has them, on a vocabulary of 1,000."""

    def __init__(self, words: int = 1000, width: int = 128, length: int = 32) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(words, width), nn.Embedding(length, width)
        self.blocks, self.norm = nn.Sequential(*(Decoder(width, 4) for _ in range(4))), nn.LayerNorm(width)
        self.head = nn.Linear(width, words, bias=False)
        self.head.weight = self.words.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.words(tokens) + self.places(torch.arange(tokens.shape[1]))
        return self.head(self.norm(self.blocks(x)))


class BasicBlock(nn.Module):
    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv_1, self.norm_1 = nn.Conv2d(channels, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out)
        self.conv_2, self.norm_2 = nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out)
        short = [nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out)]
        self.short = nn.Sequential(*(short if channels != out else []))
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        h = self.relu(self.norm_1(self.conv_1(x)))
        return self.relu(self.norm_2(self.conv_2(h)) + self.short(x))


def resnet_18(channels: int = 16) -> nn.Module:
    blocks, before = [], channels
    for stage in range(4):
        width = channels << stage
        blocks += [BasicBlock(before, width, 1 if width == before else 2), BasicBlock(width, width, 1)]
        before = width
    stem = [nn.Conv2d(3, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, 10))


def of_words(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs.flatten(0, 1), targets.flatten())


def deep_tanh() -> nn.Module:
    """20 hidden layers of 64 units on digits."""
    return nn.Sequential(
        *[part for _ in range(20) for part in (nn.Linear(64, 64), nn.Tanh())], nn.Linear(64, 10)
    )


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
        "GPT-2 4 x 128": Task(
            GPT2(), torch.randint(0, 1000, (8, 32)), torch.randint(0, 1000, (8, 32)), 5, of_words
        ),
        "ResNet-18 of 16 channels": Task(resnet_18(), torch.randn(8, 3, 32, 32), torch.arange(8) % 10, 5),
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
        started = process_time()
        for _ in range(steps):
            task.step(recorder)
        return process_time() - started


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
        t.model, probe=t.x, targets=t.y, criterion=t.criterion, schedule="all"
    ),
    "the notebook's way, every step": lambda t: Notebook(t.model),
}
RUNS: dict[str, Callable[[Task], Any]] = {
    "default schedule": lambda t: Recorder(t.model),
    "default schedule and a probe of one batch": lambda t: Recorder(t.model, probe=t.x),
    "default schedule, probe, targets and criterion": lambda t: Recorder(
        t.model, probe=t.x, targets=t.y, criterion=t.criterion
    ),
}
RUN_STEPS = 1000


def watched(pairs: int, record: str) -> tuple[float, float, float]:
    """Processor time of a training of `gradlab watch` over that of the user's own loop; start and tables are in
    neither."""
    request = resolve(flags={"steps": RUN_STEPS, "batch_size": 64, "record": record})
    job = plan("benchmarks.recorder:deep_tanh", request).job
    rows = data.load("digits")
    x, y = torch.as_tensor(rows.x_train).float(), torch.as_tensor(rows.y_train).long()

    def loop() -> None:
        torch.manual_seed(0)
        model = deep_tanh()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for _ in range(RUN_STEPS):
            batch = torch.randint(0, len(x), (64,))
            optimizer.zero_grad()
            F.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()

    def seconds(what: Callable[[], object]) -> float:
        started = process_time()
        what()
        return process_time() - started

    ratios = []
    before = seconds(loop)
    for _ in range(pairs):
        with_watch = seconds(lambda: train(job, 0))
        after = seconds(loop)
        ratios.append(2 * with_watch / (before + after))
        before = after
    return median(ratios), min(ratios), max(ratios)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--runs", type=int, default=3, help=f"pairs of whole runs of {RUN_STEPS} steps")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default="", help="the task of this name, or `watch`")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(
        f"torch {torch.__version__}, {options.threads} thread(s), {options.pairs} pairs; median (smallest, largest)"
    )
    for name, task in tasks().items():
        if options.only not in ("", name):
            continue
        for _ in range(5):
            task.step()
        print(f"\n{name}: a plain step takes {timed(task, 20, None) / 20 * 1e3:.2f} ms")
        for way, make in WAYS.items():
            middle, low, high = compare(task, make, options.pairs)
            print(f"  {way:<50} {middle:5.2f} x ({low:.2f}, {high:.2f})")
        for way, make in RUNS.items():
            middle, low, high = compare(task, make, options.runs, RUN_STEPS)
            print(f"  {f'{way}, {RUN_STEPS} steps':<50} {middle:5.2f} x ({low:.2f}, {high:.2f})")
    if options.only in ("", "watch"):
        print("\ngradlab watch, tanh 20 x 64, digits, batch 64, over the user's own loop")
        for record in ("log", f"every:{RUN_STEPS}"):
            middle, low, high = watched(options.runs, record)
            print(f"  {f'records {record}, {RUN_STEPS} steps':<50} {middle:5.2f} x ({low:.2f}, {high:.2f})")


if __name__ == "__main__":
    main()
