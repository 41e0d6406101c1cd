"""A later set of what people do wrong: rates and schedules, scales, numbers of few bits, depth, order of the data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import StepLR

from benchmarks.clinic.common import accuracy, centred, digits, explained, standard
from benchmarks.clinic.loop import batches, outputs
from benchmarks.clinic.program import Program, Setup
from benchmarks.clinic.programs.questions import adam, curves, mlp, needles, sgd


def scheduled_each_batch(mended: bool) -> Setup:
    x, y = digits(1500)

    def loop(setup: Setup, recorder: Any) -> None:
        optimizer, rows = setup.optimizer(setup.model.parameters()), batches(setup)
        schedule, epoch = StepLR(optimizer, step_size=3, gamma=0.1), len(y) // setup.batch
        for step in range(setup.steps):
            chosen = next(rows)
            optimizer.zero_grad()
            loss = F.cross_entropy(setup.model(x[chosen]), y[chosen])
            loss.backward()
            recorder.step(loss=loss, optimizer=optimizer)
            optimizer.step()
            if not mended or (step + 1) % epoch == 0:
                schedule.step()

    return Setup(
        model=mlp(64, 48, 48, 10), x=x, y=y, criterion=nn.CrossEntropyLoss(), optimizer=sgd(0.1, momentum=0.9),
        steps=300, loop=loop, score=accuracy(x, y),
    )  # fmt: skip


class Halved(nn.Module):
    """A net whose products are taken in a format of 16 bits."""

    def __init__(self, layers: nn.Module, format: torch.dtype) -> None:
        super().__init__()
        self.layers, self.format = layers, format

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=self.format):
            found: Tensor = self.layers(x)
        return found.float()


def _small_part(outputs: Tensor, targets: Tensor) -> Tensor:
    return 1e-5 * (outputs - targets).square().mean()


def half_without_scaler(mended: bool) -> Setup:
    x = torch.randn(1000, 8)
    y = torch.tanh(x @ torch.randn(8, 64) / 2)
    model = Halved(mlp(8, 48, 48, 64), torch.bfloat16 if mended else torch.float16)
    return Setup(
        model=model, x=x, y=y, criterion=_small_part, batch=128, steps=250, optimizer=adam(3e-3, eps=1e-12),
        score=explained(x, y),
    )  # fmt: skip


def undivided(mended: bool) -> Setup:
    x, y = curves()

    def loop(setup: Setup, recorder: Any) -> None:
        optimizer, rows = setup.optimizer(setup.model.parameters()), batches(setup)
        for _ in range(setup.steps):
            optimizer.zero_grad()
            total = torch.zeros(())
            for _ in range(setup.accumulation):
                chosen = next(rows)
                loss = F.mse_loss(setup.model(x[chosen]), y[chosen])
                if mended:
                    loss = loss / setup.accumulation
                loss.backward()
                total += loss.detach()
            recorder.step(loss=total, optimizer=optimizer)
            optimizer.step()

    return Setup(
        model=mlp(6, 32, 32, 1, activation=nn.Tanh), x=x, y=y, criterion=nn.MSELoss(), batch=8, steps=100,
        optimizer=sgd(0.1, momentum=0.9), accumulation=16, loop=loop, score=explained(x, y),
    )  # fmt: skip


def clipped_away(mended: bool) -> Setup:
    x, y = digits(1500)

    def loop(setup: Setup, recorder: Any) -> None:
        optimizer, rows = setup.optimizer(setup.model.parameters()), batches(setup)
        for _ in range(setup.steps):
            chosen = next(rows)
            optimizer.zero_grad()
            loss = F.cross_entropy(setup.model(x[chosen]), y[chosen])
            loss.backward()
            nn.utils.clip_grad_norm_(setup.model.parameters(), 1.0 if mended else 1e-3)
            recorder.step(loss=loss, optimizer=optimizer)
            optimizer.step()

    return Setup(
        model=mlp(64, 48, 48, 10), x=x, y=y, criterion=nn.CrossEntropyLoss(), optimizer=sgd(0.2), steps=300,
        loop=loop, score=accuracy(x, y),
    )  # fmt: skip


def dropped(mended: bool) -> Setup:
    x, y = digits(1500)
    share = 0.1 if mended else 0.9
    layers: list[nn.Module] = []
    for before in (64, 32, 32, 32):
        layers += [nn.Linear(before, 32), nn.ReLU(), nn.Dropout(share)]
    return Setup(
        model=nn.Sequential(*layers, nn.Linear(32, 10)), x=centred(x), y=y, criterion=nn.CrossEntropyLoss(),
        optimizer=adam(2e-3), steps=300, score=accuracy(centred(x), y),
    )  # fmt: skip


def left_in_eval(mended: bool) -> Setup:
    x, y = digits(1500)
    x = centred(x).view(-1, 1, 8, 8)
    layers: list[nn.Module] = []
    for before in (1, *[8] * 9):
        layers += [nn.Conv2d(before, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU()]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 10))
    model.eval()  # a look at the accuracy before the first epoch

    def loop(setup: Setup, recorder: Any) -> None:
        optimizer, rows = setup.optimizer(model.parameters()), batches(setup)
        if mended:
            model.train()
        for _ in range(setup.steps):
            chosen = next(rows)
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x[chosen]), y[chosen])
            loss.backward()
            recorder.step(loss=loss, optimizer=optimizer)
            optimizer.step()

    return Setup(
        model=model, x=x, y=y, criterion=nn.CrossEntropyLoss(), optimizer=sgd(0.05, momentum=0.9), batch=32,
        steps=120, loop=loop, score=accuracy(x, y),
    )  # fmt: skip


def all_ones(mended: bool) -> Setup:
    x, y = digits(1500)
    model = mlp(64, 48, 48, 10)
    if not mended:
        for layer in model:
            if isinstance(layer, nn.Linear):
                nn.init.ones_(layer.weight)
    return Setup(
        model=model,
        x=x,
        y=y,
        criterion=nn.CrossEntropyLoss(),
        optimizer=sgd(0.1),
        steps=300,
        score=accuracy(x, y),
    )


def summed(mended: bool) -> Setup:
    x, y = digits(1500)
    reduction = "mean" if mended else "sum"
    return Setup(
        model=mlp(64, 48, 48, 10), x=x, y=y, criterion=nn.CrossEntropyLoss(reduction=reduction), batch=256, steps=200,
        optimizer=sgd(0.2), loss_reduction=reduction, score=accuracy(x, y),
    )  # fmt: skip


def heavy_ball(mended: bool) -> Setup:
    x, y = digits(1500)
    return Setup(
        model=mlp(64, 48, 48, 10), x=x, y=y, criterion=nn.CrossEntropyLoss(), steps=300, score=accuracy(x, y),
        optimizer=sgd(0.1, momentum=0.9 if mended else 0.999),
    )  # fmt: skip


class Looked(nn.Module):
    """Attention by products of wide queries and keys, divided by their width or not."""

    def __init__(self, scaled: bool) -> None:
        super().__init__()
        self.query, self.key, self.value = nn.Linear(16, 256), nn.Linear(16, 256), nn.Linear(16, 16)
        for layer in (self.query, self.key):
            nn.init.normal_(layer.weight, std=0.6)
        self.head = nn.Linear(16, 1)
        self.scale = 1 / 256 if scaled else 1.0

    def forward(self, x: Tensor) -> Tensor:
        scores = self.scale * self.query(x) @ self.key(x).transpose(1, 2)
        found: Tensor = self.head((scores.softmax(2) @ self.value(x)).mean(1))
        return found


def unscaled_attention(mended: bool) -> Setup:
    x = torch.randn(800, 12, 16)
    y = standard((x @ torch.randn(16)).mean(1, keepdim=True))
    return Setup(
        model=Looked(scaled=mended), x=x, y=y, criterion=nn.MSELoss(), optimizer=adam(2e-3), steps=250,
        score=explained(x, y),
    )  # fmt: skip


def unix_time(mended: bool) -> Setup:
    when = 1.5e9 + 3.2e7 * torch.rand(1000, 1)
    x = torch.cat([when, torch.randn(1000, 4)], 1)
    season = (when - 1.5e9) / 3.2e7
    y = standard(torch.sin(6.28 * season) + 0.7 * x[:, 1:2] + 0.5 * x[:, 2:3] * x[:, 3:4])
    if mended:
        x = standard(x)
    return Setup(
        model=mlp(5, 32, 32, 1), x=x, y=y, criterion=nn.MSELoss(), optimizer=adam(3e-3), steps=400,
        score=explained(x, y),
    )  # fmt: skip


def tiny_targets(mended: bool) -> Setup:
    x, y = curves()
    if not mended:
        y = 1e-4 * y
    return Setup(
        model=mlp(6, 32, 32, 1), x=x, y=y, criterion=nn.MSELoss(), optimizer=sgd(0.1, momentum=0.9), steps=400,
        score=explained(x, y),
    )  # fmt: skip


def rate_of_fine_tuning(mended: bool) -> Setup:
    x, y = needles(features=40)
    return Setup(
        model=mlp(40, 64, 64, 4, activation=nn.GELU), x=x, y=y, criterion=nn.CrossEntropyLoss(), steps=300,
        optimizer=lambda p: torch.optim.AdamW(p, lr=2e-3 if mended else 2e-5), score=accuracy(x, y),
    )  # fmt: skip


class Marked(nn.Module):
    """Torch's encoder, norms behind the sums, over words of which the first asks for another."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(12, 32), nn.Parameter(0.1 * torch.randn(9, 32))
        layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 3)
        self.head = nn.Linear(32, 2)

    def forward(self, text: Tensor) -> Tensor:
        found: Tensor = self.head(self.encoder(self.words(text) + self.places).mean(1))
        return found


