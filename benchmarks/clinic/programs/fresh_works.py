"""A set written without knowledge of any rule: trainings that learn, though this or that about them looks ill."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import LambdaLR

from benchmarks.clinic.common import accuracy, digits, explained, standard, taught, update
from benchmarks.clinic.loop import batches
from benchmarks.clinic.program import Program, Setup
from benchmarks.clinic.programs.fresh_faults import adam, classed, fitted, net, waves


def few_rows(_: bool) -> Setup:
    x, y = digits(20)
    return classed(net(64, 128, 128, 10), x, y, adam(1e-3), batch=20, steps=150)


def noisy_labels(_: bool) -> Setup:
    x, y = digits(1500)
    told = torch.where(torch.rand(1500) < 0.4, torch.randint(10, (1500,)), y)
    return Setup(
        model=net(64, 48, 10), x=x, y=told, criterion=nn.CrossEntropyLoss(), optimizer=adam(2e-3),
        score=accuracy(x, y),
    )  # fmt: skip


def rare(_: bool) -> Setup:
    x = torch.randn(2000, 8)
    y = (x[:, 0] + x[:, 1] * x[:, 2] + 0.3 * torch.randn(2000) > 2.8).float().unsqueeze(1)
    found = y.squeeze(1) > 0

    def balanced(model: nn.Module) -> float:
        said = model(x).squeeze(1) > 0
        return 0.5 * float(said[found].float().mean() + (~said[~found]).float().mean())

    weight = (len(y) - y.sum()) / y.sum()
    return Setup(
        model=net(8, 32, 32, 1), x=x, y=y, criterion=nn.BCEWithLogitsLoss(pos_weight=weight), optimizer=adam(3e-3),
        batch=64, score=balanced,
    )  # fmt: skip


class Adapted(nn.Module):
    """A frozen layer and a product of low rank beside it, the second factor 0 at first."""

    def __init__(self, layer: nn.Linear, rank: int = 8) -> None:
        super().__init__()
        self.layer = layer.requires_grad_(False)
        self.down = nn.Parameter(torch.randn(rank, layer.in_features) / layer.in_features**0.5)
        self.up = nn.Parameter(torch.zeros(layer.out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.layer(x) + x @ self.down.T @ self.up.T
        return found


def adapters(_: bool) -> Setup:
    x, y = digits(1500)
    model = net(64, 48, 48, 10)
    taught(model, x, y)
    layers = [Adapted(layer) if isinstance(layer, nn.Linear) else layer for layer in model]
    return classed(nn.Sequential(*layers), x.view(-1, 8, 8).flip(2).flatten(1), y, adam(3e-3))


def warm_then_cosine(_: bool) -> Setup:
    x, y = digits(1500)

    def factor(step: int) -> float:
        return (step + 1) / 100 if step < 100 else 0.5 + 0.5 * math.cos(math.pi * (step - 100) / 200)

    def loop(setup: Setup, recorder: Any) -> None:
        optimizer, rows = setup.optimizer(setup.model.parameters()), batches(setup)
        schedule = LambdaLR(optimizer, factor)
        for _ in range(setup.steps):
            chosen = next(rows)
            update(recorder, optimizer, F.cross_entropy(setup.model(x[chosen]), y[chosen]))
            schedule.step()

    return classed(net(64, 64, 64, 10, between=nn.GELU), x, y, adam(4e-3), loop=loop)


def strong_decay(_: bool) -> Setup:
    x, y = digits(1500)
    return classed(net(64, 96, 96, 10), x, y, lambda p: torch.optim.AdamW(p, lr=3e-3, weight_decay=2.0))


def smoothed(_: bool) -> Setup:
    x, y = digits(1500)
    return Setup(
        model=net(64, 48, 48, 10), x=x, y=y, criterion=nn.CrossEntropyLoss(label_smoothing=0.4), optimizer=adam(2e-3),
        score=accuracy(x, y),
    )  # fmt: skip


def half_dropped(_: bool) -> Setup:
    x, y = digits(1500)
    model = nn.Sequential(
        nn.Dropout(0.2), nn.Linear(64, 256), nn.ReLU(), nn.Dropout(0.5), nn.Linear(256, 256), nn.ReLU(),
        nn.Dropout(0.5), nn.Linear(256, 10),
    )  # fmt: skip
    return classed(model, x, y, adam(1e-3))


class Bag(nn.Module):
    """The mean of a text's words, of which most are in no batch."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.EmbeddingBag(3000, 8, mode="mean", sparse=True)
        self.head = nn.Linear(8, 2)

    def forward(self, text: Tensor) -> Tensor:
        found: Tensor = self.head(self.words(text))
        return found


