"""Faulty programs after those of the public collections DeepLocalize, DeepFD, AUTOTRAINER and DeepDiagnosis."""

from __future__ import annotations

import torch
from sklearn.datasets import load_breast_cancer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, Adam

from benchmarks.clinic.common import accuracy, digits, explained, standard
from benchmarks.clinic.program import Program, Setup


def _dense(fan_in: int, fan_out: int) -> nn.Linear:
    """A layer as Keras makes it: Glorot weights, biases 0."""
    layer = nn.Linear(fan_in, fan_out)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _he(fan_in: int, fan_out: int) -> nn.Linear:
    layer = _dense(fan_in, fan_out)
    nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
    return layer


def _circles(rows: int = 600) -> tuple[Tensor, Tensor]:
    """Points on two rings, one within the other."""
    angle = 2 * torch.pi * torch.rand(rows)
    labels = torch.arange(rows).remainder(2)
    ring = torch.stack((angle.cos(), angle.sin()), 1) * (1 - 0.5 * labels[:, None])
    return standard(ring + 0.05 * torch.randn(rows, 2)), labels


def _blobs(rows: int = 600) -> tuple[Tensor, Tensor]:
    """Points about three centres."""
    labels = torch.arange(rows).remainder(3)
    centres = torch.tensor([[0.0, 2.0], [-1.7, -1.0], [1.7, -1.0]])
    return standard(centres[labels] + 0.6 * torch.randn(rows, 2)), labels


