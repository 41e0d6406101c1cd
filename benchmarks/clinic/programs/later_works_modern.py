"""A later set of trainings that work: optimisers, averages, frozen parts, two players, sequences."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from benchmarks.clinic.common import accuracy, centred, digits, explained, standard, update
from benchmarks.clinic.loop import batches
from benchmarks.clinic.program import Program, Setup
from benchmarks.clinic.programs.questions import adam, mlp, needles


def _digits(rows: int = 1000) -> tuple[Tensor, Tensor]:
    pixels, labels = digits(rows)
    return centred(pixels), labels


# Optimisers and schedules


def _averaged(mended: bool) -> Setup:
    """A one-cycle rate that ends next to 0, a moving average of the weights beside the net."""
    x, y = _digits()
    model = mlp(64, 64, 64, 10)

    def loop(setup: Setup, recorder: Any) -> None:
        optimizer, rows = setup.optimizer(model.parameters()), batches(setup)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.2, total_steps=setup.steps)
        average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.98))
        for _ in range(setup.steps):
            chosen = next(rows)
            update(recorder, optimizer, setup.criterion(model(x[chosen]), y[chosen]))
            schedule.step()
            average.update_parameters(model)

    return Setup(
        model=model, x=x, y=y, criterion=nn.CrossEntropyLoss(), steps=300, loop=loop, score=accuracy(x, y),
        optimizer=lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9, nesterov=True),
    )  # fmt: skip


class Lion(Optimizer):
    """Moves each weight by the rate, in the direction of a sign (Chen et al. 2023)."""

    def __init__(self, parameters: Iterable[Tensor], lr: float) -> None:
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    mean = self.state[p].setdefault("mean", torch.zeros_like(p))
                    p.sub_(group["lr"] * (0.9 * mean + 0.1 * p.grad).sign())
                    mean.lerp_(p.grad, 0.01)


def _lion(mended: bool) -> Setup:
    x, y = needles(features=40)
    return Setup(
        model=mlp(40, 48, 48, 4, activation=nn.GELU), x=x, y=y, criterion=nn.CrossEntropyLoss(), steps=300,
        optimizer=lambda p: Lion(p, lr=5e-4), score=accuracy(x, y),
    )  # fmt: skip


class Muon(Optimizer):
    """Momentum whose singular values are made nearly 1 by five steps of Newton and Schulz (Jordan et al. 2024)."""

    def __init__(self, parameters: Iterable[Tensor], lr: float) -> None:
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                mean = self.state[p].setdefault("mean", torch.zeros_like(p)).mul_(0.95).add_(p.grad)
                if p.dim() == 1:
                    p.sub_(0.05 * group["lr"] * mean.sign())
                    continue
                turn = mean / (mean.norm() + 1e-7)
                for _ in range(5):
                    square = turn @ turn.T
                    turn = 3.4445 * turn + (-4.775 * square + 2.0315 * square @ square) @ turn
                p.sub_(group["lr"] * max(1.0, p.shape[0] / p.shape[1]) ** 0.5 * turn)


def _muon(mended: bool) -> Setup:
    x, y = _digits()
    return Setup(
        model=mlp(64, 64, 64, 10), x=x, y=y, criterion=nn.CrossEntropyLoss(), steps=250,
        optimizer=lambda p: Muon(p, lr=0.02), score=accuracy(x, y),
    )  # fmt: skip


def _large_batch(mended: bool) -> Setup:
    """Half of the rows in a step, a rate of 1 reached in 40 steps."""
    x, y = _digits()
    model = mlp(64, 64, 10)

    def loop(setup: Setup, recorder: Any) -> None:
        optimizer, rows = setup.optimizer(model.parameters()), batches(setup)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 0.01, total_iters=40)
        for _ in range(setup.steps):
            chosen = next(rows)
            update(recorder, optimizer, setup.criterion(model(x[chosen]), y[chosen]))
            schedule.step()

    return Setup(
        model=model, x=x, y=y, criterion=nn.CrossEntropyLoss(), batch=500, steps=200, loop=loop, score=accuracy(x, y),
        optimizer=lambda p: torch.optim.SGD(p, lr=1.0),
    )  # fmt: skip


def _in_bfloat16(mended: bool) -> Setup:
    x, y = _digits()
    model = nn.Sequential(
        nn.Linear(64, 64), nn.LayerNorm(64), nn.GELU(), nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 10)
    )

    def criterion(outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs.float(), targets)

    def loop(setup: Setup, recorder: Any) -> None:
        optimizer, rows = setup.optimizer(model.parameters()), batches(setup)
        for _ in range(setup.steps):
            chosen = next(rows)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                found = model(x[chosen])
            update(recorder, optimizer, criterion(found, y[chosen]))

    return Setup(
        model=model,
        x=x,
        y=y,
        criterion=criterion,
        optimizer=adam(2e-3),
        steps=200,
        loop=loop,
        score=accuracy(x, y),
    )


# Parts that are frozen, or seldom asked


class Reservoir(nn.Module):
    """A recurrent net that is drawn and kept, spectral radius 0.9; the answer is read from all of its states."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.RNN(1, 80, batch_first=True).requires_grad_(False)
        with torch.no_grad():
            weight = torch.randn(80, 80) / math.sqrt(80)
            self.rnn.weight_hh_l0.copy_(0.9 * weight / torch.linalg.eigvals(weight).abs().max())
            self.rnn.weight_ih_l0.uniform_(-0.5, 0.5)
        self.readout = nn.Linear(80, 1)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.readout(self.rnn(x)[0])
        return found


