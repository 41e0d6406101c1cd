"""A later set of what people do wrong: paths that are cut, criteria and outputs that do not fit, data that do not."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam

from benchmarks.clinic.common import accuracy, centred, digits, explained, update
from benchmarks.clinic.loop import batches
from benchmarks.clinic.program import Program, Setup
from benchmarks.clinic.programs.questions import adam, curves, halves, mlp, sgd, sided


class Attended(nn.Module):
    """Reads the one item of a set that is marked; the author's softmax goes over `dim`."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.score = mlp(6, 24, 1)
        self.head = mlp(6, 24, 1)
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        weights = self.score(x).softmax(self.dim)
        found: Tensor = self.head((weights * x).sum(1))
        return found


def attention_over_one(mended: bool) -> Setup:
    x = torch.randn(1000, 10, 6)
    marked = torch.randint(10, (1000,))
    x[:, :, 0] = 0
    x[torch.arange(1000), marked, 0] = 3
    y = x[torch.arange(1000), marked, 1:2] + x[torch.arange(1000), marked, 2:3]
    return Setup(
        model=Attended(dim=1 if mended else 2), x=x, y=y, criterion=nn.MSELoss(), optimizer=adam(5e-3), steps=400,
        score=explained(x, y),
    )  # fmt: skip


def kl_of_shares(mended: bool) -> Setup:
    x = torch.randn(1000, 8)
    y = (0.8 * x @ torch.randn(8, 5)).softmax(1)
    model = nn.Sequential(mlp(8, 32, 5), nn.LogSoftmax(dim=1) if mended else nn.Softmax(dim=1))

    def nearness(net: nn.Module) -> float:
        logs = net(x) if mended else torch.log(net(x) + 1e-12)
        return -float(F.kl_div(logs, y, reduction="batchmean"))

    return Setup(
        model=model, x=x, y=y, criterion=nn.KLDivLoss(reduction="batchmean"), optimizer=adam(5e-3), steps=400,
        score=nearness,
    )  # fmt: skip


def masks_to_255(mended: bool) -> Setup:
    where = 10 * torch.rand(400, 2, 1, 1) + 1
    rows, columns = torch.arange(12.0).view(1, 12, 1), torch.arange(12.0).view(1, 1, 12)
    masks = ((rows - where[:, 0]).square() + (columns - where[:, 1]).square() < 9).float()
    x = (0.8 * masks + 0.8 * torch.randn(400, 12, 12)).unsqueeze(1)
    masks = masks.unsqueeze(1)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 1)
    )
    return Setup(
        model=model, x=x, y=masks if mended else 255 * masks, criterion=nn.BCEWithLogitsLoss(), batch=16, steps=150,
        optimizer=adam(1e-2), score=lambda net: float(((net(x) > 0) == (masks > 0.5)).float().mean()),
    )  # fmt: skip


def missing_values(mended: bool) -> Setup:
    x, y = halves()
    x = x.masked_fill(torch.rand_like(x) < 0.01, torch.nan)
    if mended:
        x = x.nan_to_num(0.0)
    return Setup(
        model=mlp(8, 32, 32, 1), x=x, y=y, criterion=nn.BCEWithLogitsLoss(), optimizer=adam(5e-3), steps=300,
        score=sided(x, y),
    )  # fmt: skip


class Twins(nn.Module):
    """How far apart two things are, in a space that is learned."""

    def __init__(self, floor: float) -> None:
        super().__init__()
        self.place = mlp(6, 32, 4)
        self.floor = floor

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        apart = (self.place(left) - self.place(right)).square().sum(1)
        return (apart + self.floor).sqrt()


def root_of_zero(mended: bool) -> Setup:
    left, right = torch.randn(1000, 6), torch.randn(1000, 6)
    same = torch.rand(1000) < 0.2
    right[same] = left[same]
    y = (left[:, :2].abs() - right[:, :2].abs()).norm(dim=1)
    x = (left, right)

    def share(net: nn.Module) -> float:
        left_over = (net(*x) - y).square().mean() / y.var()
        return float(torch.nan_to_num(1 - left_over, nan=-torch.inf))

    return Setup(
        model=Twins(1e-6 if mended else 0.0), x=x, y=y, criterion=nn.MSELoss(), optimizer=adam(5e-3), steps=300,
        score=share,
    )  # fmt: skip


class Forgers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.generator, self.discriminator = mlp(4, 32, 2), mlp(2, 32, 1)

    def forward(self, z: Tensor) -> Tensor:
        found: Tensor = self.discriminator(self.generator(z))
        return found


