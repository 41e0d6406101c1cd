"""The causes that people meet most often, continued: rates, scales, weights, modes and axes; and near them what
works."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam

from benchmarks.clinic.common import accuracy, centred, digits, explained, update
from benchmarks.clinic.loop import batches
from benchmarks.clinic.program import Program, Setup
from benchmarks.clinic.programs.frequent import of_digits, of_numbers
from benchmarks.clinic.programs.questions import adam, curves, halves, mlp, sgd, sided

# -- rates and penalties


def epsilon_of_1(mended: bool) -> Setup:
    return of_digits(mlp(64, 32, 10), optimizer=adam(1e-3, eps=1e-8 if mended else 10.0))


def divided_twice(mended: bool) -> Setup:
    def criterion(out: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(out, y) / (1 if mended else 32 * 10)

    return of_digits(mlp(64, 32, 10), criterion, optimizer=sgd(0.1))


def clipped_scaled(mended: bool) -> Setup:
    def loop(setup: Setup, recorder: Any) -> None:
        optimizer = setup.optimizer(setup.model.parameters())
        rows, scale = batches(setup), 2.0**16
        for _ in range(setup.steps):
            chosen = next(rows)
            loss = setup.criterion(setup.model(setup.x[chosen]), setup.y[chosen])
            optimizer.zero_grad()
            (loss * scale).backward()
            each = [p.grad for p in setup.model.parameters()]
            if not mended:
                nn.utils.clip_grad_norm_(setup.model.parameters(), 1.0)
            torch._foreach_div_(each, scale)
            if mended:
                nn.utils.clip_grad_norm_(setup.model.parameters(), 1.0)
            recorder.step(loss=loss, optimizer=optimizer)
            optimizer.step()

    return of_digits(mlp(64, 32, 10), optimizer=sgd(0.1), loop=loop)


def penalty_too_large(mended: bool) -> Setup:
    model = mlp(64, 32, 10)

    def loop(setup: Setup, recorder: Any) -> None:
        optimizer = setup.optimizer(setup.model.parameters())
        rows = batches(setup)
        for _ in range(setup.steps):
            chosen = next(rows)
            loss = setup.criterion(setup.model(setup.x[chosen]), setup.y[chosen])
            penalty = sum(p.square().sum() for p in setup.model.parameters())
            update(recorder, optimizer, loss + (1e-5 if mended else 1.0) * penalty)

    return of_digits(model, loop=loop)


def adam_decay_1(mended: bool) -> Setup:
    return of_digits(mlp(64, 32, 10), optimizer=adam(3e-3, weight_decay=0.0 if mended else 1.0))


# -- inputs


def divided_by_255_twice(mended: bool) -> Setup:
    x, y = digits(1000)
    return of_digits_as(x if mended else x / 255, y, sgd(0.1, momentum=0.9))


def of_digits_as(x: Tensor, y: Tensor, optimizer: Any, model: nn.Module | None = None) -> Setup:
    return Setup(
        model=model or mlp(64, 32, 10), x=x, y=y, criterion=nn.CrossEntropyLoss(), optimizer=optimizer, steps=250,
        score=accuracy(x, y),
    )  # fmt: skip


def kelvins(mended: bool) -> Setup:
    x, y = curves()
    x = x if mended else x + 290
    return Setup(
        model=mlp(6, 32, 1), x=x, y=y, criterion=nn.MSELoss(), optimizer=adam(5e-3), steps=250,
        score=explained(x, y),
    )  # fmt: skip


def same_row(mended: bool) -> Setup:
    x, y = digits(1000)
    x = centred(x)
    return of_digits_as(x if mended else x[:1].expand(1000, 64).clone(), y, adam(3e-3))


class Read(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(60, 8), mlp(8, 16, 3)

    def forward(self, text: Tensor) -> Tensor:
        found: Tensor = self.head(self.words(text).mean(1))
        return found


def unknown_words(mended: bool) -> Setup:
    y = torch.randint(3, (1000,))
    text = y[:, None] + 3 * torch.randint(20, (1000, 10))
    if not mended:
        text = torch.zeros_like(text)
    return Setup(
        model=Read(), x=text, y=y, criterion=nn.CrossEntropyLoss(), optimizer=adam(1e-2), steps=250,
        score=accuracy(text, y),
    )  # fmt: skip


# -- weights


def weights_of_rand(mended: bool) -> Setup:
    model = mlp(64, 32, 32, 32, 10)
    if not mended:
        for layer in model[::2]:
            nn.init.uniform_(layer.weight)
    return of_digits(model, optimizer=sgd(0.05))


def weights_of_0_001(mended: bool) -> Setup:
    model = mlp(64, 32, 32, 32, 32, 10)
    if not mended:
        for layer in model[::2]:
            nn.init.normal_(layer.weight, std=0.001)
            nn.init.zeros_(layer.bias)
    return of_digits(model, optimizer=sgd(0.05, momentum=0.9), steps=300)


def all_alike(mended: bool) -> Setup:
    model = mlp(64, 32, 32, 10, activation=nn.Tanh)
    if not mended:
        for layer in model[::2]:
            nn.init.constant_(layer.weight, 0.05)
            nn.init.zeros_(layer.bias)
    return of_digits(model, optimizer=sgd(0.1))


# -- modes and axes


def statistics_of_one_batch(mended: bool) -> Setup:
    model = nn.Sequential(
        nn.Linear(64, 32), nn.BatchNorm1d(32, momentum=0.1 if mended else 1.0), nn.ReLU(), nn.Linear(32, 10)
    )
    x, y = digits(1000)
    return Setup(
        model=model, x=x, y=y, criterion=nn.CrossEntropyLoss(), optimizer=adam(3e-3), steps=300,
        batch=32 if mended else 2, score=accuracy(x, y),
    )  # fmt: skip


def statistics_of_birth(mended: bool) -> Setup:
    x, y = curves()
    model = nn.Sequential(
        nn.Linear(6, 32), nn.BatchNorm1d(32, momentum=0.1 if mended else 1e-5), nn.ReLU(), nn.Linear(32, 1)
    )
    return Setup(
        model=model, x=20 * x, y=y, criterion=nn.MSELoss(), optimizer=adam(5e-3), steps=250,
        score=explained(20 * x, y),
    )  # fmt: skip


class Attends(nn.Module):
    """Attention of torch, which wants the sequence first unless it is told."""

    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.place = nn.Linear(4, 16)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=batch_first)
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.place(x)
        found: Tensor = self.head(self.attention(h, h, h)[0][:, 0])
        return found


def batch_as_sequence(mended: bool) -> Setup:
    y = torch.randint(3, (800,))
    x = 0.3 * torch.randn(800, 8, 4)
    where = 1 + torch.randint(7, (800,))
    x[torch.arange(800), where, y] += 4
    return Setup(
        model=Attends(batch_first=mended), x=x, y=y, criterion=nn.CrossEntropyLoss(), optimizer=adam(5e-3),
        steps=250, score=accuracy(x, y),
    )  # fmt: skip


class Pooled(nn.Module):
    def __init__(self, axis: int) -> None:
        super().__init__()
        self.first, self.head, self.axis = mlp(4, 16), mlp(16, 16, 3), axis

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.first(x)).mean(self.axis, keepdim=True)
        found: Tensor = self.head(h.expand(len(x), -1, -1)[:, 0])
        return found


def pooled_over_samples(mended: bool) -> Setup:
    y = torch.randint(3, (800,))
    x = torch.randn(800, 8, 4)
    x[:, :, :3] += F.one_hot(y, 3)[:, None]
    return Setup(
        model=Pooled(1 if mended else 0), x=x, y=y, criterion=nn.CrossEntropyLoss(), optimizer=adam(5e-3),
        steps=250, score=accuracy(x, y),
    )  # fmt: skip


class Masked(nn.Module):
    """Attention over words of which some are padding; the author's mask is True for what may be read."""

    def __init__(self, inverted: bool) -> None:
        super().__init__()
        self.place = nn.Linear(4, 16)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.query = nn.Parameter(0.3 * torch.randn(1, 1, 16))
        self.head, self.inverted = nn.Linear(16, 3), inverted

    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        h = self.place(x)
        mask = ~padding if self.inverted else padding
        found: Tensor = self.head(
            self.attention(self.query.expand(len(x), -1, -1), h, h, key_padding_mask=mask)[0][:, 0]
        )
        return found