def _reservoir(mended: bool) -> Setup:
    """What the input was three steps ago, and its square now."""
    wave = 2 * torch.rand(300, 24, 1) - 1
    y = torch.zeros_like(wave)
    y[:, 3:] = wave[:, :-3] + 0.5 * wave[:, 3:]
    return Setup(
        model=Reservoir(), x=wave, y=y, criterion=nn.MSELoss(), optimizer=adam(1e-2), steps=300,
        score=lambda net: float(1 - (net(wave) - y).square().mean() / y.var()),
    )  # fmt: skip


class Tastes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.people, self.things = nn.Embedding(800, 8), nn.Embedding(600, 8)
        for part in (self.people, self.things):
            nn.init.normal_(part.weight, std=0.1)

    def forward(self, person: Tensor, liked: Tensor, other: Tensor) -> Tensor:
        gap = self.things(liked) - self.things(other)
        return (self.people(person) * gap).sum(1)


def _recommender(mended: bool) -> Setup:
    """Who likes this better than that? Most people and things are in no given batch."""
    person, one, two = torch.randint(800, (6000,)), torch.randint(600, (6000,)), torch.randint(600, (6000,))
    taste, kind = torch.randn(800, 3) + 1.0, torch.randn(600, 3)
    first = (taste[person] * (kind[one] - kind[two])).sum(1) > 0
    x = (person, torch.where(first, one, two), torch.where(first, two, one))

    def loop(setup: Setup, recorder: Any) -> None:
        optimizer = setup.optimizer(setup.model.parameters())
        for _ in range(setup.steps):
            rows = torch.randint(6000, (setup.batch,))
            gap = setup.model(*(each[rows] for each in x))
            update(recorder, optimizer, -F.logsigmoid(gap).mean())

    return Setup(
        model=Tastes(), x=x, y=None, criterion=None, batch=64, steps=400, loop=loop, optimizer=adam(1e-2),
        score=lambda net: float((net(*x) > 0).float().mean()),
    )  # fmt: skip


