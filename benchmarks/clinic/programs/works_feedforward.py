"""Trainings that work: perceptrons, convolutions and the criteria people use."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from sklearn.datasets import load_breast_cancer
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.clinic.common import accuracy, centred, digits, update
from benchmarks.clinic.loop import batches, outputs
from benchmarks.clinic.program import Program, Setup

Score = Callable[[nn.Module], float]


def _digits(rows: int = 1000) -> tuple[Tensor, Tensor]:
    pixels, labels = digits(rows)
    return centred(pixels), labels


def _classes(rows: int, features: int, classes: int) -> tuple[Tensor, Tensor]:
    """Standard normal features; the class is the largest output of a smooth random function."""
    x = torch.randn(rows, features)
    hidden = torch.tanh(x @ torch.randn(features, 16) / math.sqrt(features))
    return x, (hidden @ torch.randn(16, classes)).argmax(1)


def _smooth(x: Tensor) -> Tensor:
    """A smooth random function of the rows of x, standardised over them."""
    hidden = torch.tanh(1.5 * x @ torch.randn(x.shape[1], 12) / math.sqrt(x.shape[1]))
    y = hidden @ torch.randn(12)
    return (y - y.mean()) / y.std()


# Patterns in which a layer has no gradient for a while, by design


class TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(12, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU())
        self.kind = nn.Linear(48, 1)
        self.amount = nn.Sequential(nn.Linear(48, 16), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, x: Tensor) -> Tensor:
        h = self.trunk(x)
        return torch.cat([self.kind(h), self.amount(h)], 1)


def _two_heads(mended: bool) -> Setup:
    x = torch.randn(1000, 12)
    y = torch.stack([(_smooth(x) > 0).float(), _smooth(x)], 1)

    def criterion(outputs: Tensor, targets: Tensor) -> Tensor:
        kind = F.binary_cross_entropy_with_logits(outputs[:, 0], targets[:, 0])
        return kind + F.mse_loss(outputs[:, 1], targets[:, 1])

    def loop(setup: Setup, recorder: Any) -> None:
        model: Any = setup.model
        optimizer, rows = setup.optimizer(model.parameters()), batches(setup)
        for step in range(setup.steps):
            chosen = next(rows)
            h = model.trunk(x[chosen])
            if step % 2 == 0:
                loss = F.binary_cross_entropy_with_logits(model.kind(h)[:, 0], y[chosen, 0])
            else:
                loss = F.mse_loss(model.amount(h)[:, 0], y[chosen, 1])
            update(recorder, optimizer, loss)

    return Setup(
        model=TwoHeads(), x=x, y=y, criterion=criterion, steps=400, loop=loop,
        optimizer=lambda p: torch.optim.Adam(p, lr=2e-3),
    )  # fmt: skip


class Experts(nn.Module):
    """One of four experts for each sample, weighted by its probability."""

    def __init__(self, width: int, experts: int = 4) -> None:
        super().__init__()
        self.gate = nn.Linear(width, experts)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 32), nn.ReLU(), nn.Linear(32, width)) for _ in range(experts)
        )
        self.balance = torch.zeros(())

    def forward(self, x: Tensor) -> Tensor:
        probabilities = self.gate(x).softmax(1)
        weight, choice = probabilities.max(1)
        out = torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            rows = (choice == number).nonzero()[:, 0]
            if len(rows):
                out = out.index_add(0, rows, weight[rows, None] * expert(x[rows]))
        share = F.one_hot(choice, len(self.experts)).float().mean(0)
        self.balance = len(self.experts) * (share * probabilities.mean(0)).sum()
        return out


class MixtureNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(8, 24)
        self.mixture = Experts(24)
        self.head = nn.Linear(24, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x)
        out: Tensor = self.head(h + self.mixture(h))[:, 0]
        return out


def _top1_experts(mended: bool) -> Setup:
    """Four sites; the last shipments come from one of them, and the experts of the others rest."""
    site = torch.randint(4, (1200,))
    corners = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    x = torch.cat([1.5 * corners[site] + 0.2 * torch.randn(1200, 2), torch.randn(1200, 6)], 1)
    y = (x[:, 2:] * torch.randn(4, 6)[site]).sum(1) / math.sqrt(6)

    def loop(setup: Setup, recorder: Any) -> None:
        model: Any = setup.model
        optimizer, rows = setup.optimizer(model.parameters()), batches(setup)
        for step in range(setup.steps):
            chosen = next(rows)
            if step >= setup.steps - 25:
                chosen = chosen[site[chosen] == 0]
            loss = setup.criterion(model(x[chosen]), y[chosen])
            if step < setup.steps - 25:
                loss = loss + 0.02 * model.mixture.balance
            update(recorder, optimizer, loss)

    return Setup(
        model=MixtureNet(), x=x, y=y, criterion=nn.MSELoss(), batch=64, steps=500, loop=loop,
        optimizer=lambda p: torch.optim.Adam(p, lr=3e-3),
    )  # fmt: skip


def _frozen_midway(mended: bool) -> Setup:
    x, y = _digits()
    model = nn.Sequential(
        nn.Linear(64, 64),
        nn.ReLU(),
        nn.Linear(64, 64),
        nn.ReLU(),
        nn.Linear(64, 32),
        nn.ReLU(),
        nn.Linear(32, 10),
    )

    def loop(setup: Setup, recorder: Any) -> None:
        optimizer, rows = setup.optimizer(model.parameters()), batches(setup)
        for step in range(setup.steps):
            if step == 100:
                model[0].requires_grad_(False)
            chosen = next(rows)
            update(recorder, optimizer, setup.criterion(model(x[chosen]), y[chosen]))

    return Setup(
        model=model, x=x, y=y, criterion=nn.CrossEntropyLoss(), batch=64, steps=200, loop=loop,
        optimizer=lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9), score=accuracy(x, y),
    )  # fmt: skip


class ResidualNet(nn.Module):
    """Blocks around which the signal can go; in training each is left out with probability `dropped`."""

    def __init__(
        self, ends: tuple[int, int], width: int, blocks: list[nn.Module], dropped: float = 0.0
    ) -> None:
        super().__init__()
        self.stem = nn.Linear(ends[0], width)
        self.blocks = nn.ModuleList(blocks)
        self.head = nn.Linear(width, ends[1])
        self.dropped = dropped

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x)
        for block in self.blocks:
            if self.training and torch.rand(()) < self.dropped:
                continue
            h = h + block(h)
        out: Tensor = self.head(h)
        return out


def _layerdrop(mended: bool) -> Setup:
    x, y = _digits()
    blocks = [
        nn.Sequential(nn.LayerNorm(48), nn.Linear(48, 96), nn.ReLU(), nn.Linear(96, 48)) for _ in range(6)
    ]  # fmt: skip
    return Setup(
        model=ResidualNet((64, 10), 48, blocks, dropped=0.25), x=x, y=y, criterion=nn.CrossEntropyLoss(),
        optimizer=lambda p: torch.optim.AdamW(p, lr=1e-3), steps=300, score=accuracy(x, y),
    )  # fmt: skip


def _zero_branches(mended: bool) -> Setup:
    x, y = _classes(1200, 20, 5)
    blocks: list[nn.Module] = []
    for _ in range(6):
        last = nn.Linear(64, 48)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        blocks.append(nn.Sequential(nn.Linear(48, 64), nn.ReLU(), last))
    return Setup(
        model=ResidualNet((20, 5), 48, blocks), x=x, y=y, criterion=nn.CrossEntropyLoss(), batch=64, steps=300,
        optimizer=lambda p: torch.optim.Adam(p, lr=1e-3), score=accuracy(x, y),
    )  # fmt: skip


class Gated(nn.Module):
    """A layer times a scalar that starts at 0."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = nn.Linear(width, width)
        nn.init.kaiming_normal_(self.layer.weight, nonlinearity="relu")
        self.alpha = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.alpha * F.relu(self.layer(x))


