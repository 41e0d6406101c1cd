"""The causes that people meet most often: outputs and criteria that do not fit, and gradients that do not arrive.

What the other files have already (softmax before cross-entropy, gradients never zeroed, a rate of 10 ...) is not here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam

from benchmarks.clinic.common import accuracy, centred, digits, explained, update
from benchmarks.clinic.loop import batches
from benchmarks.clinic.program import Program, Setup
from benchmarks.clinic.programs.questions import Encoded, adam, curves, halves, mlp, sgd, sided


def of_digits(model: nn.Module, criterion: Any = None, **more: Any) -> Setup:
    """Ten classes of handwritten digits."""
    x, y = digits(1000)
    x = centred(x)
    options = {"optimizer": adam(3e-3), "steps": 250, "score": accuracy(x, y)} | more
    return Setup(model=model, x=x, y=y, criterion=criterion or nn.CrossEntropyLoss(), **options)


def of_numbers(model: nn.Module, criterion: Any = None, **more: Any) -> Setup:
    """A smooth function of six columns."""
    x, y = curves()
    options = {"optimizer": adam(5e-3), "steps": 250, "score": explained(x, y)} | more
    return Setup(model=model, x=x, y=y, criterion=criterion or nn.MSELoss(), **options)


class Then(nn.Module):
    """A net, and a function of its outputs."""

    def __init__(self, net: nn.Module, last: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.net, self.last = net, last

    def forward(self, *x: Tensor) -> Tensor:
        return self.last(self.net(*x))


# -- outputs, criteria and targets


def double_softmax(mended: bool) -> Setup:
    last = nn.Identity() if mended else nn.Softmax(dim=1)
    return of_digits(
        nn.Sequential(mlp(64, 32, 10), last),
        lambda out, y: F.nll_loss(F.log_softmax(out, dim=1), y),
        optimizer=sgd(0.05, momentum=0.9),
    )


def softmax_over_samples(mended: bool) -> Setup:
    return of_digits(nn.Sequential(mlp(64, 32, 10), nn.LogSoftmax(dim=1 if mended else 0)), nn.NLLLoss())


def tanh_on_logits(mended: bool) -> Setup:
    model = mlp(64, 32, 10)
    return of_digits(model if mended else model.append(nn.Tanh()))


def sigmoid_on_logits(mended: bool) -> Setup:
    model = mlp(64, 32, 10)
    return of_digits(model if mended else model.append(nn.Sigmoid()))


def relu_before_logits_loss(mended: bool) -> Setup:
    x, y = halves()
    model = mlp(8, 32, 1)
    return Setup(
        model=model if mended else model.append(nn.ReLU()), x=x, y=y, criterion=nn.BCEWithLogitsLoss(),
        optimizer=adam(3e-3), steps=300, score=sided(x, y),
    )  # fmt: skip


def clamped_shares(mended: bool) -> Setup:
    x, y = halves()
    model = mlp(8, 32, 1)

    def entropy(out: Tensor, y: Tensor) -> Tensor:
        p = out.clamp(1e-7, 1 - 1e-7)
        return -(y * p.log() + (1 - y) * (1 - p).log()).mean()

    if mended:
        model.append(nn.Sigmoid())
    else:  # outputs that start well below 0, as after a training on other targets
        model[-1].bias.data.fill_(-0.5)
    return Setup(
        model=model, x=x, y=y, criterion=entropy, optimizer=adam(3e-3), steps=300, score=sided(x, y, 0.5)
    )


def clamped_before_squares(mended: bool) -> Setup:
    x, y = curves()
    y = y.sigmoid()
    model = mlp(6, 32, 1)
    model[-1].bias.data.fill_(-0.8)

    def squares(out: Tensor, y: Tensor) -> Tensor:
        return ((out if mended else out.clamp(0, 1)) - y).square().mean()

    return Setup(
        model=model, x=x, y=y, criterion=squares, optimizer=sgd(0.05, momentum=0.9), steps=300,
        score=explained(x, y),
    )  # fmt: skip


def zeros_for_hinges(mended: bool) -> Setup:
    x, y = halves()

    def criterion(out: Tensor, y: Tensor) -> Tensor:
        return F.relu(1 - (2 * y - 1 if mended else y) * out).mean()

    return Setup(
        model=mlp(8, 32, 1), x=x, y=y, criterion=criterion, optimizer=adam(3e-3), steps=300, score=sided(x, y)
    )


def numbers_cut_to_whole(mended: bool) -> Setup:
    x, y = curves()
    y = y.sigmoid()
    return Setup(
        model=mlp(6, 32, 1), x=x, y=y if mended else y.long().float(), criterion=nn.MSELoss(),
        optimizer=adam(5e-3), steps=250, score=explained(x, y),
    )  # fmt: skip


def missing_target(mended: bool) -> Setup:
    x, y = curves()
    wanted = y.clone()
    if not mended:
        y = y.masked_fill(torch.rand_like(y) < 0.02, torch.nan)
    return Setup(
        model=mlp(6, 32, 1), x=x, y=y, criterion=nn.MSELoss(), optimizer=adam(5e-3), steps=250,
        score=explained(x, wanted),
    )  # fmt: skip


def wrong_sign(mended: bool) -> Setup:
    def criterion(out: Tensor, y: Tensor) -> Tensor:
        loss = F.cross_entropy(out, y)
        return loss if mended else -loss

    return of_digits(mlp(64, 32, 10), criterion, optimizer=adam(1e-3))


# -- gradients that do not arrive


def through_numpy(mended: bool) -> Setup:
    def between(h: Tensor) -> Tensor:
        return h if mended else torch.from_numpy(h.detach().numpy() * 1.0)

    return of_digits(Encoded(nn.Sequential(mlp(64, 32, 3), nn.Tanh()), mlp(3, 32, 10), between))


class Gated(nn.Module):
    """One number a sample, made by a net of its own, multiplies the features."""

    def __init__(self, listed: bool) -> None:
        super().__init__()
        self.features, self.gate, self.listed = mlp(6, 32, 1), mlp(6, 16, 1), listed

    def forward(self, x: Tensor) -> Tensor:
        gate = self.gate(x)
        if self.listed:
            gate = torch.tensor([[each.item()] for each in gate])
        found: Tensor = self.features(x) * gate
        return found


def listed_items(mended: bool) -> Setup:
    return of_numbers(Gated(listed=not mended), steps=200)


def loss_in_a_new_tensor(mended: bool) -> Setup:
    def loop(setup: Setup, recorder: Any) -> None:
        optimizer = setup.optimizer(setup.model.parameters())
        rows = batches(setup)
        for _ in range(setup.steps):
            chosen = next(rows)
            loss = setup.criterion(setup.model(setup.x[chosen]), setup.y[chosen])
            if not mended:
                loss = torch.tensor(loss.item(), requires_grad=True)
            update(recorder, optimizer, loss)

    return of_digits(mlp(64, 32, 10), loop=loop)


def zeroed_before_the_step(mended: bool) -> Setup:
    def loop(setup: Setup, recorder: Any) -> None:
        optimizer = setup.optimizer(setup.model.parameters())
        rows = batches(setup)
        for _ in range(setup.steps):
            chosen = next(rows)
            loss = setup.criterion(setup.model(setup.x[chosen]), setup.y[chosen])
            if mended:
                optimizer.zero_grad()
            loss.backward()
            if not mended:
                optimizer.zero_grad()
            recorder.step(loss=loss, optimizer=optimizer)
            optimizer.step()

    return of_digits(mlp(64, 32, 10), loop=loop)


def zeroed_after_the_record(mended: bool) -> Setup:
    def loop(setup: Setup, recorder: Any) -> None:
        optimizer = setup.optimizer(setup.model.parameters())
        rows = batches(setup)
        for _ in range(setup.steps):
            chosen = next(rows)
            loss = setup.criterion(setup.model(setup.x[chosen]), setup.y[chosen])
            if mended:
                optimizer.zero_grad()
            loss.backward()
            recorder.step(loss=loss, optimizer=optimizer)
            if not mended:
                optimizer.zero_grad(set_to_none=False)
            optimizer.step()

    return of_digits(mlp(64, 32, 10), loop=loop, optimizer=sgd(0.1))


def frozen_narrow_layers(mended: bool) -> Setup:
    model = nn.Sequential(mlp(64, 32, 3), nn.Tanh(), mlp(3, 32, 10))
    model[0].requires_grad_(mended)
    return of_digits(model)


class Named(nn.Module):
    """A vector a word, and a condition that is one of four."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.condition, self.net, self.weight = nn.Embedding(4, 8), mlp(14, 32, 1), weight

    def forward(self, x: Tensor, which: Tensor) -> Tensor:
        found: Tensor = self.net(torch.cat([x, self.weight * self.condition(which)], 1))
        return found


