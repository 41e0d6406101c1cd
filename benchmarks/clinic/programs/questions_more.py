"""What PyTorch users ask when a network does not learn: rates, scales, weights and data, recurrent nets, a GAN."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam

from benchmarks.clinic.common import accuracy, digits, explained
from benchmarks.clinic.loop import batches
from benchmarks.clinic.program import Program, Setup
from benchmarks.clinic.programs.questions import adam, curves, halves, mlp, needles, sgd, sided


def salary(mended: bool) -> Setup:
    x, y = halves()
    income = 1.2e6 + 3e5 * torch.randn(len(y), 1).clamp(-3, 3)
    if mended:
        income = (income - income.mean()) / income.std()
    x = torch.cat([x, income], 1)
    return Setup(
        model=mlp(9, 32, 32, 1, activation=nn.Tanh), x=x, y=y, criterion=nn.BCEWithLogitsLoss(), optimizer=adam(5e-3),
        steps=300, score=sided(x, y),
    )  # fmt: skip


def bytes_in(mended: bool) -> Setup:
    x, y = digits(1500)
    if not mended:
        x = (255 * x).round()
    return Setup(
        model=mlp(64, 32, 32, 10, activation=nn.Tanh), x=x, y=y, criterion=nn.CrossEntropyLoss(), optimizer=sgd(0.1),
        steps=600, score=accuracy(x, y),
    )  # fmt: skip


def prices(mended: bool) -> Setup:
    x, y = curves()
    if not mended:
        y = 4e4 + 1e4 * y
    return Setup(
        model=mlp(6, 32, 32, 1),
        x=x,
        y=y,
        criterion=nn.MSELoss(),
        optimizer=adam(3e-3),
        steps=400,
        score=explained(x, y),
    )


def rate(optimizer: Callable[[bool], Any]) -> Callable[[bool], Setup]:
    def make(mended: bool) -> Setup:
        x, y = digits(1500)
        return Setup(
            model=mlp(64, 48, 48, 10), x=x, y=y, criterion=nn.CrossEntropyLoss(), optimizer=optimizer(mended),
            steps=300, score=accuracy(x, y),
        )  # fmt: skip

    return make


class Recurrent(nn.Module):
    """Reads a sequence, answers after its end."""

    def __init__(self, cell: nn.Module, hidden: int, outputs: int) -> None:
        super().__init__()
        self.cell, self.head = cell, nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(self.cell(x)[0][:, -1])
        return found


def first_symbol(length: int) -> tuple[Tensor, Tensor]:
    """Sequences of faint noise; the class is the symbol that the first step shows."""
    y = torch.randint(4, (512,))
    x = 0.1 * torch.randn(512, length, 4)
    x[torch.arange(512), 0, y] += 2
    return x, y


def long_rnn(mended: bool) -> Setup:
    x, y = first_symbol(80)
    cell = nn.RNN(4, 32, batch_first=True)
    if mended:
        nn.init.orthogonal_(cell.get_parameter("weight_hh_l0"))
    return Setup(
        model=Recurrent(cell, 32, 4), x=x, y=y, criterion=nn.CrossEntropyLoss(), optimizer=adam(1e-3), steps=200,
        score=accuracy(x, y),
    )  # fmt: skip


def forgetful(mended: bool) -> Setup:
    x, y = first_symbol(30)
    cell = nn.LSTM(4, 24, batch_first=True)
    with torch.no_grad():
        cell.get_parameter("bias_hh_l0").zero_()
        cell.get_parameter("bias_ih_l0")[24:48] = 5.0 if mended else -5.0
    return Setup(
        model=Recurrent(cell, 24, 4), x=x, y=y, criterion=nn.CrossEntropyLoss(), optimizer=adam(5e-3), steps=200,
        score=accuracy(x, y),
    )  # fmt: skip


def exploding_rnn(mended: bool) -> Setup:
    x, y = first_symbol(40)
    cell = nn.RNN(4, 24, nonlinearity="relu", batch_first=True)
    with torch.no_grad():
        cell.get_parameter("bias_ih_l0").zero_()
        cell.get_parameter("bias_hh_l0").zero_()
        cell.get_parameter("weight_hh_l0").copy_(1.05 * torch.eye(24))

    def loop(setup: Setup, recorder: Any) -> None:
        optimizer = setup.optimizer(setup.model.parameters())
        rows = batches(setup)
        for _ in range(setup.steps):
            chosen = next(rows)
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(setup.model(x[chosen]), y[chosen])
            loss.backward()
            if mended:
                nn.utils.clip_grad_norm_(setup.model.parameters(), 0.5)
            recorder.step(loss=loss, optimizer=optimizer)
            optimizer.step()

    return Setup(
        model=Recurrent(cell, 24, 4), x=x, y=y, criterion=nn.CrossEntropyLoss(), optimizer=sgd(0.05), steps=300,
        loop=loop, score=accuracy(x, y),
    )  # fmt: skip


def zero_weights(mended: bool) -> Setup:
    x, y = digits(1500)
    model = mlp(64, 48, 48, 10)
    if not mended:
        for parameter in model.parameters():
            nn.init.zeros_(parameter)
    return Setup(
        model=model,
        x=x,
        y=y,
        criterion=nn.CrossEntropyLoss(),
        optimizer=sgd(0.1),
        steps=400,
        score=accuracy(x, y),
    )


def unit_weights(mended: bool) -> Setup:
    x, y = needles(features=60, classes=6)
    model = mlp(60, 256, 256, 256, 256, 6, activation=nn.Tanh)
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5 if mended else 1.0)
            nn.init.zeros_(layer.bias)
    return Setup(
        model=model,
        x=x,
        y=y,
        criterion=nn.CrossEntropyLoss(),
        optimizer=sgd(0.05),
        steps=300,
        score=accuracy(x, y),
    )


def decayed(mended: bool) -> Setup:
    x, y = digits(1500)
    return Setup(
        model=mlp(64, 48, 48, 10), x=x, y=y, criterion=nn.CrossEntropyLoss(), steps=300, score=accuracy(x, y),
        optimizer=sgd(0.1, weight_decay=1e-4 if mended else 1.0),
    )  # fmt: skip


def shuffled(mended: bool) -> Setup:
    x, y = digits(1500)
    if not mended:
        y = y[torch.randperm(len(y))]
    return Setup(
        model=mlp(64, 16, 10), x=x, y=y, criterion=nn.CrossEntropyLoss(), optimizer=adam(3e-3), steps=300,
        score=accuracy(x, y),
    )  # fmt: skip


def one_class(mended: bool) -> Setup:
    x, kinds = digits(1500)
    truth = (kinds >= 5).float().unsqueeze(1)
    y = truth if mended else (kinds >= 50).float().unsqueeze(1)
    return Setup(
        model=mlp(64, 32, 1), x=x, y=y, criterion=nn.BCEWithLogitsLoss(), optimizer=adam(3e-3), steps=300,
        score=sided(x, truth),
    )  # fmt: skip


def constant_column(mended: bool) -> Setup:
    x, y = digits(1500)  # whose first column is always 0
    spread = x.std(0)
    x = (x - x.mean(0)) / (spread.clamp(min=0.05) if mended else spread)
    return Setup(
        model=mlp(64, 32, 10), x=x, y=y, criterion=nn.CrossEntropyLoss(), optimizer=adam(3e-3), steps=200,
        score=accuracy(x, y),
    )  # fmt: skip


class Residual(nn.Module):
    def __init__(self, blocks: int, factor: float) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(8, 32), nn.Linear(32, 1)
        branches = [mlp(32, 32, 32) for _ in range(blocks)]
        self.blocks = nn.ModuleList(branches)
        for branch in branches:
            for layer in branch:
                if isinstance(layer, nn.Linear):
                    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                    nn.init.zeros_(layer.bias)
            with torch.no_grad():
                branch[2].get_parameter("weight").mul_(factor)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for block in self.blocks:
            x = x + block(x)
        found: Tensor = self.last(x)
        return found


def deep_residual(mended: bool) -> Setup:
    x, y = curves(features=8)
    return Setup(
        model=Residual(20, 0.1 if mended else 1.0), x=x, y=y, criterion=nn.MSELoss(), optimizer=sgd(0.02), steps=300,
        score=explained(x, y),
    )  # fmt: skip


class Adversaries(nn.Module):
    """What the discriminator says of what the generator makes."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = mlp(4, 32, 32, 2)
        self.discriminator = nn.Sequential(mlp(2, 32, 32, 1), nn.Sigmoid())

    def forward(self, z: Tensor) -> Tensor:
        found: Tensor = self.discriminator(self.generator(z))
        return found