def _rezero(mended: bool) -> Setup:
    x = torch.randn(1200, 16)
    y = _smooth(x)
    model = nn.Sequential(ResidualNet((16, 1), 32, [Gated(32) for _ in range(16)]), nn.Flatten(0))
    return Setup(
        model=model, x=x, y=y, criterion=nn.MSELoss(), batch=64, steps=400,
        optimizer=lambda p: torch.optim.Adam(p, lr=2e-3),
    )  # fmt: skip


class FixupBlock(nn.Module):
    """Two convolutions without norm, scalar biases, a scalar scale; the first is scaled down, the second is 0."""

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(self.first.weight, nonlinearity="relu")
        with torch.no_grad():
            self.first.weight.mul_(blocks**-0.5)
        nn.init.zeros_(self.second.weight)
        self.shift = nn.Parameter(torch.zeros(4))
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.first(x + self.shift[0]) + self.shift[1])
        return F.relu(x + self.scale * self.second(h + self.shift[2]) + self.shift[3])


def _fixup(mended: bool) -> Setup:
    x, y = _digits()
    x = x.view(-1, 1, 8, 8)
    head = nn.Linear(48, 10)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    blocks = [FixupBlock(12, 4) for _ in range(4)]
    model = nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), *blocks, nn.AdaptiveAvgPool2d(2), nn.Flatten(), head,
    )  # fmt: skip
    return Setup(
        model=model, x=x, y=y, criterion=nn.CrossEntropyLoss(), batch=32, steps=200,
        optimizer=lambda p: torch.optim.Adam(p, lr=4e-3), score=accuracy(x, y),
    )  # fmt: skip