def transformer_rate(mended: bool) -> Setup:
    text = torch.randint(12, (1000, 9))
    y = ((text < 6).float().mean(1) > 0.5).long()
    return Setup(
        model=Marked(), x=text, y=y, criterion=nn.CrossEntropyLoss(), optimizer=adam(1e-3 if mended else 0.05),
        steps=120, score=accuracy(text, y),
    )  # fmt: skip


class Imagined(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = mlp(20, 48, 6), mlp(3, 48, 20)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_var = self.encoder(x).chunk(2, 1)
        z = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean) if self.training else mean
        return self.decoder(z), mean, log_var


def averaged_pixels(mended: bool) -> Setup:
    x = standard(torch.tanh(torch.randn(1200, 3) @ torch.randn(3, 20)) + 0.1 * torch.randn(1200, 20))

    def criterion(found: Any, targets: Tensor) -> Tensor:
        seen, mean, log_var = found
        apart = F.mse_loss(seen, targets, reduction="none")
        far = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(1).mean()
        return (apart.sum(1).mean() if mended else apart.mean()) + far

    return Setup(
        model=Imagined(), x=x, y=x, criterion=criterion, batch=64, steps=400, optimizer=adam(3e-3),
        score=lambda net: float(1 - (net(x)[0] - x).square().mean()),
    )  # fmt: skip