def sparse_words(_: bool) -> Setup:
    text = (3000 * torch.rand(1200, 12) ** 4).long()
    y = ((text % 2).sum(1) > 6).long()
    model = Bag()

    def loop(setup: Setup, recorder: Any) -> None:
        rows = batches(setup)
        words = torch.optim.SparseAdam(model.words.parameters(), lr=0.02)
        head = torch.optim.Adam(model.head.parameters(), lr=0.02)
        for _ in range(setup.steps):
            chosen = next(rows)
            words.zero_grad()
            head.zero_grad()
            loss = F.cross_entropy(model(text[chosen]), y[chosen])
            loss.backward()
            recorder.step(loss=loss, optimizer=head)
            words.step()
            head.step()

    return classed(model, text, y, adam(0.02), loop=loop, batch=64)


def distilled(_: bool) -> Setup:
    x, y = digits(1500)
    teacher = net(64, 96, 96, 10)
    taught(teacher, x, y)
    with torch.no_grad():
        told = (teacher(x) / 4).softmax(1)
    return Setup(
        model=net(64, 16, 10), x=x, y=told, optimizer=adam(5e-3), score=accuracy(x, y),
        criterion=lambda outputs, soft: 16 * F.kl_div((outputs / 4).log_softmax(1), soft, reduction="batchmean"),
    )  # fmt: skip


