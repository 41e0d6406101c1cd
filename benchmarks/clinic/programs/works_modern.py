"""Trainings that work: attention, recurrence, generative models, representations, reinforcement learning."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from benchmarks.clinic.common import accuracy, centred, digits, taught, update
from benchmarks.clinic.loop import batches, outputs
from benchmarks.clinic.program import Program, Setup

Score = Callable[[nn.Module], float]
Loop = Callable[[Setup, Any], None]


def _digits(rows: int = 1000) -> tuple[Tensor, Tensor]:
    pixels, labels = digits(rows)
    return centred(pixels), labels


def _careful(warm_up: int = 0, clip: float = math.inf, cosine: bool = False) -> Loop:
    """The plain loop with a linear warm-up, clipped gradients, a rate that ends in 0."""

    def loop(setup: Setup, recorder: Any) -> None:
        parameters = [p for p in setup.model.parameters() if p.requires_grad]
        optimizer, rows = setup.optimizer(parameters), batches(setup)

        def factor(step: int) -> float:
            if step < warm_up:
                return (step + 1) / warm_up
            done = (step - warm_up) / (setup.steps - warm_up)
            return 0.5 + 0.5 * math.cos(math.pi * done) if cosine else 1.0

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        for _ in range(setup.steps):
            chosen = next(rows)
            optimizer.zero_grad()
            loss = setup.criterion(outputs(setup, chosen), setup.y[chosen])
            loss.backward()
            recorder.step(loss=loss, optimizer=optimizer)
            nn.utils.clip_grad_norm_(parameters, clip)
            optimizer.step()
            schedule.step()

    return loop


# Attention


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, causal: bool = False) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.heads, self.causal = heads, causal

    def forward(self, x: Tensor) -> Tensor:
        count, length, width = x.shape
        q, k, v = self.qkv(x).view(count, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        found = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        out: Tensor = self.out(found.transpose(1, 2).reshape(count, length, width))
        return out


class QuickGelu(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class NewGelu(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


class SquaredRelu(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x) ** 2


class Block(nn.Module):
    """Attention and a perceptron behind norms; `scale` is the LayerScale at birth, none when None."""

    def __init__(
        self, width: int, heads: int, between: nn.Module, causal: bool, scale: float | None = None
    ) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads, causal)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), between, nn.Linear(4 * width, width))
        self.scale1 = nn.Parameter(torch.full((width,), scale)) if scale is not None else None
        self.scale2 = nn.Parameter(torch.full((width,), scale)) if scale is not None else None

    def forward(self, x: Tensor) -> Tensor:
        found = self.attention(self.norm1(x))
        x = x + (found if self.scale1 is None else self.scale1 * found)
        found = self.mlp(self.norm2(x))
        return x + (found if self.scale2 is None else self.scale2 * found)


class Vit(nn.Module):
    """Patches of 2 by 2 pixels, a class token; every branch ends in a layer of zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 32, 2, 2)
        self.token = nn.Parameter(0.02 * torch.randn(1, 1, 32))
        self.places = nn.Parameter(0.02 * torch.randn(1, 17, 32))
        self.blocks = nn.Sequential(*[Block(32, 4, QuickGelu(), causal=False) for _ in range(2)])
        for block in self.blocks:
            for last in (block.attention.out, block.mlp[2]):
                nn.init.zeros_(last.weight)
                nn.init.zeros_(last.bias)
        self.norm, self.head = nn.LayerNorm(32), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        h = self.patches(x).flatten(2).transpose(1, 2)
        h = torch.cat([self.token.expand(len(h), -1, -1), h], 1) + self.places
        out: Tensor = self.head(self.norm(self.blocks(h))[:, 0])
        return out


def _vit(mended: bool) -> Setup:
    x, y = _digits()
    x = x.view(-1, 1, 8, 8)
    return Setup(
        model=Vit(), x=x, y=y, criterion=nn.CrossEntropyLoss(), batch=32, steps=300,
        loop=_careful(20, clip=1.0, cosine=True), optimizer=lambda p: torch.optim.AdamW(p, lr=3e-3),
        score=accuracy(x, y),
    )  # fmt: skip