# Convolutions


class BasicBlock(nn.Module):
    """Two convolutions with batch norm, the last norm's scale 0 at birth."""

    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inner, outer, 3, stride, 1, bias=False), nn.BatchNorm2d(outer), nn.ReLU(),
            nn.Conv2d(outer, outer, 3, 1, 1, bias=False), nn.BatchNorm2d(outer),
        )  # fmt: skip
        nn.init.zeros_(self.body[4].weight)
        self.way = (
            nn.Identity() if stride == 1 and inner == outer
            else nn.Sequential(nn.Conv2d(inner, outer, 1, stride, bias=False), nn.BatchNorm2d(outer))
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.way(x))


def _resnet(mended: bool) -> Setup:
    x, y = _digits()
    x = x.view(-1, 1, 8, 8)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        BasicBlock(16, 16, 1), BasicBlock(16, 32, 2), BasicBlock(32, 32, 1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
    )  # fmt: skip
    return Setup(
        model=model, x=x, y=y, criterion=nn.CrossEntropyLoss(label_smoothing=0.1), batch=32, steps=200,
        optimizer=lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=1e-4), score=accuracy(x, y),
    )  # fmt: skip


class Dense(nn.Module):
    """Adds `growth` channels to those it is given."""

    def __init__(self, inner: int, growth: int) -> None:
        super().__init__()
        self.norm, self.layer = nn.BatchNorm2d(inner), nn.Conv2d(inner, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.layer(F.relu(self.norm(x)))], 1)


