"""The faulty programs of CLINIC.md's table "Programs to start from"."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from sklearn.datasets import make_multilabel_classification
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, Adam, RMSprop

from benchmarks.clinic.common import accuracy, digits, explained, standard
from benchmarks.clinic.program import Program, Setup


def _images(rows: int = 1500) -> tuple[Tensor, Tensor]:
    """The digits as images of one channel."""
    pixels, labels = digits(rows)
    return pixels.view(-1, 1, 8, 8), labels


def _dense(
    fan_in: int, fan_out: int, spread: float | None = None, *, normal: float | None = None
) -> nn.Linear:
    """A layer as Keras makes it: Glorot weights, or uniform in +-spread, or N(0, normal^2); biases 0."""
    layer = nn.Linear(fan_in, fan_out)
    nn.init.zeros_(layer.bias)
    if normal is not None:
        nn.init.normal_(layer.weight, std=normal)
    elif spread is not None:
        nn.init.uniform_(layer.weight, -spread, spread)
    else:
        nn.init.xavier_uniform_(layer.weight)
    return layer


def _binary_accuracy(x: Tensor, labels: Tensor, edge: float = 0.5) -> Callable[[nn.Module], float]:
    return lambda model: ((model(x) > edge) == (labels > 0.5)).float().mean().item()


def _clipped_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy as Keras takes it: outputs outside of 0 to 1 are clipped first."""
    return F.binary_cross_entropy(outputs.clamp(1e-7, 1 - 1e-7), targets)