def detached_fakes(mended: bool) -> Setup:
    z, real = torch.randn(1024, 4), 0.5 * torch.randn(1024, 2) + torch.tensor([2.0, -2.0])
    model = Forgers()
    tell = nn.BCEWithLogitsLoss()

    def loop(setup: Setup, recorder: Any) -> None:
        generator = Adam(model.generator.parameters(), lr=2e-3, betas=(0.5, 0.999))
        discriminator = Adam(model.discriminator.parameters(), lr=2e-3, betas=(0.5, 0.999))
        for _ in range(setup.steps):
            chosen = torch.randint(1024, (64,))
            fake = model.generator(z[chosen])
            said = model.discriminator(fake.detach())
            true = model.discriminator(real[chosen])
            update(
                recorder,
                discriminator,
                tell(true, torch.ones_like(true)) + tell(said, torch.zeros_like(said)),
            )
            said = model.discriminator(fake if mended else fake.detach())
            update(recorder, generator, tell(said, torch.ones_like(said)))

    return Setup(
        model=model, x=z, y=None, criterion=None, optimizer=adam(2e-3), steps=300, loop=loop,
        score=lambda net: -float((net.generator(z).mean(0) - real.mean(0)).norm()),  # type: ignore[operator]
    )  # fmt: skip


def relu_logits(mended: bool) -> Setup:
    x, y = digits(1500)
    model = mlp(64, 48, 10)
    if not mended:
        model.append(nn.ReLU())
    return Setup(
        model=model,
        x=x,
        y=y,
        criterion=nn.CrossEntropyLoss(),
        optimizer=sgd(0.2),
        steps=400,
        score=accuracy(x, y),
    )


class Scrambled(nn.Module):
    """A recurrent net that wants time first; its author used `view` where axes have to be exchanged."""

    def __init__(self, viewed: bool) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(4, 24), nn.Linear(24, 3)
        self.viewed = viewed

    def forward(self, x: Tensor) -> Tensor:
        count, length, width = x.shape
        turned = x.reshape(length, count, width) if self.viewed else x.transpose(0, 1)
        found: Tensor = self.head(self.lstm(turned)[0][-1])
        return found


def viewed(mended: bool) -> Setup:
    y = torch.randint(3, (900,))
    x = torch.randn(900, 8, 4)
    x[:, :, :3] += 1.2 * F.one_hot(y, 3).float()[:, None]
    return Setup(
        model=Scrambled(not mended), x=x, y=y, criterion=nn.CrossEntropyLoss(), optimizer=adam(5e-3), steps=250,
        score=accuracy(x, y),
    )  # fmt: skip


def zeros_for_signs(mended: bool) -> Setup:
    x, y = halves()
    return Setup(
        model=mlp(8, 32, 32, 1), x=x, y=2 * y - 1 if mended else y, criterion=nn.SoftMarginLoss(),
        optimizer=adam(3e-3), steps=400, score=sided(x, y),
    )  # fmt: skip


class Words(nn.Module):
    """Averages the vectors of words; `from_pretrained` freezes them unless it is told not to."""

    def __init__(self, frozen: bool) -> None:
        super().__init__()
        self.words = nn.Embedding.from_pretrained(torch.randn(200, 2), freeze=frozen)
        self.head = mlp(2, 16, 3)

    def forward(self, text: Tensor) -> Tensor:
        found: Tensor = self.head(self.words(text).mean(1))
        return found


def frozen_words(mended: bool) -> Setup:
    y = torch.randint(3, (1000,))
    own = torch.rand(1000, 12) < 0.5
    text = torch.where(own, y[:, None] + 3 * torch.randint(66, (1000, 12)), torch.randint(200, (1000, 12)))
    return Setup(
        model=Words(frozen=not mended), x=text, y=y, criterion=nn.CrossEntropyLoss(), optimizer=adam(1e-2), steps=400,
        score=accuracy(text, y),
    )  # fmt: skip


class Padded(nn.Module):
    """Reads lines that are padded with zeros, and takes the state of the last step or that of each line's end."""

    def __init__(self, at_end: bool) -> None:
        super().__init__()
        self.rnn, self.head = nn.RNN(4, 24, batch_first=True), nn.Linear(24, 3)
        self.at_end = at_end

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        states = self.rnn(x)[0]
        last = states[torch.arange(len(x)), lengths - 1] if self.at_end else states[:, -1]
        found: Tensor = self.head(last)
        return found