def gan(mended: bool) -> Setup:
    z, ones = torch.randn(1024, 4), torch.ones(1024, 1)
    real = 0.5 * torch.randn(1024, 2) + torch.tensor([6.0, -6.0])
    model = Adversaries()

    def saturating(outputs: Tensor, targets: Tensor) -> Tensor:
        return (targets * torch.log(1 - outputs + 1e-8)).mean()

    criterion = nn.BCELoss() if mended else saturating

    def loop(setup: Setup, recorder: Any) -> None:
        generator = SGD(model.generator.parameters(), lr=0.05)
        discriminator = Adam(model.discriminator.parameters(), lr=2e-3, betas=(0.5, 0.999))
        tell = nn.BCELoss()
        for _ in range(setup.steps):
            chosen = torch.randint(1024, (64,))
            discriminator.zero_grad()
            said, true = model(z[chosen]), model.discriminator(real[chosen])
            loss = tell(true, ones[:64]) + tell(said, 0 * ones[:64])
            loss.backward()
            recorder.step(loss=loss, optimizer=discriminator)
            discriminator.step()
            generator.zero_grad()
            loss = criterion(model(z[chosen]), ones[:64])
            loss.backward()
            recorder.step(loss=loss, optimizer=generator)
            generator.step()

    return Setup(
        model=model, x=z, y=None, criterion=None, optimizer=adam(1e-3), steps=300, loop=loop,
        score=lambda net: -float((net.generator(z).mean(0) - real.mean(0)).norm()),  # type: ignore[operator]
    )  # fmt: skip