def inverted_mask(mended: bool) -> Setup:
    y = torch.randint(3, (800,))
    x = torch.randn(800, 10, 4)
    x[:, :, :3] += 1.5 * F.one_hot(y, 3)[:, None]
    padding = torch.arange(10) >= torch.randint(4, 9, (800, 1))
    x[padding] = 0
    return Setup(
        model=Masked(inverted=not mended), x=(x, padding), y=y, criterion=nn.CrossEntropyLoss(),
        optimizer=adam(5e-3), steps=250, score=accuracy((x, padding), y),
    )  # fmt: skip


def half_weights(mended: bool) -> Setup:
    x, y = digits(1000)
    x, model = centred(x), mlp(64, 32, 10)
    if not mended:
        x, model = x.half(), model.half()

    def score(net: nn.Module) -> float:
        return float((net(x).argmax(1) == y).float().mean())

    return Setup(
        model=model, x=x, y=y, criterion=nn.CrossEntropyLoss(), optimizer=adam(1e-3), steps=250, score=score
    )


def tiny_in_half(mended: bool) -> Setup:
    x, y = curves()
    model = mlp(6, 32, 32, 1)

    def loop(setup: Setup, recorder: Any) -> None:
        optimizer = setup.optimizer(setup.model.parameters())
        rows = batches(setup)
        for _ in range(setup.steps):
            chosen = next(rows)
            with torch.autocast("cpu", torch.float16, enabled=not mended):
                out = setup.model(setup.x[chosen])
            loss = 1e-7 * setup.criterion(out.float(), setup.y[chosen])
            update(recorder, optimizer, loss)

    return Setup(
        model=model, x=x, y=y, criterion=nn.MSELoss(), optimizer=lambda p: Adam(p, lr=5e-3, eps=1e-16), steps=250,
        loop=loop, score=explained(x, y),
    )  # fmt: skip