def padding_read(mended: bool) -> Setup:
    y, lengths = torch.randint(3, (800,)), torch.randint(4, 9, (800,))
    x = 0.5 * torch.randn(800, 40, 4)
    x[:, :, :3] += F.one_hot(y, 3).float()[:, None]
    x[torch.arange(40) >= lengths[:, None]] = 0
    return Setup(
        model=Padded(at_end=mended), x=(x, lengths), y=y, criterion=nn.CrossEntropyLoss(), optimizer=adam(2e-3),
        steps=200, score=accuracy((x, lengths), y),
    )  # fmt: skip


class Step(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return (z > 0).to(z.dtype)


def steps_inside(mended: bool) -> Setup:
    x, y = digits(1500)
    x = centred(x)
    between: nn.Module = nn.Sigmoid() if mended else Step()
    model = nn.Sequential(mlp(64, 32, 10), between, nn.Linear(10, 10))
    return Setup(
        model=model,
        x=x,
        y=y,
        criterion=nn.CrossEntropyLoss(),
        optimizer=adam(5e-3),
        steps=400,
        score=accuracy(x, y),
    )


class Codes(nn.Module):
    """An encoder whose output is replaced by the nearest of 32 words, and a decoder."""

    def __init__(self, straight: bool) -> None:
        super().__init__()
        self.encoder, self.decoder = mlp(20, 32, 4), mlp(4, 32, 2)
        self.words = nn.Parameter(0.3 * torch.randn(32, 4))
        self.straight = straight

    def forward(self, x: Tensor) -> Tensor:
        z = self.encoder(x)
        code = self.words[torch.cdist(z, self.words).argmin(1)]
        found: Tensor = self.decoder(code + z - z.detach() if self.straight else code)
        return found


def nearest_word(mended: bool) -> Setup:
    x = torch.randn(1000, 20)
    y = x[:, :2]  # what is to be kept of the twenty columns
    return Setup(
        model=Codes(straight=mended), x=x, y=y, criterion=nn.MSELoss(), optimizer=adam(5e-3), steps=400,
        score=explained(x, y),
    )  # fmt: skip


class Unrolled(nn.Module):
    """A recurrent cell in a loop of its own; `cut` takes the state's data at each step."""

    def __init__(self, cut: bool) -> None:
        super().__init__()
        self.cell, self.head = nn.GRUCell(4, 24), nn.Linear(24, 4)
        self.cut = cut

    def forward(self, x: Tensor) -> Tensor:
        state = x.new_zeros(len(x), 24)
        for now in x.unbind(1):
            state = self.cell(now, state.data if self.cut else state)
        found: Tensor = self.head(state)
        return found


def state_data(mended: bool) -> Setup:
    y = torch.randint(4, (600,))
    x = 1.0 * torch.randn(600, 12, 4)
    x[torch.arange(600), 0, y] += 4
    return Setup(
        model=Unrolled(cut=not mended), x=x, y=y, criterion=nn.CrossEntropyLoss(), optimizer=adam(5e-3), steps=300,
        score=accuracy(x, y),
    )  # fmt: skip


def another_model(mended: bool) -> Setup:
    x, y = digits(1500)
    model = mlp(64, 48, 10)
    first = copy.deepcopy(model)  # the model that the optimiser was built for, before a second one was made
    return Setup(
        model=model, x=x, y=y, criterion=nn.CrossEntropyLoss(), steps=300, score=accuracy(x, y),
        optimizer=adam(3e-3) if mended else lambda _: Adam(first.parameters(), lr=3e-3),
    )  # fmt: skip


def only_scheduled(mended: bool) -> Setup:
    x, y = digits(1500)

    def loop(setup: Setup, recorder: Any) -> None:
        optimizer, rows = setup.optimizer(setup.model.parameters()), batches(setup)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 200)
        for _ in range(setup.steps):
            chosen = next(rows)
            optimizer.zero_grad()
            loss = F.cross_entropy(setup.model(x[chosen]), y[chosen])
            loss.backward()
            recorder.step(loss=loss, optimizer=optimizer)
            if mended:
                optimizer.step()
            schedule.step()

    return Setup(
        model=mlp(64, 48, 10), x=x, y=y, criterion=nn.CrossEntropyLoss(), optimizer=adam(3e-3), steps=300, loop=loop,
        score=accuracy(x, y),
    )  # fmt: skip


def sigmoid_decoder(mended: bool) -> Setup:
    x = torch.randn(1000, 3) @ torch.randn(3, 16)
    x = (x - x.mean(0)) / x.std(0)
    model = mlp(16, 32, 6, 32, 16)
    if not mended:
        model.append(nn.Sigmoid())
    return Setup(
        model=model, x=x, y=x, criterion=nn.MSELoss(), optimizer=adam(5e-3), steps=400, score=explained(x, x)
    )


