"""A later set of trainings that work: criteria, data and forms of perceptrons, convolutions, graphs."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import prune
from torch.utils.checkpoint import checkpoint

from benchmarks.clinic.common import accuracy, centred, digits, explained, standard, update
from benchmarks.clinic.loop import batches
from benchmarks.clinic.program import Program, Setup
from benchmarks.clinic.programs.questions import adam, curves, mlp, needles, sgd


def _digits(rows: int = 1000) -> tuple[Tensor, Tensor]:
    pixels, labels = digits(rows)
    return centred(pixels), labels


def _taught(model: nn.Module, x: Tensor, y: Tensor, steps: int = 150) -> None:
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(steps):
        chosen = torch.randint(len(y), (128,))
        optimizer.zero_grad()
        F.cross_entropy(model(x[chosen]), y[chosen]).backward()
        optimizer.step()


# Data and criteria


def _mixup(mended: bool) -> Setup:
    x, y = _digits()
    model = mlp(64, 64, 64, 10)

    def loop(setup: Setup, recorder: Any) -> None:
        optimizer, rows = setup.optimizer(model.parameters()), batches(setup)
        for _ in range(setup.steps):
            one = next(rows)
            other = one[torch.randperm(len(one))]
            share = float(torch.distributions.Beta(0.4, 0.4).sample())
            found = model(share * x[one] + (1 - share) * x[other])
            loss = share * setup.criterion(found, y[one]) + (1 - share) * setup.criterion(found, y[other])
            update(recorder, optimizer, loss)

    return Setup(
        model=model, x=x, y=y, criterion=nn.CrossEntropyLoss(label_smoothing=0.1), optimizer=adam(2e-3), steps=300,
        loop=loop, score=accuracy(x, y),
    )  # fmt: skip


def _quantiles(mended: bool) -> Setup:
    x = 2 * torch.rand(1200, 1) - 1
    y = torch.sin(3 * x) + (0.1 + 0.4 * x.abs()) * torch.randn(1200, 1)
    levels = torch.tensor([0.1, 0.5, 0.9])

    def pinball(outputs: Tensor, targets: Tensor) -> Tensor:
        left = targets - outputs
        return torch.maximum(levels * left, (levels - 1) * left).mean()

    return Setup(model=mlp(1, 48, 48, 3), x=x, y=y, criterion=pinball, optimizer=adam(3e-3), steps=350)


def _ordinal(mended: bool) -> Setup:
    """Marks from 0 to 4 as four questions: is it more than 0, more than 1, and so on?"""
    x, height = curves()
    marks = torch.bucketize(height[:, 0], torch.tensor([-1.0, -0.3, 0.3, 1.0]))
    y = (marks[:, None] > torch.arange(4)).float()
    return Setup(
        model=mlp(6, 32, 32, 4), x=x, y=y, criterion=nn.BCEWithLogitsLoss(), optimizer=adam(3e-3), steps=350,
        score=lambda net: float(((net(x) > 0).sum(1) == marks).float().mean()),
    )  # fmt: skip


class Heard(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ear, self.head = nn.GRU(6, 32, batch_first=True, bidirectional=True), nn.Linear(64, 6)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(self.ear(x)[0]).log_softmax(2)
        return found


def _ctc(mended: bool) -> Setup:
    """Four letters somewhere in 16 steps; nobody says where."""
    letters = torch.randint(1, 6, (500, 4))
    x = 0.2 * torch.randn(500, 16, 6)
    starts = torch.tensor([1, 5, 9, 13]) + torch.randint(0, 2, (500, 4))
    for place in range(4):
        for late in range(2):
            x[torch.arange(500), starts[:, place] + late, letters[:, place]] += 1.5

    def criterion(outputs: Tensor, targets: Tensor) -> Tensor:
        lengths = torch.full((len(outputs),), 16)
        return F.ctc_loss(outputs.transpose(0, 1), targets, lengths, torch.full((len(outputs),), 4))

    return Setup(
        model=Heard(), x=x, y=letters, criterion=criterion, optimizer=adam(1e-2), steps=100, batch=32
    )


def _imbalanced(mended: bool) -> Setup:
    x = torch.randn(2000, 8)
    height = x[:, 0] + x[:, 1] * x[:, 2]
    y = (height > height.quantile(0.97)).float().unsqueeze(1)

    def balanced(net: nn.Module) -> float:
        called = net(x) > 0
        return float(called[y > 0.5].float().mean() - called[y < 0.5].float().mean())

    return Setup(
        model=mlp(8, 32, 32, 1), x=x, y=y, criterion=nn.BCEWithLogitsLoss(pos_weight=torch.tensor(30.0)), batch=64,
        optimizer=adam(2e-3), steps=350, score=balanced,
    )  # fmt: skip


def _noisy(mended: bool) -> Setup:
    x, truth = _digits()
    y = torch.where(torch.rand(len(truth)) < 0.4, torch.randint(10, (len(truth),)), truth)
    return Setup(
        model=mlp(64, 48, 10), x=x, y=y, criterion=nn.CrossEntropyLoss(), optimizer=adam(2e-3, weight_decay=1e-4),
        steps=250, score=accuracy(x, truth),
    )  # fmt: skip


def _mixture_density(mended: bool) -> Setup:
    """The inverse of a curve: up to three answers for one question."""
    y = torch.rand(1000)
    x = (y + 0.3 * torch.sin(6.28 * y) + 0.03 * torch.randn(1000)).unsqueeze(1)

    def criterion(outputs: Tensor, targets: Tensor) -> Tensor:
        logits, means, log_stds = outputs.chunk(3, 1)
        each = torch.distributions.Normal(means, log_stds.clamp(-5, 2).exp()).log_prob(targets[:, None])
        return -torch.logsumexp(each + logits.log_softmax(1), 1).mean()

    return Setup(
        model=mlp(1, 48, 15, activation=nn.Tanh), x=x, y=y, criterion=criterion, batch=64, steps=400,
        optimizer=adam(5e-3),
    )  # fmt: skip


class Residuals(nn.Module):
    """A function of time that starts at 1 with no speed, whatever the net says."""

    def __init__(self) -> None:
        super().__init__()
        self.net = mlp(1, 24, 24, 1, activation=nn.Tanh)

    def forward(self, time: Tensor) -> Tensor:
        found: Tensor = 1 + time**2 * self.net(time)
        return found


def _pinn(mended: bool) -> Setup:
    """u'' = -u from nothing but itself; the targets, the cosine, are for the score."""
    x = 3 * torch.rand(500, 1)

    def loop(setup: Setup, recorder: Any) -> None:
        optimizer, rows = setup.optimizer(setup.model.parameters()), batches(setup)
        for _ in range(setup.steps):
            time = x[next(rows)].requires_grad_()
            u = setup.model(time)
            (speed,) = torch.autograd.grad(u.sum(), time, create_graph=True)
            (force,) = torch.autograd.grad(speed.sum(), time, create_graph=True)
            update(recorder, optimizer, (force + u).square().mean())

    return Setup(
        model=Residuals(), x=x, y=x.cos(), criterion=nn.MSELoss(), optimizer=adam(5e-3), batch=64, steps=350,
        loop=loop,
    )  # fmt: skip


# Forms of layers


class Checkpointed(nn.Module):
    """Blocks whose inner values are not kept but calculated again in the backward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(64, 48), nn.Linear(48, 10)
        self.blocks = nn.ModuleList(nn.Sequential(nn.LayerNorm(48), mlp(48, 96, 48)) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x)
        for block in self.blocks:
            h = h + checkpoint(block, h, use_reentrant=False)
        found: Tensor = self.head(h)
        return found