class Prompted(nn.Module):
    """A frozen encoder, before whose input a few vectors that are learned are put; a new head."""

    def __init__(self, body: nn.Module, words: nn.Embedding) -> None:
        super().__init__()
        self.body, self.words = body, words
        self.prompt = nn.Parameter(0.3 * torch.randn(4, 32))
        self.head = nn.Linear(32, 2)

    def forward(self, text: Tensor) -> Tensor:
        h = torch.cat([self.prompt.expand(len(text), -1, -1), self.words(text)], 1)
        found: Tensor = self.head(self.body(h)[:, 0])
        return found


def _prompt(mended: bool) -> Setup:
    """An encoder that has learned which kind of word is the most frequent is asked of another kind."""
    text = torch.randint(12, (1000, 8))
    counts = F.one_hot(text, 12).sum(1)
    words, body = nn.Embedding(12, 32), nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True)
    taught = nn.Sequential(words, body)
    head = nn.Linear(32, 12)
    optimizer = torch.optim.Adam([*taught.parameters(), *head.parameters()], lr=2e-3)
    for _ in range(150):
        chosen = torch.randint(1000, (64,))
        optimizer.zero_grad()
        F.mse_loss(head(taught(text[chosen]).mean(1)), counts[chosen].float()).backward()
        optimizer.step()
    taught.requires_grad_(False)
    y = (counts[:, :6].sum(1) > 3).long()
    return Setup(
        model=Prompted(body, words), x=text, y=y, criterion=nn.CrossEntropyLoss(), optimizer=adam(5e-3), steps=250,
        score=accuracy(text, y),
    )  # fmt: skip