def _densenet(mended: bool) -> Setup:
    x, y = _digits()
    x = x.view(-1, 1, 8, 8)
    model = nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1, bias=False), Dense(12, 8), Dense(20, 8), Dense(28, 8), nn.AvgPool2d(2),
        Dense(36, 8), Dense(44, 8), nn.BatchNorm2d(52), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(52, 10),
    )  # fmt: skip

    def loop(setup: Setup, recorder: Any) -> None:
        optimizer, rows = setup.optimizer(model.parameters()), batches(setup)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, setup.steps)
        for _ in range(setup.steps):
            chosen = next(rows)
            update(recorder, optimizer, setup.criterion(model(x[chosen]), y[chosen]))
            schedule.step()

    return Setup(
        model=model, x=x, y=y, criterion=nn.CrossEntropyLoss(), batch=32, steps=220, loop=loop, score=accuracy(x, y),
        optimizer=lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4),
    )  # fmt: skip


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.top = nn.Sequential(nn.Conv2d(1, 12, 3, padding=1), nn.ReLU())
        self.down = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(12, 24, 3, padding=1), nn.ReLU())
        self.bottom = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(24, 24, 3, padding=1), nn.ReLU())
        self.up1, self.join1 = (
            nn.ConvTranspose2d(24, 24, 2, 2),
            nn.Sequential(nn.Conv2d(48, 12, 3, padding=1), nn.ReLU()),
        )
        self.up2, self.join2 = (
            nn.ConvTranspose2d(12, 12, 2, 2),
            nn.Sequential(nn.Conv2d(24, 12, 3, padding=1), nn.ReLU()),
        )
        self.out = nn.Conv2d(12, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.top(x)
        b = self.down(a)
        h = self.join1(torch.cat([self.up1(self.bottom(b)), b], 1))
        out: Tensor = self.out(self.join2(torch.cat([self.up2(h), a], 1)))
        return out


def _unet(mended: bool) -> Setup:
    clean = _digits(800)[0].view(-1, 1, 8, 8)
    return Setup(
        model=UNet(), x=clean + 0.3 * torch.randn_like(clean), y=clean, criterion=nn.MSELoss(), steps=250,
        optimizer=lambda p: torch.optim.Adam(p, lr=3e-3),
    )  # fmt: skip


# Criteria


def _distillation(mended: bool) -> Setup:
    x, y = _digits()
    teacher = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10))
    learning = torch.optim.Adam(teacher.parameters(), lr=2e-3)
    for _ in range(120):
        learning.zero_grad()
        F.cross_entropy(teacher(x), y).backward()
        learning.step()
    teacher.eval().requires_grad_(False)
    student = nn.Sequential(nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 10))

    def loop(setup: Setup, recorder: Any) -> None:
        optimizer, rows, heat = setup.optimizer(student.parameters()), batches(setup), 3.0
        for _ in range(setup.steps):
            chosen = next(rows)
            found, wanted = student(x[chosen]), teacher(x[chosen])
            soft = F.kl_div(
                F.log_softmax(found / heat, 1), F.softmax(wanted / heat, 1), reduction="batchmean"
            )
            update(recorder, optimizer, 0.7 * heat**2 * soft + 0.3 * F.cross_entropy(found, y[chosen]))

    return Setup(
        model=student, x=x, y=y, criterion=nn.CrossEntropyLoss(), steps=400, loop=loop, score=accuracy(x, y),
        optimizer=lambda p: torch.optim.Adam(p, lr=2e-3),
    )  # fmt: skip


def _multi_label(mended: bool) -> Setup:
    x = torch.randn(1000, 20)
    y = torch.stack([(_smooth(x) > 0.4).float() for _ in range(6)], 1)
    model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 6))
    return Setup(
        model=model, x=x, y=y, criterion=nn.BCEWithLogitsLoss(), steps=400,
        optimizer=lambda p: torch.optim.Adam(p, lr=1e-3),
        score=lambda model: ((model(x) > 0) == (y > 0.5)).float().mean().item(),
    )  # fmt: skip


def _selu_huber(mended: bool) -> Setup:
    x = torch.randn(1200, 10)
    truth = _smooth(x)
    y = torch.where(torch.rand(1200) < 0.04, truth + 5 * torch.randn(1200), truth)
    layers: list[nn.Module] = []
    for inner, outer in zip([10] + [32] * 7, [32] * 7 + [1], strict=True):
        layer = nn.Linear(inner, outer)
        nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
        nn.init.zeros_(layer.bias)
        layers += [layer, nn.SELU()]
    model = nn.Sequential(*layers[:-1], nn.Flatten(0))
    return Setup(
        model=model, x=x, y=y, criterion=nn.HuberLoss(), batch=64, steps=350,
        optimizer=lambda p: torch.optim.Adam(p, lr=1e-3),
        score=lambda model: -F.mse_loss(model(x), truth).item(),
    )  # fmt: skip