def _sentences(rows: int, length: int, words: int = 16) -> Tensor:
    """A Markov chain in which each word has three successors; [row, length + 1]."""
    after = torch.stack([torch.randperm(words)[:3] for _ in range(words)])
    text = [torch.randint(words, (rows,))]
    for _ in range(length):
        which = torch.multinomial(torch.tensor([0.75, 0.2, 0.05]), rows, replacement=True)
        text.append(after[text[-1], which])
    return torch.stack(text, 1)


def _next_word(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs.flatten(0, 1), targets.flatten())


class Gpt(nn.Module):
    """GPT-2's form: GELU by its own formula, weights of std 0.02 (smaller into the stream), tied embeddings."""

    def __init__(self, words: int, length: int, width: int = 48, depth: int = 2) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(words, width), nn.Embedding(length, width)
        self.blocks = nn.Sequential(*[Block(width, 4, NewGelu(), causal=True) for _ in range(depth)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, words, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                into = name.endswith(("attention.out.weight", "mlp.2.weight"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * depth) if into else 0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)
        self.head.weight = self.words.weight

    def forward(self, text: Tensor) -> Tensor:
        h = self.words(text) + self.places(torch.arange(text.shape[1]))
        out: Tensor = self.head(self.norm(self.blocks(h)))
        return out


def _gpt(mended: bool) -> Setup:
    text = _sentences(512, 24)
    return Setup(
        model=Gpt(16, 24), x=text[:, :-1], y=text[:, 1:], criterion=_next_word, batch=16, steps=200,
        loop=_careful(20, clip=1.0, cosine=True),
        optimizer=lambda p: torch.optim.AdamW(p, lr=3e-3, betas=(0.9, 0.95), weight_decay=0.1),
    )  # fmt: skip


class Decoder(nn.Module):
    """Squared ReLU as in Primer, LayerScale of 0.1, an output layer of its own."""

    def __init__(self, words: int, length: int, width: int = 32) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(words, width), nn.Parameter(0.1 * torch.randn(length, width))
        self.blocks = nn.Sequential(
            *[Block(width, 4, SquaredRelu(), causal=True, scale=0.1) for _ in range(2)]
        )
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, words)

    def forward(self, text: Tensor) -> Tensor:
        out: Tensor = self.head(self.norm(self.blocks(self.words(text) + self.places)))
        return out


def _squared_relu(mended: bool) -> Setup:
    """To say the first half of a line again: attention is needed."""
    half = torch.randint(1, 9, (1000, 4))
    start = torch.zeros(1000, 1, dtype=torch.long)
    text = torch.cat([half, start, half], 1)

    def criterion(outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs[:, 4:].flatten(0, 1), targets[:, 4:].flatten())

    return Setup(
        model=Decoder(9, 8), x=text[:, :-1], y=text[:, 1:], criterion=criterion, batch=64, steps=250,
        optimizer=lambda p: torch.optim.AdamW(p, lr=4e-3), loop=_careful(20, clip=1.0),
    )  # fmt: skip


class Tagger(nn.Module):
    """Torch's own encoder, norms behind the sums as in the first Transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(12, 32), nn.Parameter(0.1 * torch.randn(10, 32))
        layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(32, 2)

    def forward(self, text: Tensor) -> Tensor:
        out: Tensor = self.head(self.encoder(self.words(text) + self.places).mean(1))
        return out


def _post_norm(mended: bool) -> Setup:
    """Are there more words of the first half of the dictionary than of the second?"""
    text = torch.randint(12, (1000, 10))
    y = ((text < 6).float().mean(1) + 0.01 * torch.randn(1000) > 0.5).long()
    return Setup(
        model=Tagger(), x=text, y=y, criterion=nn.CrossEntropyLoss(), steps=250, score=accuracy(text, y),
        optimizer=lambda p: torch.optim.Adam(p, lr=2e-3, betas=(0.9, 0.98)), loop=_careful(60),
    )  # fmt: skip


# Frozen bases


class LoraLinear(nn.Module):
    """A frozen layer and a product of two thin ones beside it, of which the second starts at 0."""

    def __init__(self, base: nn.Linear, rank: int = 4, alpha: float = 8.0) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.a = nn.Parameter(torch.empty(rank, base.in_features))
        self.b = nn.Parameter(torch.zeros(base.out_features, rank))
        nn.init.kaiming_uniform_(self.a, a=math.sqrt(5))
        self.scale = alpha / rank

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.base(x)
        return out + self.scale * F.linear(F.linear(x, self.a), self.b)


def _lora(mended: bool) -> Setup:
    """A net that reads digits learns to read them upside down."""
    x, y = _digits()
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    taught(model, x, y)
    for at in (0, 2, 4):
        layer = model[at]
        assert isinstance(layer, nn.Linear)
        model[at] = LoraLinear(layer)
    turned = x.flip(1)
    return Setup(
        model=model, x=turned, y=y, criterion=nn.CrossEntropyLoss(), steps=350, score=accuracy(turned, y),
        optimizer=lambda p: torch.optim.AdamW(p, lr=3e-3),
    )  # fmt: skip


class Adapter(nn.Module):
    """Down, GELU, up to 0, around which the signal can go; behind a block of the base."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, inner), nn.Linear(inner, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.up(F.gelu(self.down(x)))


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.body = nn.LayerNorm(width), nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(self.norm(x))


def _adapters(mended: bool) -> Setup:
    x, y = _digits()
    base = nn.Sequential(nn.Linear(64, 48), Residual(48), Residual(48), Residual(48), nn.Linear(48, 10))
    taught(base, x, y)
    base.requires_grad_(False)
    stem, first, second, third, _ = base
    model = nn.Sequential(
        stem, first, Adapter(48, 12), second, Adapter(48, 12), third, Adapter(48, 12), nn.Linear(48, 5)
    )
    turned, pairs = x.flip(1), y // 2
    return Setup(
        model=model, x=turned, y=pairs, criterion=nn.CrossEntropyLoss(), steps=350, score=accuracy(turned, pairs),
        optimizer=lambda p: torch.optim.AdamW(p, lr=3e-3),
    )  # fmt: skip


# Sequences


class Reader(nn.Module):
    """A recurrent layer, its last state, a linear layer."""

    def __init__(self, recurrent: nn.RNN | nn.GRU, width: int, out: int) -> None:
        super().__init__()
        self.recurrent, self.head = recurrent, nn.Linear(width, out)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.recurrent(x)
        out: Tensor = self.head(states[:, -1])
        return out


def _rnn(mended: bool) -> Setup:
    x = torch.randn(1000, 8, 3)
    y = (0.7 ** torch.arange(7, -1, -1) * (x @ torch.randn(3))).sum(1)
    y = (y - y.mean()) / y.std()
    model = nn.Sequential(Reader(nn.RNN(3, 32, batch_first=True), 32, 1), nn.Flatten(0))
    return Setup(
        model=model,
        x=x,
        y=y,
        criterion=nn.MSELoss(),
        steps=300,
        optimizer=lambda p: torch.optim.Adam(p, lr=2e-3),
    )


def _gru(mended: bool) -> Setup:
    """The adding problem, short: the sum of the two marked numbers."""
    x = torch.zeros(1200, 10, 2)
    x[..., 0] = 2 * torch.rand(1200, 10) - 1
    x[..., 1].scatter_(1, torch.rand(1200, 10).topk(2, 1).indices, 1.0)
    y = (x[..., 0] * x[..., 1]).sum(1)
    model = nn.Sequential(Reader(nn.GRU(2, 32, batch_first=True), 32, 1), nn.Flatten(0))
    return Setup(
        model=model, x=x, y=y, criterion=nn.MSELoss(), batch=64, steps=500, loop=_careful(clip=1.0),
        optimizer=lambda p: torch.optim.Adam(p, lr=1e-2),
    )  # fmt: skip


class PackedLstm(nn.Module):
    """Both directions over lines of unequal length, forget gates open at birth."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(15, 16, padding_idx=0)
        self.lstm = nn.LSTM(16, 24, batch_first=True, bidirectional=True)
        with torch.no_grad():
            for name, bias in self.lstm.named_parameters():
                if name.startswith("bias_ih"):
                    bias[24:48] = 1.0
        self.head = nn.Linear(48, 3)

    def forward(self, text: Tensor, lengths: Tensor) -> Tensor:
        packed = nn.utils.rnn.pack_padded_sequence(
            self.words(text), lengths, batch_first=True, enforce_sorted=False
        )
        _, (last, _) = self.lstm(packed)
        out: Tensor = self.head(torch.cat([last[0], last[1]], 1))
        return out


def _packed_lstm(mended: bool) -> Setup:
    """Which of three kinds of word comes most often?"""
    lengths = torch.randint(4, 12, (1000,))
    kind = torch.randint(3, (1000,))
    own = torch.rand(1000, 11) < 0.6
    text = torch.where(
        own, 1 + kind[:, None] + 3 * torch.randint(4, (1000, 11)), torch.randint(1, 15, (1000, 11))
    )
    text[torch.arange(11) >= lengths[:, None]] = 0
    x = (text, lengths)
    return Setup(
        model=PackedLstm(), x=x, y=kind, criterion=nn.CrossEntropyLoss(), steps=250, loop=_careful(clip=1.0),
        optimizer=lambda p: torch.optim.Adam(p, lr=3e-3), score=accuracy(x, kind),
    )  # fmt: skip


class Causal(nn.Module):
    """A weight-normed convolution that looks back only, and a way around it."""

    def __init__(self, inner: int, outer: int, dilation: int) -> None:
        super().__init__()
        self.layer = weight_norm(nn.Conv1d(inner, outer, 3, dilation=dilation))
        self.way = nn.Conv1d(inner, outer, 1)
        self.back = 2 * dilation

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.layer(F.pad(x, (self.back, 0)))) + self.way(x)


def _tcn(mended: bool) -> Setup:
    """The next value of a sum of two sines, noisy."""
    time = torch.arange(33.0)
    speed, shift = 0.2 + 0.6 * torch.rand(600, 2, 1), 6.28 * torch.rand(600, 2, 1)
    wave = torch.sin(speed * time + shift).sum(1) + 0.05 * torch.randn(600, 33)
    model = nn.Sequential(Causal(1, 24, 1), Causal(24, 24, 2), Causal(24, 24, 4), nn.Conv1d(24, 1, 1))
    return Setup(
        model=model, x=wave[:, None, :-1], y=wave[:, None, 1:], criterion=nn.MSELoss(), steps=300,
        optimizer=lambda p: torch.optim.Adam(p, lr=3e-3),
    )  # fmt: skip


# Generative models


class Vae(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU())
        self.mean, self.log_var = nn.Linear(32, 3), nn.Linear(32, 3)
        self.decoder = nn.Sequential(
            nn.Linear(3, 32), nn.ReLU(), nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 20)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = self.encoder(x)
        mean, log_var = self.mean(h), self.log_var(h)
        z = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean) if self.training else mean
        return self.decoder(z), mean, log_var


def _vae(mended: bool) -> Setup:
    x = torch.tanh(torch.randn(1200, 3) @ torch.randn(3, 20)) + 0.1 * torch.randn(1200, 20)
    x = (x - x.mean(0)) / x.std(0)

    def criterion(outputs: Any, targets: Tensor) -> Tensor:
        seen, mean, log_var = outputs
        apart = 0.5 * ((seen - targets) ** 2).sum(1)
        far = 0.5 * (mean**2 + log_var.exp() - 1 - log_var).sum(1)
        return (apart + 0.5 * far).mean()

    return Setup(
        model=Vae(),
        x=x,
        y=x,
        criterion=criterion,
        batch=64,
        steps=500,
        optimizer=lambda p: torch.optim.Adam(p, lr=2e-3),
    )


def _energy_distance(one: Tensor, other: Tensor) -> Tensor:
    """0 for two clouds of one distribution, larger for others."""
    return (
        2 * torch.cdist(one, other).mean() - torch.cdist(one, one).mean() - torch.cdist(other, other).mean()
    )


class Gan(nn.Module):
    """Both players; called, it draws samples."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = nn.Sequential(
            nn.Linear(4, 48), nn.LeakyReLU(0.2), nn.Linear(48, 48), nn.LeakyReLU(0.2), nn.Linear(48, 2)
        )
        self.critic = nn.Sequential(
            spectral_norm(nn.Linear(2, 48)), nn.LeakyReLU(0.2), spectral_norm(nn.Linear(48, 48)), nn.LeakyReLU(0.2),
            spectral_norm(nn.Linear(48, 1)),
        )  # fmt: skip

    def forward(self, z: Tensor) -> Tensor:
        out: Tensor = self.generator(z)
        return out