class Alike(nn.Module):
    """SimSiam: what one view's guess has to do with the other view, through which no gradient goes."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(16, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 16))
        self.norm = nn.BatchNorm1d(16, affine=False)
        self.guess = nn.Sequential(nn.Linear(16, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 16))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.norm(self.encoder(x))
        return found


def _simsiam(mended: bool) -> Setup:
    kind = torch.randint(6, (900,))
    x = (1.2 * torch.randn(6, 16))[kind] + torch.randn(900, 16)

    def loop(setup: Setup, recorder: Any) -> None:
        model: Any = setup.model
        optimizer = setup.optimizer(model.parameters())
        for _ in range(setup.steps):
            chosen = torch.randint(900, (64,))
            one, two = (model(x[chosen] + 0.7 * torch.randn(64, 16)) for _ in range(2))
            loss = -F.cosine_similarity(model.guess(one), two.detach()).mean()
            loss = loss - F.cosine_similarity(model.guess(two), one.detach()).mean()
            update(recorder, optimizer, loss / 2)

    def agreement(net: nn.Module) -> float:
        """How near two views of one thing are, next to those of different things."""
        one, two = (F.normalize(net(x + 0.7 * torch.randn_like(x)), dim=1) for _ in range(2))
        return float((one * two).sum(1).mean() - (one @ two.T).mean())

    return Setup(
        model=Alike(), x=x, y=None, criterion=None, steps=300, loop=loop, score=agreement,
        optimizer=lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=1e-4),
    )  # fmt: skip


# Sequences and players


class Filled(nn.Module):
    """A small BERT; 0 is the mask."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(13, 32), nn.Parameter(0.1 * torch.randn(12, 32))
        layer = nn.TransformerEncoderLayer(
            32, 4, 64, dropout=0.1, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.norm, self.head = nn.LayerNorm(32), nn.Linear(32, 13)

    def forward(self, text: Tensor) -> Tensor:
        found: Tensor = self.head(self.norm(self.encoder(self.words(text) + self.places)))
        return found


def _masked_words(mended: bool) -> Setup:
    """Lines that count upwards from anywhere; one word in six is masked, and only those are scored."""
    line = 1 + (torch.randint(12, (800, 1)) + torch.arange(12)).remainder(12)
    hidden = torch.rand(800, 12) < 0.17
    x, y = line.masked_fill(hidden, 0), line.masked_fill(~hidden, -100)

    def criterion(outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs.flatten(0, 1), targets.flatten(), ignore_index=-100)

    return Setup(
        model=Filled(), x=x, y=y, criterion=criterion, steps=200,
        optimizer=lambda p: torch.optim.AdamW(p, lr=3e-3),
    )  # fmt: skip


class Chosen(nn.Module):
    """Attention whose keys and queries are normed, with ALiBi's slopes in place of places."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(10, 32)
        self.qkv, self.out = nn.Linear(32, 96, bias=False), nn.Linear(32, 32, bias=False)
        self.heat = nn.Parameter(torch.full((4, 1, 1), 5.0))
        self.norm, self.head = nn.LayerNorm(32), nn.Linear(32, 10)

    def forward(self, text: Tensor) -> Tensor:
        h = self.words(text)
        count, length, width = h.shape
        q, k, v = self.qkv(h).view(count, length, 3, 4, 8).permute(2, 0, 3, 1, 4)
        back = torch.arange(length)[:, None] - torch.arange(length)
        slopes = 2.0 ** -torch.arange(1, 5).view(4, 1, 1)
        scores = self.heat * F.normalize(q, dim=3) @ F.normalize(k, dim=3).transpose(2, 3) - slopes * back
        weights = scores.masked_fill(back < 0, -math.inf).softmax(3)
        h = h + self.out((weights @ v).transpose(1, 2).reshape(count, length, width))
        found: Tensor = self.head(self.norm(h))
        return found


def _normed_attention(mended: bool) -> Setup:
    text = torch.zeros(800, 14, dtype=torch.long)
    text[:, 0], text[:, 1] = torch.randint(10, (800,)), torch.randint(10, (800,))
    for at in range(2, 14):
        text[:, at] = (text[:, at - 1] + 3 * (torch.rand(800) < 0.2)).remainder(10)

    def criterion(outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs.flatten(0, 1), targets.flatten())

    return Setup(
        model=Chosen(), x=text[:, :-1], y=text[:, 1:], criterion=criterion, steps=250, optimizer=adam(3e-3)
    )


class Scan(nn.Module):
    """A linear recurrence with one memory for each channel, from two steps to hundreds (as in S4D and LRU)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.raw = nn.Parameter(torch.linspace(0.0, 5.0, width))
        self.into, self.out = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        keep = torch.sigmoid(self.raw)
        state, states = torch.zeros_like(x[:, 0]), []
        for now in self.into(x).unbind(1):
            state = keep * state + (1 - keep) * now
            states.append(state)
        found: Tensor = x + self.out(F.gelu(torch.stack(states, 1)))
        return found


class Scanned(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.scan, self.head = nn.Linear(2, 24), Scan(24), nn.Linear(24, 1)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(self.scan(self.stem(x))[:, -1])
        return found


def _state_space(mended: bool) -> Setup:
    x = torch.randn(600, 30, 2)
    y = standard(x[:, :, :1].mean(1) + 0.5 * x[:, -5:, 1:].mean(1))
    return Setup(
        model=Scanned(),
        x=x,
        y=y,
        criterion=nn.MSELoss(),
        optimizer=adam(5e-3),
        steps=200,
        score=explained(x, y),
    )


def _soft_target(mended: bool) -> Setup:
    """Q-learning on a line of ten squares, two nets, the target drawn after slowly, gradients of the worth clipped."""
    squares = torch.arange(10)
    seen = F.one_hot(squares, 10).float()
    after = torch.stack([(squares - 1).clamp(min=0), (squares + 1).clamp(max=9)], 1)
    gain = (after == 9).float()
    worth = torch.zeros(10, 2)
    for _ in range(200):
        worth = gain + 0.9 * (1 - gain) * worth.amax(1)[after]
    model = mlp(10, 32, 2)
    target = copy.deepcopy(model).requires_grad_(False)

    def loop(setup: Setup, recorder: Any) -> None:
        optimizer = setup.optimizer(model.parameters())
        for _ in range(setup.steps):
            at, move = torch.randint(10, (64,)), torch.randint(2, (64,))
            then, won = after[at, move], gain[at, move]
            best = model(seen[then]).argmax(1, keepdim=True)
            wanted = won + 0.9 * (1 - won) * target(seen[then]).gather(1, best)[:, 0].detach()
            said = model(seen[at]).gather(1, move[:, None])[:, 0]
            update(recorder, optimizer, F.huber_loss(said, wanted))
            with torch.no_grad():
                for slow, quick in zip(target.parameters(), model.parameters(), strict=True):
                    slow.lerp_(quick, 0.05)

    return Setup(
        model=model,
        x=seen,
        y=worth,
        criterion=nn.MSELoss(),
        batch=64,
        steps=400,
        loop=loop,
        optimizer=adam(5e-3),
    )


class Player(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.policy, self.worth = (
            mlp(4, 32, 32, activation=nn.Tanh),
            nn.Linear(32, 3),
            nn.Linear(32, 1),
        )
        nn.init.orthogonal_(self.policy.weight, gain=0.01)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.tanh(self.trunk(x))
        return self.policy(h), self.worth(h)[:, 0]


def _ppo(mended: bool) -> Setup:
    """A clipped policy gradient, four passes over each batch of what was tried, a bonus for doubt."""
    x = torch.randn(1500, 4)
    best = (x @ torch.randn(4, 3)).argmax(1)
    model = Player()

    def loop(setup: Setup, recorder: Any) -> None:
        optimizer = setup.optimizer(model.parameters())
        for _ in range(setup.steps // 4):
            rows = torch.randint(1500, (128,))
            with torch.no_grad():
                logits, worth = model(x[rows])
                old = torch.distributions.Categorical(logits=logits)
                move = old.sample()
                reward = (move == best[rows]).float() + 0.1 * torch.randn(128)
                gain = standard(reward - worth)
            for _ in range(4):
                logits, worth = model(x[rows])
                now = torch.distributions.Categorical(logits=logits)
                share = (now.log_prob(move) - old.log_prob(move)).exp()
                clipped = torch.minimum(share * gain, share.clamp(0.8, 1.2) * gain).mean()
                loss = -clipped + 0.5 * F.mse_loss(worth, reward) - 0.01 * now.entropy().mean()
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 0.5)
                recorder.step(loss=loss, optimizer=optimizer)
                optimizer.step()

    return Setup(
        model=model, x=x, y=None, criterion=None, steps=400, loop=loop, optimizer=adam(3e-3, eps=1e-5),
        score=lambda net: float((net(x)[0].argmax(1) == best).float().mean()),
    )  # fmt: skip


class Sparse(nn.Module):
    """A wide code of which most is off by a penalty; the decoder's columns have length 1."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(16, 64), nn.Linear(64, 16)
        with torch.no_grad():
            self.decoder.weight.copy_(F.normalize(self.decoder.weight, dim=0))
            self.encoder.weight.copy_(self.decoder.weight.T)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        code = torch.relu(self.encoder(x - self.decoder.bias))
        return self.decoder(code), code


def _sparse_codes(mended: bool) -> Setup:
    parts = F.normalize(torch.randn(32, 16), dim=1)
    x = ((torch.rand(1500, 32) < 0.08) * torch.rand(1500, 32)) @ parts

    def criterion(found: Any, targets: Tensor) -> Tensor:
        seen, code = found
        return (seen - targets).square().sum(1).mean() + 0.02 * code.sum(1).mean()

    def loop(setup: Setup, recorder: Any) -> None:
        model: Any = setup.model
        optimizer, rows = setup.optimizer(model.parameters()), batches(setup)
        for _ in range(setup.steps):
            chosen = next(rows)
            update(recorder, optimizer, criterion(model(x[chosen]), x[chosen]))
            with torch.no_grad():
                model.decoder.weight.copy_(F.normalize(model.decoder.weight, dim=0))

    return Setup(
        model=Sparse(), x=x, y=x, criterion=criterion, batch=64, steps=400, loop=loop, optimizer=adam(3e-3)
    )


class Wasserstein(nn.Module):
    """What the critic says of what the generator makes."""

    def __init__(self) -> None:
        super().__init__()
        self.generator, self.critic = mlp(4, 48, 48, 2), mlp(2, 48, 48, 1)

    def forward(self, noise: Tensor) -> Tensor:
        found: Tensor = self.critic(self.generator(noise))
        return found


def _critic_first(turns: int) -> Callable[[bool], Setup]:
    """A Wasserstein GAN with a penalty on the critic's slope; the critic has `turns` turns for each of the other's."""

    def make(mended: bool) -> Setup:
        real = 0.4 * torch.randn(1000, 2) + torch.tensor([1.5, 1.5]) * (2 * torch.randint(2, (1000, 1)) - 1)
        z = torch.randn(1000, 4)
        model = Wasserstein()
        generator, critic = model.generator, model.critic

        def loop(setup: Setup, recorder: Any) -> None:
            first = torch.optim.Adam(critic.parameters(), lr=2e-3, betas=(0.5, 0.9))
            second = torch.optim.Adam(generator.parameters(), lr=1e-3, betas=(0.5, 0.9))
            for step in range(setup.steps):
                rows = torch.randint(1000, (64,))
                if step % (turns + 1) < turns:
                    true, fake = real[rows], generator(torch.randn(64, 4)).detach()
                    way = torch.rand(64, 1)
                    between = (way * true + (1 - way) * fake).requires_grad_()
                    (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
                    loss = (
                        critic(fake).mean()
                        - critic(true).mean()
                        + 5 * (slope.norm(dim=1) - 1).square().mean()
                    )
                    update(recorder, first, loss)
                else:
                    update(recorder, second, -critic(generator(torch.randn(64, 4))).mean())

        def nearness(net: nn.Module) -> float:
            made = generator(z)
            between, own = torch.cdist(made, real).mean(), torch.cdist(made, made).mean()
            return -float(2 * between - own - torch.cdist(real, real).mean())

        return Setup(
            model=model,
            x=z,
            y=None,
            criterion=None,
            steps=500,
            loop=loop,
            optimizer=adam(1e-3),
            score=nearness,
        )

    return make


PROGRAMS = tuple(
    Program(name=name, source=source, make=make)
    for name, source, make in (
        ("works-later-one-cycle-ema", "one-cycle rate and a moving average of the weights", _averaged),
        ("works-later-lion", "Lion, an optimiser of signs", _lion),
        ("works-later-muon", "Muon, orthogonalised momentum", _muon),
        ("works-later-large-batch", "large batches with warm-up, as in Goyal et al.", _large_batch),
        ("works-later-bfloat16", "autocast to bfloat16", _in_bfloat16),
        ("works-later-reservoir", "echo state network, a frozen random reservoir", _reservoir),
        ("works-later-pairwise-ranking", "recommender with pairwise ranking (BPR)", _recommender),
        ("works-later-prompt", "prompt tuning on a frozen encoder", _prompt),
        ("works-later-simsiam", "SimSiam, a stopped gradient in one view", _simsiam),
        ("works-later-masked-words", "masked language model", _masked_words),
        ("works-later-normed-attention", "normed queries and keys, ALiBi", _normed_attention),
        ("works-later-state-space", "diagonal linear recurrence, as in S4D and LRU", _state_space),
        ("works-later-double-q", "double Q-learning, soft updates of the target", _soft_target),
        ("works-later-ppo", "PPO on a bandit with contexts", _ppo),
        ("works-later-sparse-codes", "sparse autoencoder, a wide code that is mostly off", _sparse_codes),
        ("works-later-wgan-gp", "Wasserstein GAN with gradient penalty", _critic_first(3)),
    )
)