def penalised_critic(_: bool) -> Setup:
    real, other = torch.randn(1000, 2) * 0.5 + 2, torch.randn(1000, 2)

    def loop(setup: Setup, recorder: Any) -> None:
        optimizer, critic = setup.optimizer(setup.model.parameters()), setup.model
        for _ in range(setup.steps):
            a, b = real[torch.randint(1000, (64,))], other[torch.randint(1000, (64,))]
            share = torch.rand(64, 1)
            between = (share * a + (1 - share) * b).requires_grad_()
            (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
            penalty = 10 * (slope.norm(dim=1) - 1).square().mean()
            update(recorder, optimizer, critic(b).mean() - critic(a).mean() + penalty)

    return Setup(
        model=net(2, 32, 32, 1, between=nn.LeakyReLU), x=torch.cat([real[:500], other[:500]]), y=None, criterion=None,
        optimizer=lambda p: torch.optim.Adam(p, lr=2e-3, betas=(0.0, 0.9)), batch=64, steps=250, loop=loop,
        score=lambda critic: float(critic(real).mean() - critic(other).mean()),
    )  # fmt: skip


def counts_as_they_are(_: bool) -> Setup:
    x = torch.poisson(torch.tensor([2.0, 5.0, 12.0, 20.0, 1.0, 8.0]).expand(1200, 6))
    y = (x[:, 0] * 3 + x[:, 2] > x[:, 3]).long()
    return classed(net(6, 32, 32, 2), x, y, adam(2e-3))


class Step(nn.Module):
    """A residual block that adds nothing at first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inside, self.gain = net(width, width, width), nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = x + self.gain * self.inside(x)
        return found


def thirty_steps(_: bool) -> Setup:
    x, y = digits(1500)
    model = nn.Sequential(nn.Linear(64, 24), *[Step(24) for _ in range(30)], nn.Linear(24, 10))
    return classed(model, x, y, adam(2e-3), steps=120)


class Mixture(nn.Module):
    """Four experts, of which a gate takes the best for each sample."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.experts = nn.Linear(6, 4), nn.ModuleList([net(6, 16, 1) for _ in range(4)])

    def forward(self, x: Tensor) -> Tensor:
        share, which = self.gate(x).softmax(1).max(1, keepdim=True)
        every = torch.cat([expert(x) for expert in self.experts], 1)
        return share * every.gather(1, which)


def mixture(_: bool) -> Setup:
    x, y = waves()
    return fitted(Mixture(), x, y, adam(1e-2), batch=64)


class Recall(nn.Module):
    """One head of attention that finds the place marked in its own key."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = nn.Linear(8, 16), nn.Linear(8, 16), nn.Linear(8, 16)
        self.ask, self.head = nn.Parameter(torch.randn(1, 1, 8)), net(16, 32, 4)

    def forward(self, x: Tensor) -> Tensor:
        asked = self.query(self.ask.expand(len(x), 1, 8))
        taken = F.scaled_dot_product_attention(asked, self.key(x), self.value(x))
        found: Tensor = self.head(taken[:, 0])
        return found


def recalled(_: bool) -> Setup:
    x = torch.randn(1000, 10, 8)
    x[:, :, 0] = 0
    marked = torch.randint(10, (1000,))
    x[torch.arange(1000), marked, 0] = 4
    y = x[torch.arange(1000), marked, 1:5].argmax(1)
    return classed(Recall(), x, y, adam(1e-2))


class Graph(nn.Module):
    """Two layers of means over neighbours, on one graph that is given by the row numbers."""

    def __init__(self, features: Tensor, mean: Tensor) -> None:
        super().__init__()
        self.register_buffer("features", features)
        self.register_buffer("mean", mean)
        self.first, self.second = nn.Linear(16, 16), nn.Linear(16, 3)

    def forward(self, nodes: Tensor) -> Tensor:
        seen = torch.relu(self.mean @ self.first(self.features))
        found: Tensor = (self.mean @ self.second(seen))[nodes]
        return found


def graph(_: bool) -> Setup:
    y = torch.arange(300) % 3
    linked = torch.rand(300, 300) < torch.where(y[:, None] == y, 0.08, 0.01)
    linked = (linked | linked.T).float() + torch.eye(300)
    features = torch.randn(300, 16) + 0.7 * torch.randn(3, 16)[y]
    nodes, told = torch.arange(300), torch.randperm(300)[:60]
    return Setup(
        model=Graph(features, linked / linked.sum(1, keepdim=True)), x=told, y=y[told], criterion=nn.CrossEntropyLoss(),
        optimizer=adam(1e-2), batch=60, steps=150, score=accuracy(nodes, y),
    )  # fmt: skip


class Imagining(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = net(64, 48, 16), net(8, 48, 64)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_var = self.encoder(x).chunk(2, 1)
        z = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean) if self.training else mean
        return self.decoder(z), mean, log_var


def imagined(_: bool) -> Setup:
    x, _y = digits(1500)
    spread = (x - x.mean(0)).square().mean()

    def criterion(found: Any, pixels: Tensor) -> Tensor:
        seen, mean, log_var = found
        far = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(1).mean()
        return F.binary_cross_entropy_with_logits(seen, pixels, reduction="none").sum(1).mean() + 0.3 * far

    return Setup(
        model=Imagining(), x=x, y=x, criterion=criterion, optimizer=adam(3e-3), batch=64,
        score=lambda model: float(1 - (model(x)[0].sigmoid() - x).square().mean() / spread),
    )  # fmt: skip


class Views(nn.Module):
    """Points on a sphere, and how sharply they are compared."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.sharpness = net(64, 64, 16), nn.Parameter(torch.tensor(2.3))

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(self.body(x), dim=1)


def two_views(_: bool) -> Setup:
    x, _y = digits(1200)
    model = Views()

    def halved() -> tuple[Tensor, Tensor]:
        kept = torch.rand_like(x) < 0.5
        return x * kept, x * ~kept

    def loop(setup: Setup, recorder: Any) -> None:
        optimizer = setup.optimizer(model.parameters())
        for _ in range(setup.steps):
            one, two = halved()
            rows = torch.randperm(1200)[:128]
            alike = model.sharpness.exp() * model(one[rows]) @ model(two[rows]).T
            update(recorder, optimizer, F.cross_entropy(alike, torch.arange(128)))

    def found(net: nn.Module) -> float:
        one, two = halved()
        return float(((net(one[:200]) @ net(two[:200]).T).argmax(1) == torch.arange(200)).float().mean())

    return Setup(
        model=model, x=x, y=None, criterion=None, optimizer=adam(2e-3), batch=128, loop=loop, score=found
    )  # fmt: skip


def rewarded(_: bool) -> Setup:
    x = torch.randn(1000, 4)
    best = x.argmax(1)

    def loop(setup: Setup, recorder: Any) -> None:
        optimizer, usual = setup.optimizer(setup.model.parameters()), 0.25
        for _ in range(setup.steps):
            rows = torch.randint(1000, (64,))
            chances = torch.distributions.Categorical(logits=setup.model(x[rows]))
            action = chances.sample()
            reward = (action == best[rows]).float()
            usual = 0.9 * usual + 0.1 * reward.mean().item()
            loss = -(chances.log_prob(action) * (reward - usual)).mean() - 0.01 * chances.entropy().mean()
            update(recorder, optimizer, loss)

    return Setup(
        model=net(4, 32, 4, between=nn.Tanh), x=x, y=None, criterion=None, optimizer=adam(1e-2), batch=64, loop=loop,
        score=accuracy(x, best),
    )  # fmt: skip


def two_players(_: bool) -> Setup:
    noise, real = torch.randn(1000, 4), torch.randn(1000, 2) * 0.5 + torch.tensor([2.0, -1.0])
    judge = net(2, 32, 1, between=nn.Tanh)

    def loop(setup: Setup, recorder: Any) -> None:
        optimizer = setup.optimizer(setup.model.parameters())
        against = torch.optim.Adam(judge.parameters(), lr=5e-3, betas=(0.5, 0.9))
        for _ in range(setup.steps):
            rows = torch.randint(1000, (64,))
            made = setup.model(torch.randn(64, 4))
            against.zero_grad()
            (F.relu(1 - judge(real[rows])) + F.relu(1 + judge(made.detach()))).mean().backward()
            against.step()
            update(recorder, optimizer, -judge(made).mean())

    return Setup(
        model=net(4, 32, 2), x=noise, y=None, criterion=None, batch=64, steps=300, loop=loop,
        optimizer=lambda p: torch.optim.Adam(p, lr=2e-3, betas=(0.5, 0.9)),
        score=lambda model: -float((model(noise).mean(0) - real.mean(0)).norm()),
    )  # fmt: skip


def upper_tail(_: bool) -> Setup:
    x = torch.randn(1500, 4)
    y = x[:, :1] + torch.exp(0.5 * x[:, 1:2]) * torch.distributions.StudentT(3.0).sample((1500, 1))

    def pinball(outputs: Tensor, targets: Tensor) -> Tensor:
        left = targets - outputs
        return torch.maximum(0.9 * left, -0.1 * left).mean()

    return Setup(model=net(4, 32, 32, 1), x=x, y=y, criterion=pinball, optimizer=adam(3e-3), batch=64)


class Remembering(nn.Module):
    """An LSTM that begins by forgetting nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.cells, self.head = nn.LSTM(2, 24, batch_first=True), nn.Linear(24, 1)
        with torch.no_grad():
            self.cells.bias_hh_l0[24:48] = 2.0

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(self.cells(x)[0][:, -1])
        return found


def clipped_always(_: bool) -> Setup:
    x = torch.randn(800, 20, 2)
    y = standard((x[:, :, :1] * (x[:, :, 1:] > 0.5)).sum(1))

    def loop(setup: Setup, recorder: Any) -> None:
        optimizer, rows = setup.optimizer(setup.model.parameters()), batches(setup)
        for _ in range(setup.steps):
            chosen = next(rows)
            optimizer.zero_grad()
            loss = F.mse_loss(setup.model(x[chosen]), y[chosen])
            loss.backward()
            nn.utils.clip_grad_norm_(setup.model.parameters(), 0.1)
            recorder.step(loss=loss, optimizer=optimizer)
            optimizer.step()

    return fitted(Remembering(), x, y, adam(1e-2), loop=loop, steps=250)


class Sine(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(15 * x)


def image_of_sines(_: bool) -> Setup:
    side = torch.linspace(-1, 1, 32)
    x = torch.cartesian_prod(side, side)
    y = standard(
        (torch.sin(6 * x[:, :1]) * torch.cos(9 * x[:, 1:]) + (x.norm(dim=1, keepdim=True) < 0.5)).float()
    )
    model = net(2, 48, 48, 1, between=Sine)
    with torch.no_grad():
        model[0].weight.uniform_(-0.5, 0.5)
        model[2].weight.uniform_(-math.sqrt(6 / 48) / 15, math.sqrt(6 / 48) / 15)
    return fitted(model, x, y, adam(1e-3), batch=256)


class Coded(nn.Module):
    """An autoencoder by way of the nearest of 32 codes, twice; the gradient passes the choice by."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = net(64, 48, 8), net(8, 48, 64)
        self.codes = nn.Parameter(0.3 * torch.randn(32, 4))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = self.encoder(x).view(-1, 2, 4)
        nearest = self.codes[(z[:, :, None] - self.codes).square().sum(3).argmin(2)]
        kept = (nearest - z.detach()).square().mean() + 0.25 * (nearest.detach() - z).square().mean()
        return self.decoder((z + (nearest - z).detach()).flatten(1)), kept


def coded(_: bool) -> Setup:
    x, _y = digits(1500)
    spread = (x - x.mean(0)).square().mean()
    return Setup(
        model=Coded(), x=x, y=x, optimizer=adam(3e-3), batch=64,
        criterion=lambda found, pixels: F.mse_loss(found[0], pixels) + found[1],
        score=lambda model: float(1 - (model(x)[0] - x).square().mean() / spread),
    )  # fmt: skip


def of_an_equation(_: bool) -> Setup:
    t = torch.linspace(0, 3, 200).unsqueeze(1)
    model = net(1, 24, 24, 1, between=nn.Tanh)

    def loop(setup: Setup, recorder: Any) -> None:
        optimizer = setup.optimizer(model.parameters())
        for _ in range(setup.steps):
            when = (3 * torch.rand(64, 1)).requires_grad_()
            (slope,) = torch.autograd.grad(model(when).sum(), when, create_graph=True)
            begins = (model(torch.zeros(1, 1)) - 1).square().mean()
            update(recorder, optimizer, (slope + model(when)).square().mean() + 5 * begins)

    return Setup(
        model=model, x=t, y=None, criterion=None, optimizer=adam(5e-3), batch=64, loop=loop,
        score=explained(t, torch.exp(-t)),
    )  # fmt: skip


def rates_by_layer(_: bool) -> Setup:
    x, y = digits(1500)
    model = net(64, 48, 48, 10)
    taught(model, x, y)
    model[-1] = nn.Linear(48, 5)

    def loop(setup: Setup, recorder: Any) -> None:
        groups = [
            {"params": model[:-1].parameters(), "lr": 1e-5},
            {"params": model[-1].parameters(), "lr": 1e-2},
        ]
        optimizer, rows = torch.optim.AdamW(groups), batches(setup)
        for _ in range(setup.steps):
            chosen = next(rows)
            update(recorder, optimizer, F.cross_entropy(model(x[chosen]), y[chosen] // 2))

    return classed(model, x, y // 2, adam(1e-2), loop=loop, steps=200)


def _works(name: str, source: str, make: Callable[[bool], Setup]) -> Program:
    return Program(name=f"works-fresh-{name}", source=source, make=make)


PROGRAMS = (
    _works("few-rows", "the common first check: can it learn twenty rows by heart", few_rows),
    _works("noisy-labels", "Rolnick et al. 2017; four of ten labels are drawn at random", noisy_labels),
    _works(
        "rare-positives", "pos_weight as PyTorch's page of BCEWithLogitsLoss gives it; few in a hundred", rare
    ),
    _works("adapters", "Hu et al. 2021 (LoRA): frozen weights, a factor that begins at 0", adapters),
    _works(
        "warm-then-cosine",
        "Loshchilov and Hutter 2016; a third of the steps warm up, the last is at 0",
        warm_then_cosine,
    ),
    _works(
        "strong-decay",
        "Loshchilov and Hutter 2019; tflearn issue 772 (very large decay that helps)",
        strong_decay,
    ),
    _works("smoothed", "Szegedy et al. 2016, label smoothing, here 0.4", smoothed),
    _works("half-dropped", "Srivastava et al. 2014, the shares of the paper", half_dropped),
    _works("sparse-words", "torch.optim.SparseAdam on words that are rare", sparse_words),
    _works("distilled", "Hinton et al. 2015, at temperature 4", distilled),
    _works("penalised-critic", "Gulrajani et al. 2017, the critic", penalised_critic),
    _works("counts-as-they-are", "a table of small counts that nobody standardised", counts_as_they_are),
    _works("thirty-steps", "Bachlechner et al. 2020 (ReZero), thirty blocks", thirty_steps),
    _works("mixture", "Fedus et al. 2021 (Switch), one expert a sample", mixture),
    _works("recalled", "attention that has to look at one place of ten", recalled),
    _works("graph", "Kipf and Welling 2016, sixty labels of three hundred nodes", graph),
    _works("imagined", "Higgins et al. 2017, with a weight of 0.3", imagined),
    _works("two-views", "Radford et al. 2021, the loss and its learned sharpness", two_views),
    _works("rewarded", "Williams 1992, with a running baseline and an entropy term", rewarded),
    _works("two-players", "Lim and Ye 2017 (hinge loss), the generator", two_players),
    _works("upper-tail", "Koenker and Bassett 1978, the ninth decile of heavy tails", upper_tail),
    _works(
        "clipped-always", "Jozefowicz et al. 2015 (forget bias), with clipping at each step", clipped_always
    ),
    _works("image-of-sines", "Sitzmann et al. 2020 (SIREN)", image_of_sines),
    _works("coded", "van den Oord et al. 2017 (VQ-VAE)", coded),
    _works("of-an-equation", "Raissi et al. 2019, x' = -x", of_an_equation),
    _works("rates-by-layer", "Howard and Ruder 2018: 0.00001 below, 0.01 at the head", rates_by_layer),
)