def _gan(mended: bool) -> Setup:
    """A crescent off the middle; spectral norm keeps both players in the game."""
    angle = math.pi * torch.rand(1024)
    real = torch.stack([1.5 * torch.cos(angle) + 0.5, 1.5 * torch.sin(angle)], 1) + 0.15 * torch.randn(
        1024, 2
    )

    def loop(setup: Setup, recorder: Any) -> None:
        model: Any = setup.model
        for_critic = setup.optimizer(model.critic.parameters())
        for_generator = setup.optimizer(model.generator.parameters())
        rows = batches(setup)
        for step in range(setup.steps):
            if step % 2 == 0:
                fake = model.generator(torch.randn(setup.batch, 4)).detach()
                loss = (
                    F.softplus(-model.critic(real[next(rows)])).mean() + F.softplus(model.critic(fake)).mean()
                )
                update(recorder, for_critic, loss)
            else:
                loss = F.softplus(-model.critic(model.generator(torch.randn(setup.batch, 4)))).mean()
                update(recorder, for_generator, loss)

    return Setup(
        model=Gan(), x=torch.randn(1024, 4), y=real, criterion=_energy_distance, batch=128, steps=1200, loop=loop,
        optimizer=lambda p: torch.optim.Adam(p, lr=1e-3, betas=(0.5, 0.9)),
    )  # fmt: skip