# -- what works near these


def logarithm_twice(mended: bool) -> Setup:
    return of_digits(nn.Sequential(mlp(64, 32, 10), nn.LogSoftmax(dim=1)), nn.CrossEntropyLoss())


def clamped_sigmoid(mended: bool) -> Setup:
    x, y = halves()

    def entropy(out: Tensor, y: Tensor) -> Tensor:
        p = out.clamp(1e-7, 1 - 1e-7)
        return -(y * p.log() + (1 - y) * (1 - p).log()).mean()

    return Setup(
        model=mlp(8, 32, 1).append(nn.Sigmoid()), x=x, y=y, criterion=entropy, optimizer=adam(3e-3), steps=300,
        score=sided(x, y, 0.5),
    )  # fmt: skip


def mostly_ignored(mended: bool) -> Setup:
    x, y = digits(1000)
    x = centred(x)
    known = y.masked_fill(torch.rand(1000) < 0.7, -100)
    return Setup(
        model=mlp(64, 32, 10), x=x, y=known, criterion=nn.CrossEntropyLoss(ignore_index=-100), optimizer=adam(5e-3),
        steps=300, score=accuracy(x, y),
    )  # fmt: skip


def svm(mended: bool) -> Setup:
    return of_digits(mlp(64, 32, 10), nn.MultiMarginLoss(), steps=300)


def noisy_classes(mended: bool) -> Setup:
    x, y = halves(2000)
    y = torch.where(torch.rand_like(y) < 0.4, 1 - y, y)
    return Setup(
        model=mlp(8, 16, 1), x=x, y=y, criterion=nn.BCEWithLogitsLoss(), optimizer=adam(3e-3), steps=300, batch=64,
        score=sided(x, y),
    )  # fmt: skip