def _binary_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy as Keras takes it, which does not ask whether the targets are 0 or 1."""
    share = outputs.clamp(1e-7, 1 - 1e-7)
    return -(targets * share.log() + (1 - targets) * (1 - share).log()).mean()


class _Exponential(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return z.exp()


class _Reader(nn.Module):
    """A recurrent net whose last state decides between two classes."""

    def __init__(self, inputs: int, units: int, activation: str) -> None:
        super().__init__()
        self.recurrent = nn.RNN(inputs, units, nonlinearity=activation, batch_first=True)
        self.out = nn.Linear(units, 2)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.recurrent(x)
        return self.out(states[:, -1])


def _exclusive_or(mended: bool) -> Setup:
    x = torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
    y = torch.tensor([[0.0], [1.0], [0.0], [1.0]])
    return Setup(
        model=nn.Sequential(_dense(2, 4), nn.Sigmoid(), _dense(4, 1), nn.Sigmoid()),
        x=x,
        y=y,
        criterion=nn.MSELoss(),
        optimizer=lambda p: Adam(p, lr=0.03) if mended else SGD(p, lr=0.05, momentum=0.11, nesterov=True),
        batch=4,
        steps=1000,
        score=explained(x, y),
    )


def _deep_sigmoid(mended: bool) -> Setup:
    x, labels = digits(1200)
    body: list[nn.Module] = [nn.Conv2d(1, 6, 3, padding=1), nn.Conv2d(6, 16, 3)]
    for layer in body:
        nn.init.kaiming_normal_(layer.weight)  # type: ignore[arg-type]
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    act = nn.ReLU if mended else nn.Sigmoid
    layers: list[nn.Module] = [body[0], act(), nn.MaxPool2d(2), body[1], act(), nn.Flatten()]
    for depth in range(8):
        layers += [_he(64 if depth == 0 else 48, 48), act()]
    return Setup(
        model=nn.Sequential(*layers, _he(48, 10)),
        x=x.view(-1, 1, 8, 8),
        y=labels,
        criterion=nn.CrossEntropyLoss(),
        optimizer=lambda p: SGD(p, lr=0.05),
        batch=32,
        steps=400,
        score=accuracy(x.view(-1, 1, 8, 8), labels),
    )


def _exponentials(mended: bool) -> Setup:
    x, labels = _blobs()
    layers: list[nn.Module] = []
    for depth in range(9):
        layers += [_he(2 if depth == 0 else 5, 5), nn.SELU() if mended else _Exponential()]
    return Setup(
        model=nn.Sequential(*layers, _he(5, 3)),
        x=x,
        y=labels,
        criterion=nn.CrossEntropyLoss(),
        optimizer=lambda p: Adam(p, lr=5e-3),
        batch=32,
        steps=300,
        score=accuracy(x, labels),
    )


def _small_uniform(mended: bool) -> Setup:
    x, labels = digits(1200)
    layers: list[nn.Module] = []
    for _ in range(14):
        layer = _he(64, 64)
        if not mended:
            nn.init.uniform_(layer.weight, -0.05, 0.05)
        layers += [layer, nn.ReLU()]
    last = _he(64, 10)
    if not mended:
        nn.init.uniform_(last.weight, -0.05, 0.05)
    return Setup(
        model=nn.Sequential(*layers, last),
        x=x,
        y=labels,
        criterion=nn.CrossEntropyLoss(),
        optimizer=lambda p: SGD(p, lr=0.02),
        batch=32,
        steps=600,
        score=accuracy(x, labels),
    )


def _raw_pixels(mended: bool) -> Setup:
    x, labels = digits(1200)
    if not mended:
        x = (x * 255).round()
    return Setup(
        model=nn.Sequential(_he(64, 128), nn.ReLU(), _he(128, 50), nn.ReLU(), _he(50, 10)),
        x=x,
        y=labels,
        criterion=nn.CrossEntropyLoss(),
        optimizer=lambda p: SGD(p, lr=0.1),
        batch=32,
        steps=400,
        score=accuracy(x, labels),
    )


def _keypoints(mended: bool) -> Setup:
    where = 6 * torch.rand(1000, 2) + 0.5
    grid = torch.stack(torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij"), -1).view(1, 64, 2)
    x = (-(grid - where[:, None]).square().sum(2) / 2).exp() + 0.05 * torch.rand(1000, 64)
    y = (where - 3.5) / 3.5
    rate = 1e-3 if mended else 0.1
    return Setup(
        model=nn.Sequential(
            _dense(64, 100), nn.ReLU(), _dense(100, 100), nn.ReLU(), _dense(100, 2), nn.Tanh()
        ),
        x=x,
        y=y,
        criterion=nn.MSELoss(),
        optimizer=lambda p: Adam(p, lr=rate),
        batch=32,
        steps=400,
        score=explained(x, y),
    )


def _three_in_one(mended: bool) -> Setup:
    labels = torch.arange(900).remainder(3)
    x = 0.15 * torch.rand(900, 3, 12, 12)
    for kind in range(3):
        rows, bar = labels == kind, torch.randint(3, 9, ())
        if kind == 0:
            x[rows, :, bar : bar + 2] += 0.6
        elif kind == 1:
            x[rows, :, :, bar : bar + 2] += 0.6
        else:
            x[rows, :, 3:9, 3:9] += 0.4
    x = (x + 0.1 * torch.randn(x.shape)).clamp(0, 1)
    ends = (_dense(32, 3),) if mended else (_dense(32, 1), nn.Sigmoid())
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3), nn.ReLU(), nn.Flatten(), _dense(144, 32),
        nn.ReLU(), *ends,
    )  # fmt: skip

    def right(model: nn.Module) -> float:
        found = model(x)
        return (labels == (found.argmax(1) if mended else (found[:, 0] > 0.5).long())).float().mean().item()

    return Setup(
        model=model,
        x=x,
        y=labels if mended else labels[:, None].float(),
        criterion=nn.CrossEntropyLoss() if mended else _binary_entropy,
        optimizer=lambda p: Adam(p, lr=1e-3),
        batch=16,
        steps=300,
        score=right,
    )


def _exploding_states(mended: bool) -> Setup:
    x = torch.randn(800, 40, 4)
    labels = (x[:, :, 0].mean(1) > 0).long()
    model = _Reader(4, 32, "relu")
    nn.init.orthogonal_(model.recurrent.weight_hh_l0, gain=1.0 if mended else 2.5)
    for name, value in model.recurrent.named_parameters():
        if "bias" in name:
            nn.init.zeros_(value)
    return Setup(
        model=model,
        x=x,
        y=labels,
        criterion=nn.CrossEntropyLoss(),
        optimizer=lambda p: Adam(p, lr=2e-3),
        batch=32,
        steps=400,
        score=accuracy(x, labels),
    )


def _forgetful(mended: bool) -> Setup:
    x = torch.randn(800, 40, 4)
    labels = (x[:, 0, 0] > 0).long()
    x[:, 1:] *= 0.1
    model = _Reader(4, 32, "tanh")
    nn.init.orthogonal_(model.recurrent.weight_hh_l0, gain=1.0 if mended else 0.25)
    return Setup(
        model=model,
        x=x,
        y=labels,
        criterion=nn.CrossEntropyLoss(),
        optimizer=lambda p: Adam(p, lr=1e-3),
        batch=32,
        steps=300,
        score=accuracy(x, labels),
    )


def _prices(mended: bool) -> Setup:
    x = torch.randn(1000, 9)
    worth = x @ torch.linspace(1, -0.5, 9)[:, None] + torch.relu(x[:, :1] + x[:, 1:2])
    y = 1_000_000 + 400_000 * standard(worth) + 40_000 * torch.randn(1000, 1)
    if mended:
        y = standard(y)
    return Setup(
        model=nn.Sequential(_dense(9, 20), nn.Tanh(), _dense(20, 20), nn.Tanh(), _dense(20, 1)),
        x=x,
        y=y,
        criterion=nn.MSELoss(),
        optimizer=lambda p: Adam(p, lr=5e-3),
        batch=32,
        steps=400,
        score=explained(x, y),
    )


def _oscillating(mended: bool) -> Setup:
    x, labels = _circles()
    rate = 0.05 if mended else 10.0
    return Setup(
        model=nn.Sequential(
            _dense(2, 16), nn.Tanh(), _dense(16, 16), nn.Tanh(), _dense(16, 16), nn.Tanh(), _dense(16, 2)
        ),
        x=x,
        y=labels,
        criterion=nn.CrossEntropyLoss(),
        optimizer=lambda p: SGD(p, lr=rate, momentum=0.9),
        batch=32,
        steps=400,
        score=accuracy(x, labels),
    )


def _dead_at_birth(mended: bool) -> Setup:
    x, labels = digits(1200)
    first = _he(64, 64)
    if not mended:
        nn.init.uniform_(first.weight, -0.2, 0.0)
    return Setup(
        model=nn.Sequential(first, nn.ReLU(), _he(64, 64), nn.ReLU(), _he(64, 10)),
        x=x,
        y=labels,
        criterion=nn.CrossEntropyLoss(),
        optimizer=lambda p: Adam(p, lr=1e-3),
        batch=32,
        steps=300,
        score=accuracy(x, labels),
    )


def _zeros(mended: bool) -> Setup:
    x, labels = digits(1200)
    layers = (_he(64, 64), _he(64, 64), _he(64, 10))
    if not mended:
        for layer in layers:
            nn.init.zeros_(layer.weight)
    return Setup(
        model=nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2]),
        x=x,
        y=labels,
        criterion=nn.CrossEntropyLoss(),
        optimizer=lambda p: Adam(p, lr=1e-3),
        batch=32,
        steps=300,
        score=accuracy(x, labels),
    )


def _slow_tumours(mended: bool) -> Setup:
    rows, kinds = load_breast_cancer(return_X_y=True)
    rate = 0.1 if mended else 1e-5
    return Setup(
        model=nn.Sequential(_dense(30, 16), nn.ReLU(), _dense(16, 8), nn.ReLU(), _dense(8, 1)),
        x=standard(torch.tensor(rows, dtype=torch.float32)),
        y=torch.tensor(kinds, dtype=torch.float32)[:, None],
        criterion=F.binary_cross_entropy_with_logits,
        optimizer=lambda p: SGD(p, lr=rate),
        batch=32,
        steps=400,
    )


PROGRAMS = (
    Program(
        name="xor-rate-0.05",
        source="DeepFD and DeepLocalize, Stack Overflow 31556268, with the squared error of DeepFD's form",
        fault="A rate of 0.05 for two sigmoid layers: after 1000 updates exclusive or is not begun.",
        accepted=frozenset({"rate-too-low", "not-learning"}),
        cause=frozenset({"rate-too-low"}),
        mechanical=True,
        make=_exclusive_or,
    ),
    Program(
        name="deep-sigmoid-convolutions",
        source="AUTOTRAINER, sigmoid LeNet on MNIST (in DeepDiagnosis model 2af630c4)",
        fault="Ten sigmoid layers, each of which shrinks the gradient to a quarter or less.",
        accepted=frozenset({"vanishing", "constant-output", "not-learning"}),
        cause=frozenset({"vanishing"}),
        make=_deep_sigmoid,
    ),
    Program(
        name="exponential-activations",
        source="AUTOTRAINER, blobs (in DeepDiagnosis model 0b6f114d)",
        fault="Nine layers with the exponential as activation: the numbers grow until they overflow.",
        accepted=frozenset({"exploding", "diverged"}),
        cause=frozenset({"exploding"}),
        make=_exponentials,
    ),
    Program(
        name="uniform-0.05-weights",
        source="AUTOTRAINER, deep LeNet on MNIST with uniform weights (in DeepDiagnosis tmp_lenet5)",
        fault="Weights drawn from -0.05 to 0.05 shrink signal and gradient at each of 14 ReLU layers.",
        accepted=frozenset({"vanishing", "constant-output", "not-learning"}),
        cause=frozenset({"vanishing"}),
        mechanical=True,
        make=_small_uniform,
    ),
    Program(
        name="pixels-to-255",
        source="DeepLocalize, Stack Overflow 55328966, at a usual rate",
        fault="Pixels from 0 to 255 go into the first layer as they are.",
        accepted=frozenset({"input-scale", "dead", "constant-output", "rate-too-high", "not-learning"}),
        cause=frozenset({"input-scale"}),
        mechanical=True,
        make=_raw_pixels,
    ),
    Program(
        name="keypoints-adam-0.1",
        source="DeepLocalize, GitHub project FacialKeypointsDetection",
        fault="Adam at a rate of 0.1 throws the weights about and saturates the tanh outputs.",
        accepted=frozenset({"rate-too-high", "saturated", "dead", "constant-output", "not-learning"}),
        cause=frozenset({"rate-too-high"}),
        mechanical=True,
        make=_keypoints,
    ),
    Program(
        name="three-classes-one-sigmoid",
        source="DeepLocalize, Stack Overflow 50079585",
        fault="Three classes, numbered 0 to 2, for one sigmoid unit with binary cross-entropy.",
        accepted=frozenset({"bad-targets", "output-mismatch"}),
        cause=frozenset({"bad-targets", "output-mismatch"}),
        make=_three_in_one,
    ),
    Program(
        name="recurrent-relu-explodes",
        source="after AUTOTRAINER's exploding gradients, recurrent nets",
        fault="Recurrent weights of gain 2.5 multiply the state at each of 40 steps.",
        accepted=frozenset({"exploding", "not-learning"}),
        cause=frozenset({"exploding"}),
        mechanical=True,
        make=_exploding_states,
    ),
    Program(
        name="recurrent-tanh-forgets",
        source="after AUTOTRAINER's vanishing gradients, recurrent nets",
        fault="Recurrent weights of gain 0.25 forget the first of 40 steps, which alone decides.",
        accepted=frozenset({"vanishing", "not-learning"}),
        cause=frozenset({"vanishing"}),
        mechanical=True,
        make=_forgetful,
    ),
    Program(
        name="prices-in-dollars",
        source="DeepLocalize, GitHub project kaggle-melbourne_properties",
        fault="The targets are about 1,000,000 and the outputs start at 0.",
        accepted=frozenset({"target-scale", "saturated", "not-learning"}),
        cause=frozenset({"target-scale"}),
        mechanical=True,
        make=_prices,
    ),
    Program(
        name="circles-oscillate",
        source="after AUTOTRAINER's oscillating loss, circles",
        fault="A rate of 10 with momentum: the loss jumps and the tanh layers saturate.",
        accepted=frozenset({"rate-too-high", "saturated", "not-learning"}),
        cause=frozenset({"rate-too-high"}),
        mechanical=True,
        make=_oscillating,
    ),
    Program(
        name="dead-at-birth",
        source="after AUTOTRAINER's dying ReLU",
        fault="The first layer's weights are all negative and the pixels are not: every ReLU is off for every sample.",
        accepted=frozenset({"dead", "no-gradient", "constant-output", "not-learning"}),
        cause=frozenset({"dead"}),
        make=_dead_at_birth,
    ),
    Program(
        name="weights-start-at-0",
        source="after DeepLocalize's and DeepFD's wrong initial weights",
        fault="All weights start at 0, so no layer but the last bias ever gets a gradient.",
        accepted=frozenset({"no-gradient", "constant-output", "dead", "not-learning"}),
        cause=frozenset({"no-gradient"}),
        mechanical=True,
        make=_zeros,
    ),
    Program(
        name="tumours-rate-1e-5",
        source="after DeepFD's seeded learning rates",
        fault="Plain gradient descent at a rate of 0.00001.",
        accepted=frozenset({"rate-too-low", "not-learning"}),
        cause=frozenset({"rate-too-low"}),
        mechanical=True,
        make=_slow_tumours,
    ),
)