def sorted_rows(mended: bool) -> Setup:
    x, y = digits(1600)
    if not mended:
        order = y.argsort()
        x, y = x[order], y[order]
    some = torch.randperm(1600)[:256]

    def loop(setup: Setup, recorder: Any) -> None:
        optimizer, step = setup.optimizer(setup.model.parameters()), 0
        while step < setup.steps:
            for at in range(0, 1600, setup.batch):  # shuffle=False
                rows = slice(at, at + setup.batch)
                optimizer.zero_grad()
                loss = F.cross_entropy(outputs(setup, rows), y[rows])
                loss.backward()
                recorder.step(loss=loss, optimizer=optimizer)
                optimizer.step()
                step += 1

    return Setup(
        model=mlp(64, 48, 10), x=x, y=y, criterion=nn.CrossEntropyLoss(), optimizer=sgd(0.2, momentum=0.9), batch=32,
        steps=300, loop=loop, probe=x[some], targets=y[some], score=accuracy(x, y),
    )  # fmt: skip


def never_warm(warm_up: int) -> Callable[[bool], Setup]:
    def make(mended: bool) -> Setup:
        x, y = curves()

        def factor(step: int) -> float:
            return min(1.0, step / warm_up if mended else step // warm_up)

        def loop(setup: Setup, recorder: Any) -> None:
            optimizer, rows = setup.optimizer(setup.model.parameters()), batches(setup)
            schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
            for _ in range(setup.steps):
                chosen = next(rows)
                optimizer.zero_grad()
                loss = F.mse_loss(setup.model(x[chosen]), y[chosen])
                loss.backward()
                recorder.step(loss=loss, optimizer=optimizer)
                optimizer.step()
                schedule.step()

        return Setup(
            model=mlp(6, 32, 32, 1), x=x, y=y, criterion=nn.MSELoss(), optimizer=adam(1e-2), steps=300, loop=loop,
            score=explained(x, y),
        )  # fmt: skip

    return make


PROGRAMS = (
    Program(
        name="later-scheduler-each-batch",
        source="leftthomas/SRGAN issue 94; ivadomed pull request 55",
        fault="A schedule meant for epochs is stepped at each batch: the rate is next to 0 after twenty updates.",
        accepted=frozenset({"rate-too-low", "not-learning"}),
        cause=frozenset({"rate-too-low"}),
        mechanical=True,
        make=scheduled_each_batch,
    ),
    Program(
        name="later-half-without-scaler",
        source="engichang1467/Open-Rig3R issue 35, with the small part of the loss alone",
        fault="float16 without a GradScaler: the gradients are below its smallest number and become 0.",
        accepted=frozenset({"underflow", "no-gradient", "vanishing", "not-learning"}),
        cause=frozenset({"underflow"}),
        mechanical=True,
        make=half_without_scaler,
    ),
    Program(
        name="later-accumulation-undivided",
        source="karpathy/nanoGPT issue 168, with SGD, which Adam would hide",
        fault="Gradients accumulate over 16 batches and nothing is divided by 16: each update is 16 times too far.",
        accepted=frozenset({"rate-too-high", "diverged", "unstable", "saturated", "not-learning"}),
        cause=frozenset({"rate-too-high"}),
        mechanical=True,
        make=undivided,
    ),
    Program(
        name="later-clipped-to-nothing",
        source="after wandb/senpai pull request 978 (every batch is clipped), stronger",
        fault="Gradients are clipped to a norm of 0.001, a thousandth of what they are.",
        accepted=frozenset({"rate-too-low", "not-learning"}),
        cause=frozenset({"rate-too-low"}),
        mechanical=True,
        make=clipped_away,
    ),
    Program(
        name="later-dropout-0.9",
        source="bonlime/keras-deeplab-v3-plus issue 4; Gofinge/CheXpert_Baseline_PyTorch issue 5",
        fault="The share to keep, 0.9, is given as the share to drop, in each of four narrow layers.",
        accepted=frozenset({"not-learning", "constant-output"}),
        make=dropped,
    ),
    Program(
        name="later-left-in-eval",
        source="after a common question (model.eval() for a first look, never undone)",
        fault="Batch norm in eval mode from the first step on normalises nothing; ten small convolutions fade out.",
        accepted=frozenset({"vanishing", "constant-output", "not-learning"}),
        cause=frozenset({"vanishing"}),
        make=left_in_eval,
    ),
    Program(
        name="later-all-ones",
        source="after DeepLocalize's and DeepFD's wrong initial weights (kernel_initializer='ones')",
        fault="All weights start at 1: the signal grows forty-fold at each layer, and all units of a layer are one.",
        accepted=frozenset({"exploding", "diverged", "rate-too-high", "dead", "not-learning"}),
        cause=frozenset({"exploding"}),
        mechanical=True,
        make=all_ones,
    ),
    Program(
        name="later-loss-summed",
        source="jax-ml/jax pull request 3113; wkentaro/pytorch-fcn issue 16",
        fault="The loss is summed over a batch of 256 at a rate for means.",
        accepted=frozenset({"rate-too-high", "diverged", "dead", "constant-output", "not-learning"}),
        cause=frozenset({"rate-too-high"}),
        mechanical=True,
        make=summed,
    ),
    Program(
        name="later-momentum-0.999",
        source="after a common question (Adam's second beta given as the momentum of SGD)",
        fault="Momentum 0.999 at rate 0.1: the velocity adds up a thousand gradients.",
        accepted=frozenset(
            {"rate-too-high", "unstable", "diverged", "dead", "constant-output", "not-learning"}
        ),
        cause=frozenset({"rate-too-high"}),
        mechanical=True,
        make=heavy_ball,
    ),
    Program(
        name="later-attention-unscaled",
        source="Vaswani et al. 2017, section 3.2.1, what the scale is for",
        fault="Products of queries and keys 256 wide go into the softmax undivided: it takes one of twelve, always.",
        accepted=frozenset({"attention-collapse", "saturated"}),
        cause=frozenset({"attention-collapse", "saturated"}),
        make=unscaled_attention,
    ),
    Program(
        name="later-unix-time",
        source="after a common question (dates as Unix time)",
        fault="A column of seconds since 1970 beside standard ones.",
        accepted=frozenset({"input-scale", "exploding", "dead", "constant-output", "not-learning"}),
        cause=frozenset({"input-scale"}),
        mechanical=True,
        make=unix_time,
    ),
    Program(
        name="later-targets-tiny",
        source="Arnekvist et al. 2020 (The effect of target normalization and momentum on dying ReLU)",
        fault="Targets of 0.0001: the net learns to be silent, and the rest of the loss has next to no gradient.",
        accepted=frozenset({"target-scale", "dead", "constant-output", "not-learning"}),
        cause=frozenset({"target-scale"}),
        mechanical=True,
        make=tiny_targets,
    ),
    Program(
        name="later-rate-of-fine-tuning",
        source="after a common question (BERT's 2e-5 for a net from scratch)",
        fault="A rate for fine-tuning, 2e-5, for a net that starts from nothing.",
        accepted=frozenset({"rate-too-low", "not-learning"}),
        cause=frozenset({"rate-too-low"}),
        mechanical=True,
        make=rate_of_fine_tuning,
    ),
    Program(
        name="later-transformer-rate",
        source="after a common question (a Transformer that says the same of everything)",
        fault="Adam at 0.05, without warm-up, for a Transformer with norms behind the sums.",
        accepted=frozenset({"rate-too-high", "constant-output", "not-learning"}),
        cause=frozenset({"rate-too-high"}),
        mechanical=True,
        make=transformer_rate,
    ),
    Program(
        name="later-vae-averaged-pixels",
        source="after a common question (squared error averaged over pixels, KL summed)",
        fault="The KL term outweighs the averaged error: the codes carry nothing and every output is the mean.",
        accepted=frozenset({"constant-output", "not-learning"}),
        cause=frozenset({"constant-output"}),
        mechanical=True,
        make=averaged_pixels,
    ),
    Program(
        name="later-sorted-rows",
        source="after a common question (data sorted by class, shuffle=False)",
        fault="The rows are sorted by class and never shuffled: each batch has one class, and the net knows the last.",
        accepted=frozenset({"unstable", "not-learning", "constant-output", "bad-targets"}),
        make=sorted_rows,
    ),
    Program(
        name="later-warm-up-in-integers",
        source="after a common slip (step // warm_up)",
        fault="The warm-up divides integers: the rate is 0 until the step at which it should have been reached.",
        accepted=frozenset({"rate-too-low", "not-learning"}),
        cause=frozenset({"rate-too-low"}),
        mechanical=True,
        make=never_warm(400),
    ),
)