def noisy_numbers(mended: bool) -> Setup:
    x, y = curves(2000)
    y = y + 3.5 * torch.randn_like(y)
    return Setup(
        model=mlp(6, 16, 1), x=x, y=y, criterion=nn.MSELoss(), optimizer=adam(3e-3), steps=300, batch=64,
        score=explained(x, y),
    )  # fmt: skip


def ratings(mended: bool) -> Setup:
    x, y = curves()
    y = (1.2 * y + 3).round().clamp(1, 5)
    return Setup(
        model=mlp(6, 32, 1),
        x=x,
        y=y,
        criterion=nn.MSELoss(),
        optimizer=adam(1e-2),
        steps=300,
        score=explained(x, y),
    )


class Deep(nn.Module):
    """Deep sets over the batch: what each sample is told depends on the others, on purpose."""

    def __init__(self) -> None:
        super().__init__()
        self.own, self.whole = mlp(6, 32), mlp(6, 32)
        self.head = mlp(64, 32, 1)

    def forward(self, x: Tensor) -> Tensor:
        whole = self.whole(x).mean(0, keepdim=True).expand(len(x), -1)
        found: Tensor = self.head(torch.cat([self.own(x), whole], 1))
        return found


def context_of_the_batch(mended: bool) -> Setup:
    return of_numbers(Deep())