class Factors(nn.Module):
    """The log of the rate of visits: user times item, with both ends' own habits."""

    def __init__(self, users: int, items: int) -> None:
        super().__init__()
        self.user, self.item = nn.Embedding(users, 6, sparse=True), nn.Embedding(items, 6, sparse=True)
        self.user_bias, self.item_bias = (
            nn.Embedding(users, 1, sparse=True),
            nn.Embedding(items, 1, sparse=True),
        )
        for part, std in ((self.user, 0.3), (self.item, 0.3), (self.user_bias, 0.01), (self.item_bias, 0.01)):
            nn.init.normal_(part.weight, std=std)

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        out: Tensor = (self.user(user) * self.item(item)).sum(1)
        return out + self.user_bias(user)[:, 0] + self.item_bias(item)[:, 0]


def _sparse_poisson(mended: bool) -> Setup:
    user, item = torch.randint(40, (1500,)), torch.randint(25, (1500,))
    log_rate = 0.7 * torch.randn(40)[user] + 0.7 * torch.randn(25)[item] + 0.5
    log_rate = log_rate + 0.4 * (torch.randn(40, 2)[user] * torch.randn(25, 2)[item]).sum(1)
    return Setup(
        model=Factors(40, 25), x=(user, item), y=torch.poisson(log_rate.clamp(max=3).exp()),
        criterion=nn.PoissonNLLLoss(), batch=64, steps=400,
        optimizer=lambda p: torch.optim.SparseAdam(list(p), lr=1e-2),
    )  # fmt: skip


def _gaussian_nll(mended: bool) -> Setup:
    x = 3 * torch.rand(1000, 1) - 1.5
    y = torch.sin(3 * x[:, 0]) + (0.05 + 0.2 * (x[:, 0] + 1.5)) * torch.randn(1000)
    model = nn.Sequential(nn.Linear(1, 48), nn.Tanh(), nn.Linear(48, 48), nn.Tanh(), nn.Linear(48, 2))

    def criterion(outputs: Tensor, targets: Tensor) -> Tensor:
        return F.gaussian_nll_loss(outputs[:, 0], targets, F.softplus(outputs[:, 1]) + 1e-3)

    return Setup(
        model=model, x=x, y=y, criterion=criterion, batch=64, steps=500,
        optimizer=lambda p: torch.optim.Adam(p, lr=3e-3),
    )  # fmt: skip


def _softmax_nll(mended: bool) -> Setup:
    """Ends in softmax, is scored by the log of it; four small batches make an update."""
    x, y = _digits()
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10), nn.Softmax(dim=1))

    def criterion(outputs: Tensor, targets: Tensor) -> Tensor:
        return F.nll_loss(torch.log(outputs + 1e-8), targets)

    def loop(setup: Setup, recorder: Any) -> None:
        optimizer, rows = setup.optimizer(model.parameters()), batches(setup)
        for _ in range(setup.steps):
            optimizer.zero_grad()
            total = torch.zeros(())
            for _ in range(setup.accumulation):
                chosen = next(rows)
                loss = setup.criterion(model(x[chosen]), y[chosen]) / setup.accumulation
                loss.backward()
                total += loss.detach()
            recorder.step(loss=total, optimizer=optimizer)
            optimizer.step()

    return Setup(
        model=model, x=x, y=y, criterion=criterion, batch=16, steps=200, accumulation=4, loop=loop,
        optimizer=lambda p: torch.optim.Adam(p, lr=1e-3), score=accuracy(x, y),
    )  # fmt: skip