def _entropy_of_shares(outputs: Tensor, targets: Tensor) -> Tensor:
    shares = outputs.clamp(1e-7, 1 - 1e-7)
    return -(targets * shares.log() + (1 - targets) * (1 - shares).log()).mean()


def linear_for_entropy(mended: bool) -> Setup:
    x, y = halves()
    model = mlp(8, 32, 32, 1)
    if mended:
        model.append(nn.Sigmoid())
    return Setup(
        model=model, x=x, y=y, criterion=_entropy_of_shares, optimizer=sgd(0.1, momentum=0.9), steps=400,
        score=sided(x, y, border=0.5),
    )  # fmt: skip


def _log_errors(outputs: Tensor, targets: Tensor) -> Tensor:
    return (torch.log1p(outputs) - torch.log1p(targets)).square().mean()


def log_of_negative(mended: bool) -> Setup:
    x, y = curves()
    x = 4 * x
    y = torch.exp(y)
    model = mlp(6, 32, 32, 1)
    nn.init.xavier_normal_(model[-1].weight)  # type: ignore[arg-type]
    if mended:
        model.append(nn.Softplus())

    def nearness(net: nn.Module) -> float:
        return -float(torch.nan_to_num(_log_errors(net(x), y), nan=torch.inf))

    return Setup(
        model=model, x=x, y=y, criterion=_log_errors, optimizer=adam(5e-3), steps=400, score=nearness
    )


def no_activation(mended: bool) -> Setup:
    angle, y = 6.28 * torch.rand(1000), torch.randint(2, (1000,))
    x = torch.stack([angle.cos(), angle.sin()], 1) * (1 + y[:, None]) + 0.1 * torch.randn(1000, 2)
    return Setup(
        model=mlp(2, 32, 32, 2, activation=nn.ReLU if mended else nn.Identity), x=x, y=y,
        criterion=nn.CrossEntropyLoss(), optimizer=adam(5e-3), steps=300, score=accuracy(x, y),
    )  # fmt: skip