PROGRAMS = (
    Program(name="frequent-epsilon-of-1", source="Adam's eps as a rate", make=epsilon_of_1, mechanical=True,
            fault="Adam's epsilon of 10 divides every step by more than ten.",
            accepted=frozenset({"rate-too-low", "not-learning"}), cause=frozenset({"rate-too-low"})),
    Program(name="frequent-divided-twice", source="often asked: loss / batch size after a mean", make=divided_twice,
            mechanical=True, fault="The mean loss is divided by the batch size and the classes once more.",
            accepted=frozenset({"rate-too-low", "not-learning"}), cause=frozenset({"rate-too-low"})),
    Program(name="frequent-clipped-scaled", source="often asked: clip before unscale_", make=clipped_scaled,
            mechanical=True, fault="Gradients are clipped while they carry the scale of 65536.",
            accepted=frozenset({"rate-too-low", "not-learning"}), cause=frozenset({"rate-too-low"})),
    Program(name="frequent-penalty-too-large", source="Humbatova et al. 2020, wrong regularisation",
            make=penalty_too_large, fault="The penalty of the weights weighs a hundred thousand times too much.",
            accepted=frozenset({"constant-output", "vanishing", "not-learning"}),
            cause=frozenset({"constant-output", "vanishing"})),
    Program(name="frequent-adam-decay-1", source="Humbatova et al. 2020, wrong regularisation", make=adam_decay_1,
            fault="Adam with a weight decay of 1 follows the weights and not the loss.",
            accepted=frozenset({"constant-output", "vanishing", "not-learning"}),
            cause=frozenset({"constant-output", "vanishing"})),
    Program(name="frequent-divided-by-255-twice", source="often asked: ToTensor has divided already",
            make=divided_by_255_twice, mechanical=True, fault="The pixels are divided by 255 twice.",
            accepted=frozenset({"input-scale", "not-learning", "constant-output"}), cause=frozenset({"input-scale"})),
    Program(name="frequent-kelvins", source="Humbatova et al. 2020, missing normalisation", make=kelvins,
            mechanical=True, fault="Temperatures in kelvins: 290 with a deviation of 1.",
            accepted=frozenset({"input-scale"}), cause=frozenset({"input-scale"})),
    Program(name="frequent-same-row", source="a data set whose __getitem__ ignores its index", make=same_row,
            fault="Every sample has the first one's inputs.",
            accepted=frozenset({"input-scale", "constant-output", "not-learning"}), cause=frozenset({"input-scale"})),
    Program(name="frequent-unknown-words", source="a vocabulary that does not fit: all words unknown",
            make=unknown_words, fault="Every word has the number of the unknown word.",
            accepted=frozenset({"input-scale", "constant-output", "not-learning"}), cause=frozenset({"input-scale"})),
    Program(name="frequent-weights-of-rand", source="often asked: torch.rand for weights", make=weights_of_rand,
            mechanical=True, fault="Weights between 0 and 1: signal and gradient grow at every layer.",
            accepted=frozenset({"exploding", "diverged", "rate-too-high", "dead", "not-learning"}),
            cause=frozenset({"exploding"})),
    Program(name="frequent-weights-of-0.001", source="often asked: normal_(std=0.001)", make=weights_of_0_001,
            mechanical=True, fault="Weights of deviation 0.001 let signal and gradient shrink at every layer.",
            accepted=frozenset({"vanishing", "constant-output", "not-learning"}), cause=frozenset({"vanishing"})),
    Program(name="frequent-all-alike", source="often asked: constant weights", make=all_alike, mechanical=True,
            fault="All weights are the same, and so are all units of a layer for ever.",
            accepted=frozenset({"not-learning", "constant-output", "no-gradient"})),
    Program(name="frequent-statistics-of-one-batch", source="often asked: bad in eval mode, good in train mode",
            make=statistics_of_one_batch, fault="Batch norm keeps the statistics of the last two samples.",
            accepted=frozenset({"not-learning", "unstable"})),
    Program(name="frequent-statistics-of-birth", source="often asked: bad in eval mode, good in train mode",
            make=statistics_of_birth, fault="Batch norm's momentum is next to 0: it keeps the statistics of birth.",
            accepted=frozenset({"not-learning", "unstable", "diverged", "input-scale"})),
    Program(name="frequent-batch-as-sequence", source="often asked: batch_first", make=batch_as_sequence,
            fault="Attention without batch_first goes over the samples of a batch.",
            accepted=frozenset({"not-learning", "constant-output", "mixed-samples"}),
            cause=frozenset({"mixed-samples"})),
    Program(name="frequent-pooled-over-samples", source="often asked: mean(0) for mean(1)", make=pooled_over_samples,
            fault="The mean goes over the samples and not over the steps.",
            accepted=frozenset({"not-learning", "constant-output", "mixed-samples"}),
            cause=frozenset({"mixed-samples", "constant-output"})),
    Program(name="frequent-inverted-mask", source="often asked: key_padding_mask", make=inverted_mask,
            fault="The mask is inverted: the padding alone is read.",
            accepted=frozenset({"not-learning", "constant-output", "no-gradient"}),
            cause=frozenset({"constant-output", "no-gradient"})),
    Program(name="frequent-half-weights", source="often asked: model.half() and Adam", make=half_weights,
            fault="Adam in float16: its epsilon and its squares are below the smallest number.",
            accepted=frozenset({"diverged", "underflow"}), cause=frozenset({"underflow", "diverged"})),
    Program(name="frequent-tiny-in-half", source="Micikevicius et al. 2018, without loss scaling", make=tiny_in_half,
            fault="A small loss under autocast without a scaler: gradients are below float16's smallest number.",
            accepted=frozenset({"underflow", "no-gradient", "not-learning"}), cause=frozenset({"underflow"})),
    Program(name="works-frequent-logarithm-twice", source="log_softmax is idempotent", make=logarithm_twice),
    Program(name="works-frequent-clamped-sigmoid", source="the usual clamp against log(0)", make=clamped_sigmoid),
    Program(name="works-frequent-mostly-ignored", source="ignore_index", make=mostly_ignored),
    Program(name="works-frequent-svm", source="MultiMarginLoss", make=svm),
    Program(name="works-frequent-noisy-classes", source="two labels in five are wrong", make=noisy_classes),
    Program(name="works-frequent-noisy-numbers", source="noise of 3.5 times the signal", make=noisy_numbers),
    Program(name="works-frequent-ratings", source="whole numbers as quantities", make=ratings),
    Program(name="works-frequent-context-of-the-batch", source="Deep Sets over a batch", make=context_of_the_batch),
)  # fmt: skip