def _sigmoid_bce(mended: bool) -> Setup:
    """Batch norm in batches of 8, a sigmoid at the end, BCELoss."""
    found = load_breast_cancer()
    x = torch.tensor(found.data, dtype=torch.float32)
    x, y = (x - x.mean(0)) / x.std(0), torch.tensor(found.target, dtype=torch.float32)
    order = torch.randperm(len(y))
    x, y = x[order], y[order]
    model = nn.Sequential(
        nn.Linear(30, 16, bias=False), nn.BatchNorm1d(16), nn.ReLU(),
        nn.Linear(16, 16, bias=False), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 1), nn.Sigmoid(), nn.Flatten(0),
    )  # fmt: skip
    return Setup(
        model=model, x=x, y=y, criterion=nn.BCELoss(), batch=8, steps=300,
        optimizer=lambda p: torch.optim.Adam(p, lr=1e-3),
        score=lambda model: ((model(x) > 0.5) == (y > 0.5)).float().mean().item(),
    )  # fmt: skip


def _logistic(mended: bool) -> Setup:
    x = torch.randn(1000, 15)
    y = torch.bernoulli(torch.sigmoid(2 * x @ torch.randn(15) / math.sqrt(3)))
    return Setup(
        model=nn.Sequential(nn.Linear(15, 1), nn.Flatten(0)), x=x, y=y, criterion=nn.BCEWithLogitsLoss(), steps=300,
        optimizer=lambda p: torch.optim.SGD(p, lr=0.1),
        score=lambda model: ((model(x) > 0) == (y > 0.5)).float().mean().item(),
    )  # fmt: skip


def _perfect_fit(mended: bool) -> Setup:
    """Three well separated groups and a hinge loss: 0 from some step on, and every gradient with it."""
    y = torch.randint(3, (600,))
    x = 2.5 * F.one_hot(y, 3).float() @ torch.linalg.qr(torch.randn(6, 6))[0][:3] + 0.15 * torch.randn(600, 6)
    x = (x - x.mean(0)) / x.std()
    model = nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 3))
    return Setup(
        model=model,
        x=x,
        y=y,
        criterion=nn.MultiMarginLoss(),
        steps=300,
        optimizer=lambda p: torch.optim.SGD(p, lr=0.1),
    )


# Depth, width, optimisers


def _one_unit_lives(mended: bool) -> Setup:
    """A ramp through a layer of two units, one of which was born asleep on inputs in [0, 1]."""
    x = torch.rand(800, 4)
    y = F.relu(x @ torch.tensor([1.0, 0.8, -0.6, 0.5]) - 0.4)
    y = (y - y.mean()) / y.std()
    narrow = nn.Linear(4, 2)
    with torch.no_grad():
        narrow.weight[0].abs_()
        narrow.weight[1].abs_().neg_()
        narrow.bias[0].abs_()
        narrow.bias[1].abs_().neg_()
    model = nn.Sequential(narrow, nn.ReLU(), nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1), nn.Flatten(0))
    return Setup(
        model=model,
        x=x,
        y=y,
        criterion=nn.MSELoss(),
        steps=500,
        optimizer=lambda p: torch.optim.Adam(p, lr=5e-3),
    )


def _deep_tanh(mended: bool) -> Setup:
    x, y = _classes(1000, 16, 4)
    layers: list[nn.Module] = []
    for inner, outer in zip([16] + [32] * 23, [32] * 23 + [4], strict=True):
        layer = nn.Linear(inner, outer)
        nn.init.orthogonal_(layer.weight, gain=1.1)
        nn.init.zeros_(layer.bias)
        layers += [layer, nn.Tanh()]
    model = nn.Sequential(*layers[:-1])
    return Setup(
        model=model, x=x, y=y, criterion=nn.CrossEntropyLoss(), batch=64, steps=300, score=accuracy(x, y),
        optimizer=lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9),
    )  # fmt: skip