def _checkpointed(mended: bool) -> Setup:
    x, y = _digits()
    return Setup(
        model=Checkpointed(), x=x, y=y, criterion=nn.CrossEntropyLoss(), optimizer=adam(1e-3), steps=200,
        score=accuracy(x, y),
    )  # fmt: skip


def _alpha_dropout(mended: bool) -> Setup:
    x, y = needles(features=30)
    layers: list[nn.Module] = []
    for before in (30, 48, 48, 48):
        layer = nn.Linear(before, 48)
        nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
        nn.init.zeros_(layer.bias)
        layers += [layer, nn.SELU(), nn.AlphaDropout(0.05)]
    return Setup(
        model=nn.Sequential(*layers, nn.Linear(48, 4)), x=x, y=y, criterion=nn.CrossEntropyLoss(), steps=300,
        optimizer=adam(1e-3), score=accuracy(x, y),
    )  # fmt: skip


class SwiGlu(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(width)
        self.gate, self.up = (
            nn.Linear(width, inner, bias=False),
            nn.Linear(width, inner, bias=False),
        )
        self.down = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


def _swiglu(mended: bool) -> Setup:
    x, y = curves()
    model = nn.Sequential(
        nn.Linear(6, 32), *[SwiGlu(32, 64) for _ in range(4)], nn.RMSNorm(32), nn.Linear(32, 1)
    )
    return Setup(
        model=model, x=x, y=y, criterion=nn.MSELoss(), steps=300, score=explained(x, y),
        optimizer=lambda p: torch.optim.AdamW(p, lr=2e-3, betas=(0.9, 0.95)),
    )  # fmt: skip


class Squeezed(nn.Module):
    """An inverted bottleneck: out, a convolution for each channel, a gate for each channel, in."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.out = nn.Sequential(
            nn.Conv2d(channels, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.Hardswish(),
            nn.Conv2d(inner, inner, 3, padding=1, groups=inner, bias=False), nn.BatchNorm2d(inner), nn.Hardswish(),
        )  # fmt: skip
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(inner, 8, 1),
            nn.ReLU(),
            nn.Conv2d(8, inner, 1),
            nn.Hardsigmoid(),
        )
        self.back = nn.Sequential(nn.Conv2d(inner, channels, 1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        h = self.out(x)
        return x + self.back(h * self.gate(h))


def _mobile(mended: bool) -> Setup:
    x, y = _digits()
    x = x.view(-1, 1, 8, 8)
    model = nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1), Squeezed(12, 36), nn.MaxPool2d(2), Squeezed(12, 36),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.2), nn.Linear(48, 10),
    )  # fmt: skip
    return Setup(
        model=model, x=x, y=y, criterion=nn.CrossEntropyLoss(), batch=32, steps=120, score=accuracy(x, y),
        optimizer=lambda p: torch.optim.RMSprop(p, lr=1e-3, momentum=0.9),
    )  # fmt: skip


class Highway(nn.Module):
    """Carries its input at first: the gate's bias is -2."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.change, self.gate = nn.Linear(width, width), nn.Linear(width, width)
        nn.init.constant_(self.gate.bias, -2.0)

    def forward(self, x: Tensor) -> Tensor:
        open_ = torch.sigmoid(self.gate(x))
        return open_ * torch.relu(self.change(x)) + (1 - open_) * x


def _highway(mended: bool) -> Setup:
    x, y = _digits()
    model = nn.Sequential(nn.Linear(64, 32), *[Highway(32) for _ in range(10)], nn.Linear(32, 10))
    return Setup(
        model=model,
        x=x,
        y=y,
        criterion=nn.CrossEntropyLoss(),
        optimizer=adam(2e-3),
        steps=250,
        score=accuracy(x, y),
    )


class Sine(nn.Module):
    def __init__(self, before: int, after: int, speed: float, first: bool = False) -> None:
        super().__init__()
        self.layer, self.speed = nn.Linear(before, after), speed
        edge = 1 / before if first else math.sqrt(6 / before) / speed
        nn.init.uniform_(self.layer.weight, -edge, edge)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(self.speed * self.layer(x))


def _siren(mended: bool) -> Setup:
    """A picture as a function of place."""
    x = torch.rand(1500, 2) * 2 - 1
    y = torch.sin(6 * x[:, :1]) * torch.cos(5 * x[:, 1:]) + 0.5 * (x.norm(dim=1, keepdim=True) < 0.5).float()
    model = nn.Sequential(Sine(2, 48, 10, first=True), Sine(48, 48, 10), Sine(48, 48, 10), nn.Linear(48, 1))
    return Setup(
        model=model, x=x, y=y, criterion=nn.MSELoss(), optimizer=adam(1e-3), batch=64, steps=300,
        score=explained(x, y),
    )  # fmt: skip


class _Sign(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        ctx.save_for_backward(z)
        return torch.where(z >= 0, 1.0, -1.0)

    @staticmethod
    def backward(ctx: Any, delta: Tensor) -> Tensor:
        (z,) = ctx.saved_tensors
        return delta * (z.abs() <= 1)


class Binary(nn.Module):
    """The sign, with the gradient of a clipped line."""

    def forward(self, z: Tensor) -> Tensor:
        found: Tensor = _Sign.apply(z)
        return found


def _straight_through(mended: bool) -> Setup:
    x, y = _digits()
    model = nn.Sequential(
        nn.Linear(64, 96), nn.BatchNorm1d(96), Binary(), nn.Linear(96, 96), nn.BatchNorm1d(96), Binary(),
        nn.Linear(96, 10),
    )  # fmt: skip
    return Setup(
        model=model,
        x=x,
        y=y,
        criterion=nn.CrossEntropyLoss(),
        optimizer=adam(3e-3),
        steps=250,
        score=accuracy(x, y),
    )


class Quantised(nn.Linear):
    """Weights of four bits in the forward pass, of 32 in the optimiser."""

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight.detach().abs().amax() / 7
        rounded = (self.weight / scale).round().clamp(-8, 7) * scale
        return F.linear(x, self.weight + (rounded - self.weight).detach(), self.bias)


def _quantised(mended: bool) -> Setup:
    x, y = _digits()
    model = nn.Sequential(Quantised(64, 64), nn.ReLU6(), Quantised(64, 64), nn.ReLU6(), Quantised(64, 10))
    return Setup(
        model=model,
        x=x,
        y=y,
        criterion=nn.CrossEntropyLoss(),
        optimizer=adam(2e-3),
        steps=250,
        score=accuracy(x, y),
    )


def _deep_linear(mended: bool) -> Setup:
    x = torch.randn(1000, 10)
    y = x @ torch.randn(10, 4) + 0.1 * torch.randn(1000, 4)
    layers = [nn.Linear(a, b, bias=False) for a, b in zip([10] + [24] * 7, [24] * 7 + [4], strict=True)]
    for layer in layers:
        nn.init.orthogonal_(layer.weight)
    return Setup(
        model=nn.Sequential(*layers), x=x, y=y, criterion=nn.MSELoss(), optimizer=sgd(0.01), steps=300,
        score=explained(x, y),
    )  # fmt: skip


def _tiny(mended: bool) -> Setup:
    """Exclusive or, eight units, every sample in every step."""
    x = torch.tensor([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])
    y = torch.tensor([[0.0], [1.0], [1.0], [0.0]])
    return Setup(
        model=mlp(2, 8, 1, activation=nn.Tanh), x=x, y=y, criterion=nn.BCEWithLogitsLoss(), batch=4, steps=300,
        optimizer=adam(0.03),
    )  # fmt: skip


def _pruned(mended: bool) -> Setup:
    """Three of four weights are 0 and stay so."""
    x, y = _digits()
    model = mlp(64, 96, 96, 10)
    _taught(model, x, y, steps=30)
    for layer in model:
        if isinstance(layer, nn.Linear):
            prune.l1_unstructured(layer, "weight", amount=0.75)
    return Setup(
        model=model, x=x, y=y, criterion=nn.CrossEntropyLoss(), optimizer=sgd(0.02, momentum=0.9), steps=250,
        score=lambda net: -float(F.cross_entropy(net(x), y)),
    )  # fmt: skip


def _half_dropped(mended: bool) -> Setup:
    x, y = _digits()
    model = nn.Sequential(
        nn.Dropout(0.2), nn.Linear(64, 256), nn.ReLU(), nn.Dropout(0.5), nn.Linear(256, 256), nn.ReLU(),
        nn.Dropout(0.5), nn.Linear(256, 10),
    )  # fmt: skip
    return Setup(
        model=model, x=x, y=y, criterion=nn.CrossEntropyLoss(), steps=300, score=accuracy(x, y),
        optimizer=sgd(0.02, momentum=0.9),
    )  # fmt: skip


class Graph(nn.Module):
    """Two rounds of asking the neighbours; given the features of every node."""

    def __init__(self, near: Tensor) -> None:
        super().__init__()
        self.near: Tensor
        self.register_buffer("near", near)
        self.first, self.second = nn.Linear(8, 24), nn.Linear(24, 3)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.near @ self.second(torch.relu(self.near @ self.first(x)))
        return found


def _graph(mended: bool) -> Setup:
    """Three groups of nodes; the labels of ten nodes of each are known."""
    kind = torch.arange(240).remainder(3)
    linked = torch.rand(240, 240) < torch.where(kind[:, None] == kind[None], 0.06, 0.008)
    linked = (linked | linked.T).float().fill_diagonal_(1)
    degree = linked.sum(1).rsqrt()
    x = 0.5 * F.one_hot(kind, 8).float() + torch.randn(240, 8)

    def criterion(outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs[:30], targets[:30])

    def loop(setup: Setup, recorder: Any) -> None:
        optimizer = setup.optimizer(setup.model.parameters())
        for _ in range(setup.steps):
            update(recorder, optimizer, criterion(setup.model(x), kind))

    return Setup(
        model=Graph(degree[:, None] * linked * degree), x=x, y=kind, criterion=criterion, batch=240, steps=200,
        loop=loop, optimizer=adam(1e-2, weight_decay=5e-4), score=accuracy(x, kind),
    )  # fmt: skip


def _new_head(mended: bool) -> Setup:
    """A net that tells ten digits, frozen, and a new head that tells even from odd ones."""
    x, y = _digits()
    body = mlp(64, 64, 32, 10)
    _taught(body, x, y, steps=300)
    features = copy.deepcopy(body[:-1]).requires_grad_(False)
    even = y % 2
    return Setup(
        model=nn.Sequential(features, nn.Linear(32, 2)), x=x, y=even, criterion=nn.CrossEntropyLoss(), steps=300,
        optimizer=adam(5e-3), score=accuracy(x, even),
    )  # fmt: skip


def _unlike(rate: float) -> Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]:
    """Each layer with a rate of its own, smaller further down, as in fine-tuning."""

    def make(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        given = list(parameters)
        groups = [{"params": [p], "lr": rate * 0.5 ** (len(given) - at)} for at, p in enumerate(given)]
        return torch.optim.AdamW(groups, lr=rate)

    return make


def _rates_by_layer(mended: bool) -> Setup:
    """A net that reads digits learns to read them upside down, its upper layers faster than its lower ones."""
    x, y = _digits()
    model = mlp(64, 64, 64, 10)
    _taught(model, x, y)
    turned = x.flip(1)
    return Setup(
        model=model, x=turned, y=y, criterion=nn.CrossEntropyLoss(), optimizer=_unlike(2e-2), steps=300,
        score=accuracy(turned, y),
    )  # fmt: skip


def _standard_normal_regression(mended: bool) -> Setup:
    """Targets of which most is noise: a tenth of the variance can be explained, and is."""
    x = torch.randn(1500, 5)
    y = standard(0.35 * torch.tanh(x[:, :1] + x[:, 1:2]) + torch.randn(1500, 1))
    return Setup(
        model=mlp(5, 16, 1), x=x, y=y, criterion=nn.MSELoss(), optimizer=adam(3e-3, weight_decay=1e-3), batch=128,
        steps=300, score=explained(x, y),
    )  # fmt: skip


PROGRAMS = tuple(
    Program(name=name, source=source, make=make)
    for name, source, make in (
        ("works-later-mixup", "mixup with smoothed labels", _mixup),
        ("works-later-quantiles", "quantile regression, pinball loss", _quantiles),
        ("works-later-ordinal", "ordinal regression by cumulative questions", _ordinal),
        ("works-later-ctc", "CTC on letters of unknown place", _ctc),
        ("works-later-imbalanced", "three positives in a hundred, pos_weight", _imbalanced),
        ("works-later-noisy-labels", "four labels in ten drawn at random", _noisy),
        ("works-later-mixture-density", "mixture density network", _mixture_density),
        ("works-later-pinn", "physics-informed net, second derivatives in the loss", _pinn),
        ("works-later-checkpointing", "gradient checkpointing", _checkpointed),
        ("works-later-alpha-dropout", "SELU with alpha dropout", _alpha_dropout),
        ("works-later-swiglu", "residual SwiGLU blocks behind RMSNorm", _swiglu),
        ("works-later-squeeze-excite", "inverted bottlenecks with squeeze and excitation, RMSprop", _mobile),
        ("works-later-highway", "highway net, gates closed at birth", _highway),
        ("works-later-siren", "sine activations (SIREN)", _siren),
        (
            "works-later-straight-through",
            "sign activations with a straight-through gradient",
            _straight_through,
        ),
        ("works-later-four-bits", "quantisation-aware training, weights of four bits", _quantised),
        ("works-later-deep-linear", "deep linear net, born orthogonal", _deep_linear),
        ("works-later-xor", "exclusive or, four samples", _tiny),
        ("works-later-pruned", "a pruned net trained on", _pruned),
        ("works-later-dropout-half", "dropout of a half, as in Srivastava et al.", _half_dropped),
        ("works-later-graph", "graph convolution with few labels", _graph),
        ("works-later-new-head", "a new head on a frozen, trained body", _new_head),
        ("works-later-rates-by-layer", "discriminative rates as in ULMFiT", _rates_by_layer),
        (
            "works-later-mostly-noise",
            "regression on targets that are mostly noise",
            _standard_normal_regression,
        ),
    )
)