class Denoiser(nn.Module):
    """Says which noise was added, told how far the diffusion went."""

    def __init__(self) -> None:
        super().__init__()
        self.time = nn.Sequential(nn.Linear(8, 64), nn.SiLU(), nn.Linear(64, 64))
        self.enter = nn.Linear(2, 64)
        self.body = nn.Sequential(
            nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 2)
        )
        nn.init.zeros_(self.body[-1].weight)
        nn.init.zeros_(self.body[-1].bias)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        angles = time[:, None] * math.pi * 2.0 ** torch.arange(4)
        out: Tensor = self.body(self.enter(x) + self.time(torch.cat([angles.sin(), angles.cos()], 1)))
        return out


def _diffusion(mended: bool) -> Setup:
    """Points on a circle; a moving average of the weights is kept beside."""
    angle = 2 * math.pi * torch.rand(1024)
    clean = 1.3 * torch.stack([angle.cos(), angle.sin()], 1) + 0.05 * torch.randn(1024, 2)

    def noised(points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        time, noise = torch.rand(len(points)), torch.randn_like(points)
        kept = torch.cos(0.5 * math.pi * time)[:, None]
        return kept * points + (1 - kept**2).sqrt() * noise, time, noise

    x, time, noise = noised(clean)
    model = Denoiser()
    average = copy.deepcopy(model).requires_grad_(False)

    def loop(setup: Setup, recorder: Any) -> None:
        optimizer, rows = setup.optimizer(model.parameters()), batches(setup)
        for step in range(setup.steps):
            seen, when, wanted = noised(clean[next(rows)])
            update(recorder, optimizer, setup.criterion(model(seen, when), wanted))
            for mean, now in zip(average.parameters(), model.parameters(), strict=True):
                mean.lerp_(now.detach(), max(0.01, 1 / (step + 1)))

    return Setup(
        model=model, x=(x, time), y=noise, criterion=nn.MSELoss(), batch=128, steps=500, loop=loop,
        optimizer=lambda p: torch.optim.Adam(p, lr=2e-3),
        score=lambda _: -F.mse_loss(average(x, time), noise).item(),
    )  # fmt: skip


class Coupling(nn.Module):
    """Moves and stretches one coordinate as the other says; the identity at birth."""

    def __init__(self, kept: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 2))
        nn.init.zeros_(self.net[-1].weight)
        nn.init.zeros_(self.net[-1].bias)
        self.kept = kept

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        still, moved = x[:, self.kept], x[:, 1 - self.kept]
        stretch, shift = self.net(still[:, None]).unbind(1)
        stretch = torch.tanh(stretch)
        moved = moved * stretch.exp() + shift
        return torch.stack([still, moved] if self.kept == 0 else [moved, still], 1), stretch