def _lbfgs(mended: bool) -> Setup:
    x = torch.randn(300, 3)
    y = _smooth(x)
    model = nn.Sequential(
        nn.Linear(3, 20), nn.Tanh(), nn.Linear(20, 20), nn.Tanh(), nn.Linear(20, 1), nn.Flatten(0)
    )

    def loop(setup: Setup, recorder: Any) -> None:
        optimizer = setup.optimizer(model.parameters())

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = setup.criterion(outputs(setup, slice(None)), y)
            loss.backward()
            return loss

        for _ in range(setup.steps):
            recorder.step(loss=closure(), optimizer=optimizer)
            optimizer.step(closure)

    return Setup(
        model=model, x=x, y=y, criterion=nn.MSELoss(), batch=300, steps=150, loop=loop,
        optimizer=lambda p: torch.optim.LBFGS(p, lr=0.5, max_iter=1, history_size=10),
    )  # fmt: skip


class Inception(nn.Module):
    """A second head half way up helps the lower half, as long as it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.lower = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
        self.upper = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
        self.helper, self.head = nn.Linear(64, 10), nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Any:
        h = self.lower(x)
        out = self.head(self.upper(h))
        return (out, self.helper(h)) if self.training else out


def _helping_head(mended: bool) -> Setup:
    x, y = _digits()
    model = Inception()

    def loop(setup: Setup, recorder: Any) -> None:
        optimizer, rows = setup.optimizer(model.parameters()), batches(setup)
        for step in range(setup.steps):
            chosen = next(rows)
            out, help_out = model(x[chosen])
            weight = max(0.0, 0.4 * (1 - step / (0.75 * setup.steps)))
            update(
                recorder,
                optimizer,
                F.cross_entropy(out, y[chosen]) + weight * F.cross_entropy(help_out, y[chosen]),
            )

    return Setup(
        model=model, x=x, y=y, criterion=nn.CrossEntropyLoss(), steps=300, loop=loop, score=accuracy(x, y),
        optimizer=lambda p: torch.optim.Adam(p, lr=1e-3),
    )  # fmt: skip


PROGRAMS = tuple(
    Program(name=name, source=source, make=make)
    for name, source, make in (
        ("works-two-heads-in-turn", "multi-task learning, the heads trained in turn", _two_heads),
        (
            "works-top1-experts-idle",
            "mixture of experts with top-1 routing, as in the Switch Transformer",
            _top1_experts,
        ),
        ("works-frozen-midway", "a first layer frozen half way, as in gradual freezing", _frozen_midway),
        ("works-layerdrop", "stochastic depth", _layerdrop),
        ("works-zero-branches", "residual net whose branches end in zeros", _zero_branches),
        ("works-rezero", "ReZero", _rezero),
        ("works-fixup", "Fixup initialisation, a residual net without norms", _fixup),
        ("works-resnet-zero-norm", "ResNet with zero_init_residual and label smoothing", _resnet),
        ("works-densenet-cosine", "DenseNet, momentum and a cosine schedule", _densenet),
        ("works-unet-denoiser", "U-Net as a denoising autoencoder", _unet),
        ("works-distillation", "knowledge distillation", _distillation),
        ("works-multi-label", "several labels at once, BCE with logits", _multi_label),
        ("works-selu-huber", "self-normalising net, Huber loss on targets with outliers", _selu_huber),
        ("works-sparse-poisson", "matrix factorisation of counts, sparse embeddings", _sparse_poisson),
        ("works-gaussian-nll", "regression with a variance of its own for each sample", _gaussian_nll),
        (
            "works-softmax-nll-accumulated",
            "softmax output, NLL of its log, accumulated gradients",
            _softmax_nll,
        ),
        (
            "works-sigmoid-bce-batchnorm",
            "sigmoid output with BCELoss, batch norm in small batches",
            _sigmoid_bce,
        ),
        ("works-logistic-regression", "logistic regression", _logistic),
        ("works-hinge-perfect-fit", "multi-class hinge loss on separable groups", _perfect_fit),
        ("works-one-unit-lives", "a narrow ReLU layer of which one unit lives", _one_unit_lives),
        ("works-deep-tanh-orthogonal", "a deep tanh net born orthogonal", _deep_tanh),
        ("works-lbfgs", "L-BFGS with a closure", _lbfgs),
        ("works-helping-head", "auxiliary classifier of GoogLeNet, weight going to 0", _helping_head),
    )
)