PROGRAMS = (
    Program(
        name="question-column-in-millions",
        source="after a common question",
        fault="One column is in the millions: it alone decides the first tanh layer, whose units are all at -1 or 1.",
        accepted=frozenset(
            {"input-scale", "saturated", "vanishing", "no-gradient", "constant-output", "not-learning"}
        ),
        cause=frozenset({"input-scale"}),
        mechanical=True,
        make=salary,
    ),
    Program(
        name="question-pixels-to-255",
        source="after a common question",
        fault="Pixels of 0 to 255 into a tanh layer with weights for inputs of size 1.",
        accepted=frozenset({"input-scale", "saturated", "vanishing", "not-learning"}),
        cause=frozenset({"input-scale"}),
        mechanical=True,
        make=bytes_in,
    ),
    Program(
        name="question-prices-unscaled",
        source="after a common question",
        fault="Regression targets of about 40,000, left as they are.",
        accepted=frozenset({"target-scale", "not-learning"}),
        cause=frozenset({"target-scale"}),
        mechanical=True,
        make=prices,
    ),
    Program(
        name="question-sgd-rate-10",
        source="after a common question",
        fault="SGD at rate 10.",
        accepted=frozenset({"rate-too-high", "dead", "constant-output", "no-gradient", "not-learning"}),
        cause=frozenset({"rate-too-high"}),
        mechanical=True,
        make=rate(lambda mended: sgd(0.1 if mended else 10.0)),
    ),
    Program(
        name="question-adam-rate-half",
        source="after a common question",
        fault="Adam at rate 0.5.",
        accepted=frozenset({"rate-too-high", "dead", "constant-output", "no-gradient", "not-learning"}),
        cause=frozenset({"rate-too-high"}),
        mechanical=True,
        make=rate(lambda mended: adam(0.003 if mended else 0.5)),
    ),
    Program(
        name="question-rate-1e-7",
        source="after a common question",
        fault="Adam at rate 1e-7.",
        accepted=frozenset({"rate-too-low", "not-learning"}),
        cause=frozenset({"rate-too-low"}),
        mechanical=True,
        make=rate(lambda mended: adam(0.003 if mended else 1e-7)),
    ),
    Program(
        name="question-rnn-of-80-steps",
        source="after a common question",
        fault="What tells the class is 80 steps back, and the recurrent weights let the gradient vanish long before.",
        accepted=frozenset({"vanishing", "not-learning"}),
        cause=frozenset({"vanishing"}),
        mechanical=True,
        make=long_rnn,
    ),
    Program(
        name="question-lstm-forget-bias",
        source="after a common question",
        fault="The forget gate's bias starts at -5 in place of 5: the state is lost at every step.",
        accepted=frozenset({"vanishing", "saturated", "not-learning"}),
        cause=frozenset({"vanishing"}),
        make=forgetful,
    ),
    Program(
        name="question-relu-rnn-explodes",
        source="after a common question",
        fault="A ReLU RNN with recurrent weights of 1.05 times the identity, without clipping: the gradient explodes.",
        accepted=frozenset({"exploding", "diverged", "rate-too-high"}),
        cause=frozenset({"exploding"}),
        mechanical=True,
        make=exploding_rnn,
    ),
    Program(
        name="question-zero-weights",
        source="after a common question",
        fault="All weights start at 0: every ReLU gives 0 and only the last bias gets a gradient.",
        accepted=frozenset({"no-gradient", "constant-output", "dead", "not-learning"}),
        cause=frozenset({"no-gradient", "constant-output"}),
        mechanical=True,
        make=zero_weights,
    ),
    Program(
        name="question-unit-normal-weights",
        source="after a common question",
        fault="Weights from N(0, 1) in tanh layers 256 wide: every unit saturates, gradients grow from layer to layer.",
        accepted=frozenset({"saturated", "exploding"}),
        cause=frozenset({"saturated", "exploding"}),
        mechanical=True,
        make=unit_weights,
    ),
    Program(
        name="question-weight-decay-1",
        source="after a common question",
        fault="Weight decay of 1.0 at rate 0.1 takes a tenth of every weight at each step, until nothing passes.",
        accepted=frozenset({"vanishing", "underflow", "constant-output", "not-learning"}),
        cause=frozenset({"vanishing"}),
        make=decayed,
    ),
    Program(
        name="question-shuffled-labels",
        source="after a common question",
        fault="The labels were shuffled without the inputs.",
        accepted=frozenset({"not-learning"}),
        cause=frozenset(),
        make=shuffled,
    ),
    Program(
        name="question-labels-of-one-class",
        source="after a common question",
        fault="A wrong border makes every label 0.",
        accepted=frozenset({"bad-targets"}),
        cause=frozenset({"bad-targets"}),
        make=one_class,
    ),
    Program(
        name="question-constant-column",
        source="mllam/neural-lam issue 136; deeplearning4j issue 1646, the slip in PyTorch",
        fault="Standardised by a spread of 0: a constant column becomes 0 / 0.",
        accepted=frozenset({"input-scale", "diverged"}),
        cause=frozenset({"input-scale"}),
        make=constant_column,
    ),
    Program(
        name="question-residual-without-norm",
        source="after a common question",
        fault="Twenty residual blocks with He weights and no normalisation: the signal grows with each block.",
        accepted=frozenset({"exploding", "diverged"}),
        cause=frozenset({"exploding"}),
        mechanical=True,
        make=deep_residual,
    ),
    Program(
        name="question-gan-saturates",
        source="Data Science Stack Exchange 104930, with points in place of pictures",
        fault="The generator minimises log(1 - D), whose gradient is gone as soon as the discriminator is sure.",
        accepted=frozenset({"saturated", "vanishing"}),
        cause=frozenset({"saturated", "vanishing"}),
        mechanical=True,
        make=gan,
    ),
)