def condition_times_0(mended: bool) -> Setup:
    x, y = curves()
    which = torch.randint(4, (1000,))
    y = y + 2 * (which[:, None] - 1.5)
    return Setup(
        model=Named(1.0 if mended else 0.0), x=(x, which), y=y, criterion=nn.MSELoss(), optimizer=adam(5e-3),
        steps=250, score=explained_of_several((x, which), y),
    )  # fmt: skip


def explained_of_several(x: tuple[Tensor, ...], y: Tensor) -> Callable[[nn.Module], float]:
    return lambda net: float(1 - (net(*x) - y).square().mean() / (y - y.mean(0)).square().mean())


class Fresh(nn.Module):
    """Its author makes the first layer in `forward`: another one in every call."""

    def __init__(self, kept: bool) -> None:
        super().__init__()
        self.first = nn.Linear(64, 32) if kept else None
        self.head = mlp(32, 32, 10)

    def forward(self, x: Tensor) -> Tensor:
        first = self.first or nn.Linear(64, 32)
        found: Tensor = self.head(torch.relu(first(x)))
        return found


def layer_made_in_forward(mended: bool) -> Setup:
    return of_digits(Fresh(kept=mended))


def group_of_rate_0(mended: bool) -> Setup:
    model = nn.Sequential(mlp(64, 32, 3), nn.Tanh(), mlp(3, 32, 10))

    def optimizer(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        base = 3e-3 if mended else 0.0
        return Adam(
            [{"params": model[0].parameters(), "lr": base}, {"params": model[2].parameters()}], lr=3e-3
        )

    return of_digits(model, optimizer=optimizer)


class Autoencoder(nn.Module):
    """A variational one. `weight` of the divergence stands in its criterion."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.mean, self.log_variance = (
            nn.Sequential(nn.Linear(64, 32), nn.ReLU()),
            nn.Linear(32, 4),
            nn.Linear(32, 4),
        )
        self.decoder = mlp(4, 32, 64)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = self.encoder(x)
        mean, log_variance = self.mean(h), self.log_variance(h)
        z = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        return self.decoder(z), mean, log_variance


def ignored_code(mended: bool) -> Setup:
    x, _ = digits(1000)
    x = centred(x)
    weight = 0.1 if mended else 30.0

    def criterion(out: tuple[Tensor, Tensor, Tensor], x: Tensor) -> Tensor:
        made, mean, log_variance = out
        divergence = -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum(1).mean()
        return (made - x).square().sum(1).mean() + weight * divergence

    return Setup(
        model=Autoencoder(), x=x, y=x, criterion=criterion, optimizer=adam(3e-3), steps=250,
        score=lambda net: float(1 - (net(x)[0] - x).square().mean() / (x - x.mean(0)).square().mean()),
    )  # fmt: skip


PROGRAMS = (
    Program(
        name="frequent-double-softmax",
        source="taxonomy of Humbatova et al. 2020, wrong loss: a softmax, and a logarithm of a softmax of it",
        make=double_softmax,
        fault="The model ends in a softmax, and the criterion takes the log_softmax of that.",
        accepted=frozenset({"output-mismatch", "not-learning"}),
        cause=frozenset({"output-mismatch"}),
    ),
    Program(
        name="frequent-softmax-over-samples",
        source="often asked: which dim for LogSoftmax",
        make=softmax_over_samples,
        fault="LogSoftmax(dim=0) shares out each class among the samples of the batch.",
        accepted=frozenset({"output-mismatch", "not-learning"}),
        cause=frozenset({"output-mismatch"}),
    ),
    Program(
        name="frequent-tanh-on-logits",
        source="taxonomy of Humbatova et al. 2020, wrong activation of the last layer",
        make=tanh_on_logits,
        fault="A tanh before CrossEntropyLoss: no class of ten gets a share above 0.45.",
        accepted=frozenset({"output-mismatch", "saturated"}),
        cause=frozenset({"output-mismatch"}),
    ),
    Program(
        name="frequent-sigmoid-on-logits",
        source="often asked: sigmoid before CrossEntropyLoss",
        make=sigmoid_on_logits,
        fault="A sigmoid before CrossEntropyLoss: no class of ten gets a share above 0.23.",
        accepted=frozenset({"output-mismatch", "saturated"}),
        cause=frozenset({"output-mismatch"}),
    ),
    Program(
        name="frequent-relu-before-logits-loss",
        source="often asked: loss stuck at 0.693",
        make=relu_before_logits_loss,
        fault="A ReLU before BCEWithLogitsLoss: no sample can be called a 0, and one at 0 has no gradient.",
        accepted=frozenset({"output-mismatch", "dead", "no-gradient", "not-learning"}),
        cause=frozenset({"output-mismatch"}),
    ),
    Program(
        name="frequent-clamped-shares",
        source="often asked: clamp against log(0), on outputs that are no shares",
        make=clamped_shares,
        fault="A linear output is clamped into (0, 1) before the logarithm: outside there is no gradient.",
        accepted=frozenset({"output-mismatch", "no-gradient", "not-learning"}),
        cause=frozenset({"output-mismatch", "no-gradient"}),
    ),
    Program(
        name="frequent-clamped-before-squares",
        source="often asked: clamp the prediction into its range, inside the loss",
        make=clamped_before_squares,
        fault="Predictions are clamped to 0 and 1 inside the loss, and most begin outside, where nothing pulls them.",
        accepted=frozenset({"output-mismatch", "no-gradient", "not-learning"}),
        cause=frozenset({"output-mismatch", "no-gradient"}),
    ),
    Program(
        name="frequent-zeros-for-hinges",
        source="often asked: hinge loss with targets of 0 and 1",
        make=zeros_for_hinges,
        fault="A hinge loss by hand takes -1 and 1, and the targets are 0 and 1: those of 0 have no gradient.",
        accepted=frozenset({"bad-targets", "output-mismatch", "no-gradient"}),
        cause=frozenset({"bad-targets", "output-mismatch", "no-gradient"}),
    ),
    Program(
        name="frequent-numbers-cut-to-whole",
        source="often asked: expected Long but found Float, and .long() that silences it",
        make=numbers_cut_to_whole,
        fault="Targets between 0 and 1 became whole numbers: every one is 0.",
        accepted=frozenset({"bad-targets"}),
        cause=frozenset({"bad-targets"}),
    ),
    Program(
        name="frequent-missing-target",
        source="taxonomy of Humbatova et al. 2020, missing preprocessing",
        make=missing_target,
        fault="One target in fifty is NaN.",
        accepted=frozenset({"bad-targets", "diverged"}),
        cause=frozenset({"bad-targets"}),
    ),
    Program(
        name="frequent-wrong-sign",
        source="taxonomy of Humbatova et al. 2020, wrong loss function calculation",
        make=wrong_sign,
        fault="The loss has the wrong sign: the net learns to be wrong.",
        accepted=frozenset({"diverged", "not-learning", "exploding", "rate-too-high", "output-mismatch"}),
        cause=frozenset({"output-mismatch"}),
    ),
    Program(
        name="frequent-through-numpy",
        source="often asked: gradients are None after a way through NumPy",
        make=through_numpy,
        fault="The code goes through NumPy, so the encoder never trains.",
        accepted=frozenset({"no-gradient"}),
        cause=frozenset({"no-gradient"}),
    ),
    Program(
        name="frequent-listed-items",
        source="often asked: torch.tensor of a list of .item()",
        make=listed_items,
        fault="The gate is made anew of `.item()`s, so its net never trains.",
        accepted=frozenset({"no-gradient"}),
        cause=frozenset({"no-gradient"}),
    ),
    Program(
        name="frequent-loss-in-a-new-tensor",
        source="often asked: element 0 of tensors does not require grad, and requires_grad=True that silences it",
        make=loss_in_a_new_tensor,
        fault="The loss is put into a new tensor before backward.",
        accepted=frozenset({"no-gradient", "not-learning"}),
        cause=frozenset({"no-gradient"}),
    ),
    Program(
        name="frequent-zeroed-before-the-step",
        source="often asked: the order of zero_grad, backward and step",
        make=zeroed_before_the_step,
        fault="zero_grad stands between backward and step.",
        accepted=frozenset({"no-gradient", "not-learning"}),
        cause=frozenset({"no-gradient"}),
    ),
    Program(
        name="frequent-zeroed-after-the-record",
        source="often asked: the order of zero_grad, backward and step",
        make=zeroed_after_the_record,
        fault="zero_grad stands between recorder.step and the optimiser's step.",
        accepted=frozenset({"no-gradient", "not-learning", "rate-too-low"}),
    ),
    Program(
        name="frequent-frozen-narrow-layers",
        source="often asked: requires_grad = False for a backbone that was never trained",
        make=frozen_narrow_layers,
        fault="The first two layers are frozen at random weights.",
        accepted=frozenset({"no-gradient"}),
        cause=frozenset({"no-gradient"}),
    ),
    Program(
        name="frequent-condition-times-0",
        source="Silent bugs in deep learning frameworks, wrong weight of a branch",
        make=condition_times_0,
        fault="The condition is multiplied by 0, so the net cannot know it.",
        accepted=frozenset({"no-gradient"}),
        cause=frozenset({"no-gradient"}),
    ),
    Program(
        name="frequent-layer-made-in-forward",
        source="NeuraLint and forum answers: layers that are made in forward",
        make=layer_made_in_forward,
        fault="The first layer is made in forward: it is another one in every call and never trains.",
        accepted=frozenset({"no-gradient", "not-learning"}),
        cause=frozenset({"no-gradient"}),
    ),
    Program(
        name="frequent-group-of-rate-0",
        source="often asked: discriminative rates",
        make=group_of_rate_0,
        fault="The first layers' group has rate 0.",
        accepted=frozenset({"no-gradient", "rate-too-low"}),
        cause=frozenset({"no-gradient", "rate-too-low"}),
    ),
    Program(
        name="frequent-ignored-code",
        source="posterior collapse (Bowman et al. 2016)",
        make=ignored_code,
        fault="The divergence weighs thirty times, the codes carry nothing, and every output is the mean.",
        accepted=frozenset({"constant-output", "not-learning", "no-gradient"}),
        cause=frozenset({"constant-output", "no-gradient"}),
    ),
)  # fmt: skip
