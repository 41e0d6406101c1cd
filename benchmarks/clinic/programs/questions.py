"""What PyTorch users ask when a network does not learn: gradients that do not arrive, outputs that do not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import Parameter
from torch.optim import SGD, Adam, Optimizer

from benchmarks.clinic.common import accuracy, digits, explained
from benchmarks.clinic.loop import batches
from benchmarks.clinic.program import Program, Setup


def adam(rate: float, **more: Any) -> Callable[[Iterable[Parameter]], Optimizer]:
    return lambda parameters: Adam(parameters, lr=rate, **more)


def sgd(rate: float, **more: Any) -> Callable[[Iterable[Parameter]], Optimizer]:
    return lambda parameters: SGD(parameters, lr=rate, **more)


def needles(rows: int = 1500, features: int = 100, classes: int = 4) -> tuple[Tensor, Tensor]:
    """Classes told by four of many standard normal columns, and by nothing else."""
    x = torch.randn(rows, features)
    corners = torch.randn(classes, 4)
    return x, (x[:, :4] @ corners.T + 0.3 * torch.randn(rows, classes)).argmax(1)


def curves(rows: int = 1000, features: int = 6) -> tuple[Tensor, Tensor]:
    """A smooth function of standard normal columns, and its standardised values, [sample, 1]."""
    x = torch.randn(rows, features)
    y = torch.sin(1.5 * x[:, 0]) + 0.5 * x[:, 1] * x[:, 2] + x[:, 3] + 0.1 * torch.randn(rows)
    return x, ((y - y.mean()) / y.std()).unsqueeze(1)


def halves(rows: int = 1000, features: int = 8) -> tuple[Tensor, Tensor]:
    """Two classes on either side of a bent border, 0.0 or 1.0, [sample, 1]; a third of them are ones."""
    x = torch.randn(rows, features)
    height = x[:, 0] + x[:, 1] * x[:, 2] + 0.5 * x[:, 3]
    return x, (height > height.quantile(0.67)).float().unsqueeze(1)


def sided(x: Tensor, y: Tensor, border: float = 0.0) -> Callable[[nn.Module], float]:
    """Accuracy with two classes and one output, which is a one above `border`."""
    return lambda model: float(((model(x) > border) == (y > 0.5)).float().mean())


def mlp(*widths: int, activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), activation()]
    return nn.Sequential(*layers[:-1])


class Encoded(nn.Module):
    """An encoder and a head, with what its author put between them."""

    def __init__(self, encoder: nn.Module, head: nn.Module, between: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.encoder, self.head, self.between = encoder, head, between

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(self.between(self.encoder(x)))
        return found


def detached(mended: bool) -> Setup:
    x, y = digits(1500)
    encoder = nn.Sequential(mlp(64, 32, 8), nn.Tanh())
    model = Encoded(encoder, mlp(8, 32, 10), (lambda h: h) if mended else (lambda h: h.detach()))
    return Setup(
        model=model,
        x=x,
        y=y,
        criterion=nn.CrossEntropyLoss(),
        optimizer=adam(5e-3),
        steps=400,
        score=accuracy(x, y),
    )


class Spectrum(nn.Module):
    """Mixes sensors to a few channels and tells the class from their spectrum."""

    def __init__(self, through_numpy: bool) -> None:
        super().__init__()
        self.mix = nn.Linear(16, 2)
        self.head = mlp(2 * 17, 32, 3)
        self.through_numpy = through_numpy

    def forward(self, x: Tensor) -> Tensor:
        channels = self.mix(x).transpose(1, 2)
        if self.through_numpy:
            channels = torch.tensor(channels.tolist())
        found: Tensor = self.head(torch.fft.rfft(channels).abs().flatten(1) / 4)
        return found


def rebuilt(mended: bool) -> Setup:
    classes = torch.randint(3, (900,))
    time = torch.arange(32) / 32
    tones = torch.sin(2 * torch.pi * (3 + 3 * classes)[:, None] * time + 6.28 * torch.rand(900, 1))
    x = torch.randn(900, 32, 16)
    x[:, :, 2] += 1.5 * tones
    return Setup(
        model=Spectrum(through_numpy=not mended), x=x, y=classes, criterion=nn.CrossEntropyLoss(), optimizer=adam(1e-2),
        steps=300, score=accuracy(x, classes),
    )  # fmt: skip


class Pictures(nn.Module):
    """A small convolutional network whose author copied the call of its features from a script for evaluation."""

    def __init__(self, without_grad: bool) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(),
            nn.Conv2d(16, 12, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        )  # fmt: skip
        self.classifier = nn.Linear(12, 10)
        self.without_grad = without_grad

    def forward(self, x: Tensor) -> Tensor:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.without_grad):
            h = self.features(x)
        found: Tensor = self.classifier(h)
        return found


def no_grad(mended: bool) -> Setup:
    x, y = digits(1500)
    x = (x.view(-1, 1, 8, 8) - 0.3) / 0.38
    return Setup(
        model=Pictures(without_grad=not mended), x=x, y=y, criterion=nn.CrossEntropyLoss(), optimizer=adam(5e-3),
        batch=32, steps=400, score=accuracy(x, y),
    )  # fmt: skip


def head_only(mended: bool) -> Setup:
    x, y = needles()
    model = mlp(100, 32, 16, 4)
    return Setup(
        model=model, x=x, y=y, criterion=nn.CrossEntropyLoss(), steps=300, score=accuracy(x, y),
        optimizer=adam(3e-3) if mended else lambda _: Adam(model[-1].parameters(), lr=3e-3),
    )  # fmt: skip


def replaced(mended: bool) -> Setup:
    x, y = needles()
    model = mlp(60, 24, 24, 4)
    early = list(model.parameters())
    model[0] = nn.Linear(100, 24)  # the data have 100 columns, the model that was taken over had 60
    return Setup(
        model=model, x=x, y=y, criterion=nn.CrossEntropyLoss(), steps=300, score=accuracy(x, y),
        optimizer=adam(3e-3) if mended else lambda _: Adam(early, lr=3e-3),
    )  # fmt: skip


class Listed(nn.Module):
    def __init__(self, registered: bool) -> None:
        super().__init__()
        layers = [nn.Linear(100, 24), nn.Linear(24, 24), nn.Linear(24, 12)]
        self.layers = nn.ModuleList(layers) if registered else layers
        self.last = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.relu(layer(x))
        found: Tensor = self.last(x)
        return found


def listed(mended: bool) -> Setup:
    x, y = needles()
    return Setup(
        model=Listed(registered=mended), x=x, y=y, criterion=nn.CrossEntropyLoss(), optimizer=adam(3e-3), steps=300,
        score=accuracy(x, y),
    )  # fmt: skip


def frozen(mended: bool) -> Setup:
    x, y = digits(1500)
    model = nn.Sequential(mlp(64, 48, 24, 6, activation=nn.Tanh), nn.Tanh(), nn.Linear(6, 10))
    model[0].requires_grad_(mended)  # frozen as for fine-tuning, but nothing was ever loaded into it
    return Setup(
        model=model,
        x=x,
        y=y,
        criterion=nn.CrossEntropyLoss(),
        optimizer=adam(5e-3),
        steps=400,
        score=accuracy(x, y),
    )


def never_zeroed(mended: bool) -> Setup:
    x, y = curves()

    def loop(setup: Setup, recorder: Any) -> None:
        optimizer = setup.optimizer(setup.model.parameters())
        rows = batches(setup)
        for _ in range(setup.steps):
            chosen = next(rows)
            if mended:
                optimizer.zero_grad()
            loss = nn.functional.mse_loss(setup.model(x[chosen]), y[chosen])
            loss.backward()
            recorder.step(loss=loss, optimizer=optimizer)
            optimizer.step()

    return Setup(
        model=mlp(6, 32, 32, 1, activation=nn.Tanh), x=x, y=y, criterion=nn.MSELoss(), optimizer=sgd(0.05), steps=500,
        loop=loop, score=explained(x, y),
    )  # fmt: skip


def double_softmax(mended: bool) -> Setup:
    x, y = digits(1500)
    model = mlp(64, 64, 64, 10)
    if not mended:
        model.append(nn.Softmax(dim=1))
    return Setup(
        model=model,
        x=x,
        y=y,
        criterion=nn.CrossEntropyLoss(),
        optimizer=sgd(0.1),
        steps=400,
        score=accuracy(x, y),
    )


def double_sigmoid(mended: bool) -> Setup:
    x, y = halves()
    model = mlp(8, 32, 32, 1)
    if not mended:
        model.append(nn.Sigmoid())
    return Setup(
        model=model,
        x=x,
        y=y,
        criterion=nn.BCEWithLogitsLoss(),
        optimizer=adam(5e-3),
        steps=400,
        score=sided(x, y),
    )


def nll_on_logits(mended: bool) -> Setup:
    x, y = needles()
    model = mlp(100, 48, 24, 4)
    if mended:
        model.append(nn.LogSoftmax(dim=1))
    return Setup(
        model=model, x=x, y=y, criterion=nn.NLLLoss(), optimizer=adam(2e-3), steps=300, score=accuracy(x, y)
    )


def signs_for_bce(mended: bool) -> Setup:
    x, ones = halves()
    ones = torch.where(torch.rand_like(ones) < 0.1, 1 - ones, ones)  # a tenth of the labels is noise
    y = 1 - ones  # two thirds are ones
    return Setup(
        model=mlp(8, 16, 1), x=x, y=y if mended else 2 * y - 1, criterion=nn.BCEWithLogitsLoss(), optimizer=adam(5e-3),
        steps=400, score=sided(x, y),
    )  # fmt: skip


def one_class_softmax(mended: bool) -> Setup:
    x, y = halves()
    return Setup(
        model=mlp(8, 32, 16, 1), x=x, y=y, optimizer=adam(5e-3), steps=300, score=sided(x, y),
        criterion=nn.BCEWithLogitsLoss() if mended else nn.CrossEntropyLoss(),
    )  # fmt: skip


def _errors(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs.argmax(1) != targets).float().mean().requires_grad_()


def counted_errors(mended: bool) -> Setup:
    x, y = digits(1500)
    return Setup(
        model=mlp(64, 48, 10), x=x, y=y, criterion=nn.CrossEntropyLoss() if mended else _errors, optimizer=adam(3e-3),
        steps=300, score=accuracy(x, y),
    )  # fmt: skip


class Rounded(nn.Module):
    def __init__(self, rounding: bool) -> None:
        super().__init__()
        self.layers = mlp(8, 32, 32, 1)
        self.rounding = rounding

    def forward(self, x: Tensor) -> Tensor:
        found = torch.sigmoid(self.layers(x))
        return torch.round(found) if self.rounding else found


def rounded(mended: bool) -> Setup:
    x, y = halves()
    return Setup(
        model=Rounded(rounding=not mended), x=x, y=y, criterion=nn.MSELoss(), optimizer=adam(5e-3), steps=400,
        score=sided(x, y, border=0.5),
    )  # fmt: skip


def _squares(outputs: Tensor, targets: Tensor) -> Tensor:
    return ((outputs - targets) ** 2).mean()


def broadcast(mended: bool) -> Setup:
    x, y = curves()
    return Setup(
        model=mlp(6, 48, 48, 1), x=x, y=y if mended else y.squeeze(1), criterion=_squares, optimizer=adam(5e-3),
        steps=400, score=explained(x, y),
    )  # fmt: skip


def relu_output(mended: bool) -> Setup:
    x, y = curves()
    y = 0.5 * y - 1.5  # degrees below zero
    model = mlp(6, 32, 32, 1)
    if not mended:
        model.append(nn.ReLU())
    return Setup(
        model=model, x=x, y=y, criterion=nn.MSELoss(), optimizer=adam(5e-3), steps=400, score=explained(x, y)
    )


def tanh_marks(mended: bool) -> Setup:
    x, y = curves()
    y = (25 + 10 * y).clamp(0, 50)
    model = mlp(6, 32, 32, 1, activation=nn.Tanh)
    if not mended:
        model.append(nn.Tanh())
    reached = y if not mended else (y - 25) / 10
    return Setup(
        model=model,
        x=x,
        y=reached,
        criterion=nn.MSELoss(),
        optimizer=adam(5e-3),
        steps=400,
        score=explained(x, reached),
    )


def log_of_zero(mended: bool) -> Setup:
    x, y = halves()
    x[:, 0] += 4 * (2 * y[:, 0] - 1)  # easily told

    def criterion(outputs: Tensor, targets: Tensor) -> Tensor:
        p = torch.sigmoid(outputs)
        if mended:
            p = p.clamp(1e-6, 1 - 1e-6)
        return -(targets * torch.log(p) + (1 - targets) * torch.log(1 - p)).mean()

    return Setup(
        model=mlp(8, 32, 32, 1),
        x=x,
        y=y,
        criterion=criterion,
        optimizer=adam(1e-2),
        steps=400,
        score=sided(x, y),
    )


PROGRAMS = (
    Program(
        name="question-detached-code",
        source="after a common question",
        fault="The code between encoder and head is detached, so the encoder never trains.",
        accepted=frozenset({"no-gradient"}),
        cause=frozenset({"no-gradient"}),
        make=detached,
    ),
    Program(
        name="question-rebuilt-tensor",
        source="after a common question (a new tensor made from the values of an old one; cf. isayev/ReLeaSE issue 39)",
        fault="The channels are made into a new tensor in the middle of forward, so the layer before never trains.",
        accepted=frozenset({"no-gradient"}),
        cause=frozenset({"no-gradient"}),
        make=rebuilt,
    ),
    Program(
        name="question-no-grad-features",
        source="after a common question (cf. Stack Overflow 74816476, a part of the model under no_grad)",
        fault="The features are calculated under no_grad, so only the classifier trains, on random features.",
        accepted=frozenset({"no-gradient"}),
        cause=frozenset({"no-gradient"}),
        make=no_grad,
    ),
    Program(
        name="question-optimizer-has-head-only",
        source="zjunlp/HVPNeT issue 5, the same slip with the lower layers left out",
        fault="The optimiser was given the last layer's parameters only.",
        accepted=frozenset({"no-gradient"}),
        cause=frozenset({"no-gradient"}),
        make=head_only,
    ),
    Program(
        name="question-layer-replaced-later",
        source="pytorch/pytorch issue 14467, after the question",
        fault="The first layer was replaced after the optimiser had been built, so the new one never trains.",
        accepted=frozenset({"no-gradient"}),
        cause=frozenset({"no-gradient"}),
        make=replaced,
    ),
    Program(
        name="question-plain-list",
        source="pytorch/pytorch issues 666 and 59925",
        fault="The hidden layers stand in a plain list: parameters() does not name them and the optimiser lacks them.",
        accepted=frozenset({"no-gradient"}),
        cause=frozenset({"no-gradient"}),
        make=listed,
    ),
    Program(
        name="question-frozen-backbone",
        source="after a common question",
        fault="The backbone is frozen at its random initial weights.",
        accepted=frozenset({"no-gradient"}),
        cause=frozenset({"no-gradient"}),
        make=frozen,
    ),
    Program(
        name="question-never-zeroed",
        source="Cross Validated 376851 and yastrebksv/TennisCourtDetector issue 7, the slip with an MLP",
        fault="Gradients are never zeroed: each step is along the sum of all gradients so far.",
        accepted=frozenset({"unstable", "diverged", "rate-too-high", "saturated", "not-learning"}),
        cause=frozenset(),
        make=never_zeroed,
    ),
    Program(
        name="question-softmax-before-cross-entropy",
        source="PyTorch forum 43814; shaoxiongji/federated-learning issue 9",
        fault="Softmax before CrossEntropyLoss, which has its own.",
        accepted=frozenset({"output-mismatch"}),
        cause=frozenset({"output-mismatch"}),
        make=double_softmax,
    ),
    Program(
        name="question-sigmoid-before-logits-loss",
        source="after a common question",
        fault="A sigmoid before BCEWithLogitsLoss: no logit can be below 0, so every sample is called a one.",
        accepted=frozenset({"output-mismatch"}),
        cause=frozenset({"output-mismatch"}),
        make=double_sigmoid,
    ),
    Program(
        name="question-nll-on-logits",
        source="after a common question",
        fault="NLLLoss on outputs without LogSoftmax: the loss falls without bound.",
        accepted=frozenset({"output-mismatch", "diverged"}),
        cause=frozenset({"output-mismatch"}),
        mechanical=True,
        make=nll_on_logits,
    ),
    Program(
        name="question-signs-for-bce",
        source="after a common question",
        fault="Targets of -1 and 1 where BCEWithLogitsLoss takes 0 to 1: the loss falls without bound.",
        accepted=frozenset({"bad-targets", "output-mismatch", "diverged"}),
        cause=frozenset({"bad-targets", "output-mismatch"}),
        make=signs_for_bce,
    ),
    Program(
        name="question-cross-entropy-of-one-output",
        source="after a common question (the loss is always 0)",
        fault="CrossEntropyLoss over a single output: its softmax is 1 whatever the output, the loss 0.",
        accepted=frozenset({"output-mismatch", "no-gradient", "not-learning"}),
        cause=frozenset({"output-mismatch", "no-gradient"}),
        mechanical=True,
        make=one_class_softmax,
    ),
    Program(
        name="question-loss-of-argmax",
        source="after a common question (requires_grad set on a loss to silence the error)",
        fault="The loss counts wrong argmax values; it has no gradient, and requires_grad_() hides the error message.",
        accepted=frozenset({"no-gradient", "output-mismatch", "not-learning"}),
        cause=frozenset({"no-gradient"}),
        mechanical=True,
        make=counted_errors,
    ),
    Program(
        name="question-rounded-output",
        source="after a common question",
        fault="The output is rounded to 0 or 1 before the loss: every gradient is exactly 0.",
        accepted=frozenset({"no-gradient", "not-learning"}),
        cause=frozenset({"no-gradient"}),
        make=rounded,
    ),
    Program(
        name="question-broadcast-squares",
        source="deepset-ai/FARM issue 229; Photon-AI-Research/NeuralSolvers issue 20",
        fault="Outputs [N, 1] less targets [N] are [N, N]: each output is drawn to every target, to their mean.",
        accepted=frozenset({"output-mismatch", "constant-output", "not-learning"}),
        cause=frozenset({"output-mismatch"}),
        make=broadcast,
    ),
    Program(
        name="question-relu-output-for-negatives",
        source="after a common question",
        fault="A ReLU after the last layer, where nearly all targets are negative.",
        accepted=frozenset({"output-mismatch", "dead", "no-gradient", "constant-output", "not-learning"}),
        cause=frozenset({"output-mismatch"}),
        make=relu_output,
    ),
    Program(
        name="question-tanh-output-for-marks",
        source="after a question on marks out of 50 of which every prediction is the same",
        fault="A tanh output, in -1 to 1, for targets of 0 to 50.",
        accepted=frozenset(
            {"output-mismatch", "target-scale", "saturated", "constant-output", "not-learning"}
        ),
        cause=frozenset({"output-mismatch", "target-scale"}),
        make=tanh_marks,
    ),
    Program(
        name="question-log-of-zero",
        source="mkocabas/focal-loss-keras issue 17; skorch-dev/skorch issue 481",
        fault="A hand-written binary cross-entropy takes the log of a probability that reaches 0 or 1: 0 times -inf.",
        accepted=frozenset({"diverged", "saturated"}),
        cause=frozenset({"saturated"}),
        mechanical=True,
        make=log_of_zero,
    ),
)