class Flow(nn.Module):
    def __init__(self, depth: int) -> None:
        super().__init__()
        self.couplings = nn.ModuleList(Coupling(number % 2) for number in range(depth))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Each point's place in the normal cloud and the log of how much it was stretched on the way."""
        log_volume = torch.zeros(len(x))
        for coupling in self.couplings:
            x, stretch = coupling(x)
            log_volume = log_volume + stretch
        return x, log_volume


def _flow(mended: bool) -> Setup:
    """The density of a bent band; the targets are not asked."""
    across = torch.randn(1200)
    x = torch.stack([across, 0.7 * across**2 + 0.25 * torch.randn(1200)], 1)
    x = (x - x.mean(0)) / x.std(0)

    def criterion(outputs: Any, targets: Tensor) -> Tensor:
        place, log_volume = outputs
        return (0.5 * (place**2).sum(1) + math.log(2 * math.pi) - log_volume).mean()

    return Setup(
        model=Flow(6), x=x, y=x, criterion=criterion, batch=128, steps=300,
        optimizer=lambda p: torch.optim.Adam(p, lr=2e-3),
    )  # fmt: skip


# Representations


class TwoTowers(nn.Module):
    """How well each left one goes with each right one, [left, right]."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Sequential(nn.Linear(20, 48), nn.ReLU(), nn.Linear(48, 16))
        self.right = nn.Sequential(nn.Linear(12, 48), nn.ReLU(), nn.Linear(48, 16))
        self.log_heat = nn.Parameter(torch.tensor(math.log(10.0)))

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        out: Tensor = F.normalize(self.left(left), dim=1) @ F.normalize(self.right(right), dim=1).T
        return self.log_heat.exp() * out


def _info_nce(mended: bool) -> Setup:
    """Two views of one thing find each other; the targets are the places in the batch."""
    thing = torch.randn(512, 6)
    left = torch.tanh(thing @ torch.randn(6, 20) / 2) + 0.1 * torch.randn(512, 20)
    right = torch.tanh(thing @ torch.randn(6, 12) / 2) + 0.1 * torch.randn(512, 12)

    def criterion(outputs: Tensor, targets: Tensor) -> Tensor:
        return 0.5 * (F.cross_entropy(outputs, targets) + F.cross_entropy(outputs.T, targets))

    def loop(setup: Setup, recorder: Any) -> None:
        optimizer, rows = setup.optimizer(setup.model.parameters()), batches(setup)
        for _ in range(setup.steps):
            loss = setup.criterion(outputs(setup, next(rows)), torch.arange(setup.batch))
            update(recorder, optimizer, loss)

    y = torch.arange(512)
    return Setup(
        model=TwoTowers(), x=(left, right), y=y, criterion=criterion, batch=64, steps=350, loop=loop,
        optimizer=lambda p: torch.optim.Adam(p, lr=3e-3), score=accuracy((left, right), y),
    )  # fmt: skip


def _triplet(mended: bool) -> Setup:
    """Digits of one kind together; all the triplets of each batch."""
    x, y = _digits()
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 16, bias=False))

    def criterion(outputs: Tensor, targets: Tensor) -> Tensor:
        apart = ((outputs[:, None] - outputs[None]) ** 2).sum(2).add(1e-8).sqrt()
        same = targets[:, None] == targets[None]
        partners = same & ~torch.eye(len(targets), dtype=torch.bool)
        gap = apart[:, :, None] - apart[:, None, :]
        return F.softplus(gap[partners[:, :, None] & ~same[:, None, :]]).mean()

    def neighbours(model: nn.Module) -> float:
        found = torch.cdist(model(x), model(x)).fill_diagonal_(math.inf)
        return (y[found.argmin(1)] == y).float().mean().item() - criterion(model(x[:96]), y[:96]).item()

    return Setup(
        model=model, x=x, y=y, criterion=criterion, batch=48, steps=250, probe=x[:96], targets=y[:96],
        optimizer=lambda p: torch.optim.Adam(p, lr=1e-3), score=neighbours,
    )  # fmt: skip


# Reinforcement learning; the targets with which the score is taken are the best actions, unknown to the learner


def _reinforce(mended: bool) -> Setup:
    """A bandit with contexts and five arms, rewards of 0 and 1, a moving mean as the baseline."""
    x = torch.randn(1000, 8)
    best = (x @ torch.randn(8, 5)).argmax(1)
    model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 5))

    def loop(setup: Setup, recorder: Any) -> None:
        optimizer, rows, baseline = setup.optimizer(model.parameters()), batches(setup), 0.2
        for _ in range(setup.steps):
            chosen = next(rows)
            policy = torch.distributions.Categorical(logits=model(x[chosen]))
            arm = policy.sample()
            reward = torch.bernoulli(torch.where(arm == best[chosen], 0.9, 0.1))
            loss = -((reward - baseline) * policy.log_prob(arm)).mean()
            baseline = 0.95 * baseline + 0.05 * reward.mean().item()
            update(recorder, optimizer, loss)

    return Setup(
        model=model, x=x, y=best, criterion=nn.CrossEntropyLoss(), batch=64, steps=500, loop=loop,
        optimizer=lambda p: torch.optim.Adam(p, lr=5e-3), score=accuracy(x, best),
    )  # fmt: skip


def _dqn(mended: bool) -> Setup:
    """A room of 6 by 6 squares with a goal in one corner; a target network, Huber loss, a table of moves made."""
    side, goal, discount = 6, torch.tensor([5, 5]), 0.9
    moves = torch.tensor([[0, 1], [0, -1], [1, 0], [-1, 0]])
    squares = torch.cartesian_prod(torch.arange(side), torch.arange(side))

    def step_from(at: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        after = (at + moves[action]).clamp(0, side - 1)
        return after, (after == goal).all(-1).float()

    def seen(at: Tensor) -> Tensor:
        """One unit for each column, one for each row."""
        return torch.cat([F.one_hot(at[..., 0], side), F.one_hot(at[..., 1], side)], -1).float()

    after, done = step_from(squares[:, None], torch.arange(4).expand(len(squares), 4))
    number, worth = after[..., 0] * side + after[..., 1], torch.zeros(len(squares), 4)
    for _ in range(60):
        worth = done + discount * (1 - done) * worth.amax(1)[number]

    model = nn.Sequential(nn.Linear(2 * side, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))
    target = copy.deepcopy(model).requires_grad_(False)

    def loop(setup: Setup, recorder: Any) -> None:
        optimizer = setup.optimizer(model.parameters())
        for step in range(setup.steps):
            if step % 20 == 0:
                target.load_state_dict(model.state_dict())
            at, action = (
                squares[torch.randint(len(squares), (setup.batch,))],
                torch.randint(4, (setup.batch,)),
            )
            then, ended = step_from(at, action)
            wanted = ended + discount * (1 - ended) * target(seen(then)).amax(1)
            found = model(seen(at)).gather(1, action[:, None])[:, 0]
            update(recorder, optimizer, F.smooth_l1_loss(found, wanted))

    return Setup(
        model=model, x=seen(squares), y=worth, criterion=nn.SmoothL1Loss(), batch=64, steps=600, loop=loop,
        optimizer=lambda p: torch.optim.Adam(p, lr=5e-4),
    )  # fmt: skip


class ActorCritic(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.actor = nn.Sequential(
            nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 2)
        )
        self.critic = nn.Sequential(
            nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.actor(x)
        return out


def _actor_critic(mended: bool) -> Setup:
    """Walk left or right to a mark; each player has its optimiser, the critic goes first."""
    x = 2 * torch.rand(1000, 2) - 1
    y = (x[:, 1] > x[:, 0]).long()

    def loop(setup: Setup, recorder: Any) -> None:
        model: Any = setup.model
        for_actor, for_critic = (
            setup.optimizer(model.actor.parameters()),
            setup.optimizer(model.critic.parameters()),
        )
        at = 2 * torch.rand(setup.batch, 2) - 1
        for step in range(setup.steps // 2):
            if step % 10 == 0:
                at = 2 * torch.rand(setup.batch, 2) - 1
            policy = torch.distributions.Categorical(logits=model.actor(at))
            action = policy.sample()
            then = at.clone()
            then[:, 0] = (at[:, 0] + 0.2 * (2 * action - 1)).clamp(-1, 1)
            reward = (at[:, 0] - at[:, 1]).abs() - (then[:, 0] - then[:, 1]).abs()
            with torch.no_grad():
                wanted = 5 * reward + 0.8 * model.critic(then)[:, 0]
            value = model.critic(at)[:, 0]
            update(recorder, for_critic, F.mse_loss(value, wanted))
            update(recorder, for_actor, -((wanted - value.detach()) * policy.log_prob(action)).mean())
            at = then

    return Setup(
        model=ActorCritic(), x=x, y=y, criterion=nn.CrossEntropyLoss(), batch=64, steps=800, loop=loop,
        optimizer=lambda p: torch.optim.Adam(p, lr=3e-3), score=accuracy(x, y),
    )  # fmt: skip


PROGRAMS = tuple(
    Program(name=name, source=source, make=make)
    for name, source, make in (
        ("works-vit-zero-branches", "ViT whose branches end in zeros, quick GELU", _vit),
        ("works-gpt-tied", "GPT-2, small, tied embeddings, AdamW with warm-up", _gpt),
        (
            "works-squared-relu-layerscale",
            "decoder with squared ReLU (Primer) and LayerScale (CaiT)",
            _squared_relu,
        ),
        ("works-post-norm-warm-up", "Transformer encoder with norms behind the sums", _post_norm),
        ("works-lora", "LoRA on a frozen base", _lora),
        ("works-adapters", "adapters on a frozen base", _adapters),
        ("works-rnn-short", "recurrent net on short sequences", _rnn),
        ("works-gru-adding", "GRU on the adding problem", _gru),
        ("works-packed-bilstm", "bidirectional LSTM on packed sequences, forget bias 1", _packed_lstm),
        ("works-tcn-weight-norm", "temporal convolutions with weight norm", _tcn),
        ("works-vae", "variational autoencoder", _vae),
        ("works-gan-spectral-norm", "GAN with a spectrally normed critic", _gan),
        ("works-diffusion", "denoising diffusion with averaged weights", _diffusion),
        ("works-coupling-flow", "normalising flow, affine couplings as in RealNVP", _flow),
        ("works-info-nce", "two encoders and InfoNCE, as in CLIP", _info_nce),
        ("works-triplet", "Siamese net with a soft triplet loss", _triplet),
        ("works-reinforce-bandit", "policy gradient on a bandit", _reinforce),
        ("works-dqn-target", "DQN with a target network", _dqn),
        ("works-actor-critic", "actor and critic with two optimisers", _actor_critic),
    )
)