PROGRAMS = (
    Program(
        name="later-attention-over-one",
        source="DEEP-PolyU/KEQA_WSDM19 issue 2; PetrochukM/PyTorch-NLP issue 2",
        fault="The softmax of the attention goes over an axis of length 1: all weights are 1, the scores train never.",
        accepted=frozenset({"no-gradient"}),
        cause=frozenset({"no-gradient"}),
        make=attention_over_one,
    ),
    Program(
        name="later-kl-of-probabilities",
        source="michaal94/torch_DCEC issue 1; baudm/MONet-pytorch issue 10",
        fault="KLDivLoss is given probabilities where it takes their logarithms.",
        accepted=frozenset({"output-mismatch"}),
        cause=frozenset({"output-mismatch"}),
        make=kl_of_shares,
    ),
    Program(
        name="later-masks-to-255",
        source="milesial/Pytorch-UNet issue 269",
        fault="The masks were loaded as 0 and 255: binary cross-entropy falls without bound, below 0.",
        accepted=frozenset({"bad-targets", "output-mismatch", "target-scale", "diverged"}),
        cause=frozenset({"bad-targets", "output-mismatch", "target-scale"}),
        mechanical=True,
        make=masks_to_255,
    ),
    Program(
        name="later-missing-values",
        source="prs-eth/Marigold issue 111, in a table",
        fault="One value in a hundred of the inputs is missing, NaN, and so is the loss from the first batch on.",
        accepted=frozenset({"input-scale", "diverged"}),
        cause=frozenset({"input-scale"}),
        make=missing_values,
    ),
    Program(
        name="later-root-of-zero",
        source="pytorch/pytorch issue 2421; ronghuaiyang/arcface-pytorch issue 91",
        fault="The distance of two equals is sqrt(0), whose gradient is infinite: 0 times inf in the first batch.",
        accepted=frozenset({"diverged", "exploding"}),
        make=root_of_zero,
    ),
    Program(
        name="later-generator-detached",
        source="nikhilsinghmus/image2reverb issue 37",
        fault="The fakes are detached in the generator's step too, so the generator never trains.",
        accepted=frozenset({"no-gradient"}),
        cause=frozenset({"no-gradient"}),
        make=detached_fakes,
    ),
    Program(
        name="later-relu-on-logits",
        source="huyng/tensorflow-vgg issue 13; zjunlp/DeepKE issue 21",
        fault="A ReLU on the logits before CrossEntropyLoss: a class whose unit is off is never called or corrected.",
        accepted=frozenset({"output-mismatch", "dead", "no-gradient"}),
        cause=frozenset({"output-mismatch"}),
        make=relu_logits,
    ),
    Program(
        name="later-view-for-transpose",
        source="zhouhaoyi/Informer2020 issue 59, the slip with an LSTM",
        fault="`view` in place of a transposition mixes samples and time steps.",
        accepted=frozenset({"not-learning"}),
        make=viewed,
    ),
    Program(
        name="later-zeros-for-signs",
        source="after a common question",
        fault="Targets of 0 and 1 where SoftMarginLoss takes -1 and 1: half of the samples have no gradient at all.",
        accepted=frozenset({"bad-targets", "output-mismatch"}),
        cause=frozenset({"bad-targets", "output-mismatch"}),
        make=zeros_for_signs,
    ),
    Program(
        name="later-frozen-random-words",
        source="after a common question (Embedding.from_pretrained freezes by default)",
        fault="Random vectors were given to from_pretrained, which freezes them.",
        accepted=frozenset({"no-gradient"}),
        cause=frozenset({"no-gradient"}),
        make=frozen_words,
    ),
    Program(
        name="later-state-after-padding",
        source="after a common question",
        fault="The state is read after up to 36 steps of padding, through which the gradient vanishes.",
        accepted=frozenset({"vanishing", "not-learning", "constant-output"}),
        cause=frozenset({"vanishing"}),
        make=padding_read,
    ),
    Program(
        name="later-step-activation",
        source="after a common question (a threshold as an activation)",
        fault="A threshold in the middle of the net has the gradient 0, so nothing below it trains.",
        accepted=frozenset({"no-gradient"}),
        cause=frozenset({"no-gradient"}),
        make=steps_inside,
    ),
    Program(
        name="later-nearest-word",
        source="after a common question (VQ-VAE without the straight-through gradient)",
        fault="The nearest word of a code book is chosen by argmin, through which no gradient comes to the encoder.",
        accepted=frozenset({"no-gradient"}),
        cause=frozenset({"no-gradient"}),
        make=nearest_word,
    ),
    Program(
        name="later-state-data",
        source="after a common question (hidden.data at every step; cf. yunjey/pytorch-tutorial pull request 25)",
        fault="`.data` is taken of the state at every step: the gradient sees the last step alone.",
        accepted=frozenset({"no-gradient", "vanishing", "not-learning"}),
        cause=frozenset({"no-gradient", "vanishing"}),
        make=state_data,
    ),
    Program(
        name="later-optimizer-of-another-model",
        source="after bubbliiiing/detr-pytorch issue 6 (the same weights at epochs 50 and 100)",
        fault="The optimiser holds the parameters of a model made earlier, so this one never changes.",
        accepted=frozenset({"no-gradient", "not-learning"}),
        cause=frozenset({"no-gradient"}),
        make=another_model,
    ),
    Program(
        name="later-optimizer-never-steps",
        source="pytorch/pytorch issue 3814",
        fault="The scheduler's step is called and the optimiser's is not: no weight ever changes.",
        accepted=frozenset({"not-learning", "rate-too-low", "no-gradient"}),
        make=only_scheduled,
    ),
    Program(
        name="later-sigmoid-decoder",
        source="after a common question (an autoencoder on standardised data)",
        fault="A decoder ends in a sigmoid, and half of its targets are negative.",
        accepted=frozenset({"output-mismatch", "target-scale", "saturated"}),
        cause=frozenset({"output-mismatch"}),
        make=sigmoid_decoder,
    ),
    Program(
        name="later-linear-for-entropy",
        source="after a common question (Keras: binary_crossentropy without a sigmoid)",
        fault="Binary cross-entropy of probabilities is given a linear output; clamped outputs have no gradient.",
        accepted=frozenset({"output-mismatch", "no-gradient", "not-learning"}),
        cause=frozenset({"output-mismatch"}),
        mechanical=True,
        make=linear_for_entropy,
    ),
    Program(
        name="later-log-of-negative",
        source="after a common question (the squared error of logarithms on house prices)",
        fault="The criterion takes the logarithm of 1 + output, and a linear output is below -1 for some samples.",
        accepted=frozenset({"output-mismatch", "diverged"}),
        cause=frozenset({"output-mismatch"}),
        make=log_of_negative,
    ),
    Program(
        name="later-no-activation",
        source="after DeepFD's and DeepLocalize's missing activations, on two rings",
        fault="No activation between the layers: a linear function cannot tell a ring from the ring around it.",
        accepted=frozenset({"not-learning"}),
        make=no_activation,
    ),
)