def _log_of_share(outputs: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy as Keras takes it from outputs that are no logits: each row is divided by its sum."""
    return F.nll_loss((outputs / outputs.sum(1, keepdim=True)).log(), labels)


def _linear_digits(mended: bool) -> Setup:
    x, labels = _images()
    x = F.interpolate(x, size=(28, 28), mode="bilinear").flatten(1)
    model = nn.Sequential(nn.Linear(784, 30), nn.Linear(30, 10))
    for layer in model:
        if mended:
            nn.init.xavier_normal_(layer.weight)
            nn.init.zeros_(layer.bias)
        else:
            nn.init.normal_(layer.weight)
            nn.init.normal_(layer.bias)
    rate = 0.015 if mended else 3.0
    return Setup(
        model=model,
        x=x,
        y=F.one_hot(labels, 10).float(),
        criterion=nn.MSELoss(),
        optimizer=lambda p: SGD(p, lr=rate),
        batch=10,
        steps=600,
        score=accuracy(x, labels),
    )


def _thousands(mended: bool) -> Setup:
    plain = torch.randn(1000, 8)
    raw = torch.linspace(2000, 9000, 8) * (1 + 0.05 * plain)
    x = standard(raw) if mended else raw
    y = ((plain[:, :4] * plain[:, 4:]).sum(1, keepdim=True) / 2 + plain[:, :1] > 0).float()
    sizes = (8, 64, 64, 64, 64)
    layers = [part for a, b in pairwise(sizes) for part in (_dense(a, b), nn.Tanh())]
    return Setup(
        model=nn.Sequential(*layers, _dense(64, 1)),
        x=x,
        y=y,
        criterion=nn.BCEWithLogitsLoss(),
        optimizer=lambda p: Adam(p, lr=1e-3),
        batch=32,
        steps=600,
        score=_binary_accuracy(x, y, 0.0),
    )


def _weighted_sum(mended: bool) -> Setup:
    x = torch.rand(1500, 3) * 10_000
    y = x @ torch.tensor([[2.0], [1.0], [0.5]]) + 2.2
    if mended:
        x, y = standard(x), standard(y)
    out: nn.Module = nn.Identity() if mended else nn.Softmax(1)
    model = nn.Sequential(
        _dense(3, 3, 0.05), nn.Tanh(), _dense(3, 2, 0.05), nn.Tanh(), _dense(2, 1, 0.05), out
    )
    return Setup(
        model=model,
        x=x,
        y=y,
        criterion=nn.MSELoss(),
        optimizer=lambda p: SGD(p, lr=0.1, momentum=0.9, nesterov=True),
        batch=32,
        steps=500,
        score=explained(x, y),
    )


def _ones_and_zeros(mended: bool) -> Setup:
    y = torch.arange(1000).remainder(2).float()[:, None]
    x = (2 * y - 1).expand(-1, 128).clone()
    out = nn.Sigmoid() if mended else nn.Softmax(1)
    model = nn.Sequential(
        _dense(128, 50),
        nn.ReLU(),
        nn.Dropout(0.2),
        _dense(50, 50),
        nn.ReLU(),
        nn.Dropout(0.2),
        _dense(50, 1),
        out,
    )
    return Setup(
        model=model,
        x=x,
        y=y,
        criterion=_clipped_entropy,
        optimizer=lambda p: RMSprop(p, lr=1e-3, alpha=0.9),
        batch=16,
        steps=300,
        score=_binary_accuracy(x, y),
    )


def _exclusive_or(mended: bool) -> Setup:
    x = torch.tensor([[1.0, 1.0], [0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.0, 0.0]])
    y = torch.tensor([[0.0], [0.0], [1.0], [1.0], [0.0], [0.0]])
    out = nn.Sigmoid() if mended else nn.Softmax(1)
    model = nn.Sequential(_dense(2, 8), nn.Sigmoid(), _dense(8, 3), nn.Sigmoid(), _dense(3, 1), out)
    return Setup(
        model=model,
        x=x,
        y=y,
        criterion=nn.MSELoss(),
        optimizer=lambda p: Adam(p, lr=0.1),
        batch=6,
        steps=600,
        score=explained(x, y),
    )


def _losses_only(mended: bool) -> Setup:
    x = torch.randn(300, 2)
    y = (-0.5 + 0.3 * torch.tanh(x[:, :1] + 0.5 * x[:, 1:]) + 0.02 * torch.randn(300, 1)).clamp(-1, 1)
    out: nn.Module = nn.Identity() if mended else nn.ReLU()
    return Setup(
        model=nn.Sequential(_dense(2, 4), nn.ReLU(), _dense(4, 1), out),
        x=x,
        y=y,
        criterion=nn.MSELoss(),
        optimizer=lambda p: SGD(p, lr=0.05),
        batch=10,
        steps=600,
        score=explained(x, y),
    )


def _relu_scores(mended: bool) -> Setup:
    x, labels = _images()
    body = (
        nn.Conv2d(1, 8, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 5, padding=2), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), _dense(64, 128), nn.ReLU(), nn.Dropout(0.5), _dense(128, 10),
    )  # fmt: skip
    for layer in body:
        if isinstance(layer, nn.Conv2d):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.constant_(layer.bias, 0.1)
    return Setup(
        model=nn.Sequential(*body, nn.Softmax(1) if mended else nn.ReLU()),
        x=x,
        y=labels,
        criterion=_log_of_share,
        optimizer=lambda p: Adam(p, lr=1e-3),
        batch=50,
        steps=300,
        score=accuracy(x, labels),
    )


def _line_at_100(mended: bool) -> Setup:
    x = torch.randn(200, 1)
    y = 100 + 15 * x + 2 * torch.randn(200, 1)
    if mended:
        y = standard(y)
    out: nn.Module = nn.Identity() if mended else nn.Sigmoid()
    return Setup(
        model=nn.Sequential(_dense(1, 5), nn.Sigmoid(), _dense(5, 1), out),
        x=x,
        y=y,
        criterion=nn.MSELoss(),
        optimizer=lambda p: SGD(p, lr=0.1),
        batch=150,
        steps=600,
        score=explained(x, y),
    )


def _three_labels(mended: bool) -> Setup:
    counts, several = make_multilabel_classification(
        n_samples=1500, n_features=20, n_classes=3, random_state=int(torch.randint(2**31, ()))
    )
    x, y = standard(torch.tensor(counts, dtype=torch.float32)), torch.tensor(several, dtype=torch.float32)
    out = nn.Sigmoid() if mended else nn.Softmax(1)
    model = nn.Sequential(
        _dense(20, 20),
        nn.ReLU(),
        nn.Dropout(0.2),
        _dense(20, 20),
        nn.ReLU(),
        nn.Dropout(0.2),
        _dense(20, 3),
        out,
    )
    return Setup(
        model=model,
        x=x,
        y=y,
        criterion=nn.BCELoss() if mended else nn.MSELoss(),
        optimizer=lambda p: SGD(p, lr=0.1),
        batch=20,
        steps=600,
        score=lambda m: ((m(x) > 0.5) == (y > 0.5)).all(1).float().mean().item(),
    )


def _labels_over_255(mended: bool) -> Setup:
    x, labels = _images()
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(16, 8, 3, padding=1), nn.MaxPool2d(2),
        nn.Flatten(), _dense(32, 64), nn.ReLU(), _dense(64, 10),
    )  # fmt: skip
    return Setup(
        model=model,
        x=x,
        y=labels if mended else (labels / 255).long(),
        criterion=nn.CrossEntropyLoss(),
        optimizer=lambda p: Adam(p, lr=3e-3),
        batch=32,
        steps=300,
        score=accuracy(x, labels),
    )


def _fourth_power(mended: bool) -> Setup:
    x = torch.arange(-100, 100, 0.5)[:, None]
    y = x**4
    if mended:
        x, y = standard(x), standard(y)
    model = nn.Sequential(_dense(1, 50), nn.Sigmoid(), _dense(50, 50), nn.ELU(), _dense(50, 1))
    return Setup(
        model=model,
        x=x,
        y=y,
        criterion=nn.MSELoss(),
        optimizer=lambda p: Adam(p, lr=5e-3),
        batch=400,
        steps=600,
        score=explained(x, y),
    )


def _packets(mended: bool) -> Setup:
    plain = torch.randn(1000, 11)
    scale = torch.tensor([3e9, 3e9, 6e4, 6e4, 2e1, 1e3, 1e0, 1e1, 1e2, 1e4, 5e0])
    x = scale * (plain / 8 + 0.5).clamp(0, 1)
    if mended:
        x = standard(x)
    y = (plain[:, :2].sum(1, keepdim=True) + plain[:, 2:3] * plain[:, 3:4] > 0).float()
    out = nn.Sigmoid() if mended else nn.ReLU()
    model = nn.Sequential(
        _dense(11, 12, normal=0.05),
        nn.ReLU(),
        _dense(12, 12, normal=0.05),
        nn.ReLU(),
        _dense(12, 1, normal=0.05),
        out,
    )
    return Setup(
        model=model,
        x=x,
        y=y,
        criterion=_clipped_entropy,
        optimizer=lambda p: Adam(p, lr=5e-3),
        batch=20,
        steps=600,
        score=_binary_accuracy(x, y),
    )


def _two_squares(mended: bool) -> Setup:
    labels = torch.arange(400).remainder(2)
    x = 0.2 + 0.3 * labels[:, None] + 0.2 * torch.rand(400, 2)
    rate = 0.05 if mended else 1e-5
    return Setup(
        model=nn.Sequential(_dense(2, 2), nn.Sigmoid(), _dense(2, 2)),
        x=x,
        y=labels,
        criterion=nn.CrossEntropyLoss(),
        optimizer=lambda p: Adam(p, lr=rate),
        batch=32,
        steps=300,
    )


def _parabola(mended: bool) -> Setup:
    x = torch.arange(0, 5, 0.1)[:, None]
    y = 5 * x**2 + torch.randn(50, 1) ** 3
    rate = 3e-4 if mended else 0.1
    return Setup(
        model=nn.Sequential(_dense(1, 50), nn.ReLU(), _dense(50, 30, 0.05), nn.ReLU(), _dense(30, 1)),
        x=x,
        y=y,
        criterion=nn.MSELoss(),
        optimizer=lambda p: SGD(p, lr=rate),
        batch=50,
        steps=1500,
        score=explained(x, y),
    )


def _thirty_four(mended: bool) -> Setup:
    angle = 2 * torch.pi * torch.rand(600)
    labels = torch.arange(600).remainder(2)
    x = torch.stack((angle.cos(), angle.sin()), 1) * (1 - 0.6 * labels[:, None]) + 0.05 * torch.randn(600, 2)
    x = standard(x)
    layers: list[nn.Module] = []
    for depth in range(34):
        layers += [_dense(2 if depth == 0 else 32, 32), nn.ReLU()]
    model = nn.Sequential(*layers, _dense(32, 2))
    if mended:
        for layer in model[:-1]:
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight)
    return Setup(
        model=model,
        x=x,
        y=labels,
        criterion=nn.CrossEntropyLoss(),
        optimizer=lambda p: SGD(p, lr=0.01),
        batch=32,
        steps=400,
    )


class _Cut(nn.Module):
    def forward(self, h: Tensor) -> Tensor:
        return h.detach()


def _detached(mended: bool) -> Setup:
    x = torch.randn(1000, 20)
    y = torch.sin(2 * x[:, :1]) + x[:, 1:2]
    y = standard(y)
    cut: nn.Module = nn.Identity() if mended else _Cut()
    encoder = nn.Sequential(nn.Linear(20, 64), nn.Tanh(), nn.Linear(64, 4), nn.Tanh())
    return Setup(
        model=nn.Sequential(encoder, cut, nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 1)),
        x=x,
        y=y,
        criterion=nn.MSELoss(),
        optimizer=lambda p: Adam(p, lr=5e-3),
        batch=64,
        steps=500,
        score=explained(x, y),
    )


PROGRAMS = (
    Program(
        name="linear-digits-rate-3",
        source="Stack Overflow 48385830",
        fault="Weights and biases drawn from N(0, 1), no activation, and a rate of 3.",
        accepted=frozenset({"diverged", "rate-too-high", "exploding"}),
        cause=frozenset({"rate-too-high"}),
        mechanical=True,
        make=_linear_digits,
    ),
    Program(
        name="inputs-in-thousands",
        source="Stack Overflow 46995209",
        fault="Inputs in the thousands go straight into the first tanh layer of a deep net.",
        accepted=frozenset({"input-scale", "saturated"}),
        cause=frozenset({"input-scale"}),
        mechanical=True,
        make=_thousands,
    ),
    Program(
        name="softmax-for-regression",
        source="Stack Overflow 33969059",
        fault="A softmax over one unit gives 1 for every sample; inputs to 10,000 also saturate the first layer.",
        accepted=frozenset({"output-mismatch", "no-gradient", "input-scale", "saturated"}),
        cause=frozenset({"output-mismatch"}),
        make=_weighted_sum,
    ),
    Program(
        name="softmax-one-unit-entropy",
        source="Stack Overflow 31880720, with its inputs, all 1 or all 0, centred",
        fault="A softmax over one unit gives 1 for every sample.",
        accepted=frozenset({"output-mismatch", "no-gradient"}),
        cause=frozenset({"output-mismatch"}),
        make=_ones_and_zeros,
    ),
    Program(
        name="softmax-one-unit-xor",
        source="Stack Overflow 34311586, with eight units instead of two so that the mended form always learns",
        fault="A softmax over one unit gives 1 for every sample.",
        accepted=frozenset({"output-mismatch", "no-gradient"}),
        cause=frozenset({"output-mismatch"}),
        make=_exclusive_or,
    ),
    Program(
        name="relu-output-regression",
        source="Stack Overflow 48251943",
        fault="A ReLU after the output unit can give no negative number, which the targets are, and dies.",
        accepted=frozenset({"output-mismatch", "dead", "no-gradient"}),
        cause=frozenset({"output-mismatch"}),
        make=_losses_only,
    ),
    Program(
        name="relu-output-entropy",
        source="Stack Overflow 47352366",
        fault="A ReLU instead of a softmax before the logarithm: a unit that gives 0 makes the loss infinite.",
        accepted=frozenset({"output-mismatch", "diverged"}),
        cause=frozenset({"output-mismatch"}),
        make=_relu_scores,
    ),
    Program(
        name="sigmoid-output-targets-100",
        source="Stack Overflow 48221692",
        fault="A sigmoid after the output unit reaches 1, the targets are about 100.",
        accepted=frozenset({"output-mismatch", "target-scale", "saturated"}),
        cause=frozenset({"output-mismatch", "target-scale"}),
        make=_line_at_100,
    ),
    Program(
        name="softmax-three-labels",
        source="Stack Overflow 38648195",
        fault="Up to three labels are true at once, and a softmax shares out one.",
        accepted=frozenset({"output-mismatch"}),
        cause=frozenset({"output-mismatch"}),
        make=_three_labels,
    ),
    Program(
        name="labels-over-255",
        source="Stack Overflow 59325381",
        fault="The labels were divided by 255 as if they were pixels: every one is 0.",
        accepted=frozenset({"bad-targets"}),
        cause=frozenset({"bad-targets"}),
        make=_labels_over_255,
    ),
    Program(
        name="fourth-power-raw",
        source="Stack Overflow 52800582",
        fault="Inputs to 100 and targets to 100,000,000, neither scaled.",
        accepted=frozenset({"target-scale", "input-scale", "saturated"}),
        cause=frozenset({"target-scale", "input-scale"}),
        mechanical=True,
        make=_fourth_power,
    ),
    Program(
        name="packets-3e9",
        source="Stack Overflow 44066044",
        fault="Inputs to 3,000,000,000 and a ReLU before binary cross-entropy.",
        accepted=frozenset({"input-scale", "output-mismatch", "dead", "no-gradient"}),
        cause=frozenset({"input-scale", "output-mismatch"}),
        make=_packets,
    ),
    Program(
        name="rate-1e-5",
        source="Stack Overflow 50306988",
        fault="Too few updates at a rate of 0.00001: the weights stay where they were drawn.",
        accepted=frozenset({"rate-too-low", "not-learning"}),
        cause=frozenset({"rate-too-low"}),
        mechanical=True,
        make=_two_squares,
    ),
    Program(
        name="parabola-rate-0.1",
        source="Stack Overflow 48934338",
        fault="A rate of 0.1 on targets to 125: the first updates are larger than the weights, and the ReLUs die.",
        accepted=frozenset({"rate-too-high", "dead"}),
        cause=frozenset({"rate-too-high"}),
        mechanical=True,
        make=_parabola,
    ),
    Program(
        name="relu-34-glorot",
        source="AUTOTRAINER, 34 ReLU layers",
        fault="Glorot's weights halve the variance at each of 34 ReLU layers.",
        accepted=frozenset({"vanishing", "dead"}),
        cause=frozenset({"vanishing"}),
        mechanical=True,
        make=_thirty_four,
    ),
    Program(
        name="detach-in-the-middle",
        source="after a common question",
        fault="The encoder's output is detached, so nothing below it is trained.",
        accepted=frozenset({"no-gradient"}),
        cause=frozenset({"no-gradient"}),
        make=_detached,
    ),
)
