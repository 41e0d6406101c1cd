"""A set written without knowledge of any rule: what people ask about most, each with the cure that they were given."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import Parameter
from torch.nn import functional as F
from torch.optim import Optimizer

from benchmarks.clinic.common import accuracy, centred, digits, explained, standard, taught, update
from benchmarks.clinic.loop import batches
from benchmarks.clinic.program import Program, Setup

Optimize = Callable[[Iterable[Parameter]], Optimizer]


def net(*sizes: int, between: Callable[[], nn.Module] | None = nn.ReLU) -> nn.Sequential:
    """Linear layers of these sizes, with a function `between` them."""
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        if layers and between is not None:
            layers.append(between())
        layers.append(nn.Linear(before, after))
    return nn.Sequential(*layers)


def adam(lr: float) -> Optimize:
    return lambda parameters: torch.optim.Adam(parameters, lr=lr)


def sgd(lr: float, momentum: float = 0.0, weight_decay: float = 0.0) -> Optimize:
    return lambda parameters: torch.optim.SGD(parameters, lr=lr, momentum=momentum, weight_decay=weight_decay)


def waves(rows: int = 1000) -> tuple[Tensor, Tensor]:
    """Six standard inputs, [sample, 6], and a smooth function of four of them, [sample, 1]."""
    x = torch.randn(rows, 6)
    return x, standard(torch.sin(1.5 * x[:, :1]) + x[:, 1:2] * x[:, 2:3] + 0.5 * x[:, 3:4])


def same_sign(rows: int = 1000) -> tuple[Tensor, Tensor]:
    """Six standard inputs, and whether the first two have one sign: nothing linear knows it."""
    x = torch.randn(rows, 6)
    return x, (x[:, 0] * x[:, 1] > 0).long()


def classed(model: nn.Module, x: Tensor, y: Tensor, optimizer: Optimize, **more: Any) -> Setup:
    return Setup(
        model=model, x=x, y=y, criterion=nn.CrossEntropyLoss(), optimizer=optimizer, score=accuracy(x, y), **more
    )  # fmt: skip


def fitted(model: nn.Module, x: Tensor, y: Tensor, optimizer: Optimize, **more: Any) -> Setup:
    return Setup(
        model=model, x=x, y=y, criterion=nn.MSELoss(), optimizer=optimizer, score=explained(x, y), **more
    )  # fmt: skip


def softmax_first(mended: bool) -> Setup:
    x, y = digits(1500)
    model = net(64, 48, 48, 10)
    if not mended:
        model.append(nn.Softmax(1))
    return classed(model, x, y, sgd(0.1))


def sigmoid_twice(mended: bool) -> Setup:
    x, y = digits(1500)
    model = net(64, 32, 1)
    if not mended:
        model.append(nn.Sigmoid())
    return Setup(
        model=model, x=x, y=(y == 3).float().unsqueeze(1), criterion=nn.BCEWithLogitsLoss(), optimizer=adam(2e-3),
    )  # fmt: skip


def broadcast(mended: bool) -> Setup:
    x, y = waves()
    return Setup(
        model=net(6, 32, 32, 1), x=x, y=y if mended else y.squeeze(1), optimizer=adam(3e-3), score=explained(x, y),
        criterion=lambda outputs, targets: (outputs - targets).square().mean(),
    )  # fmt: skip


def never_zeroed(mended: bool) -> Setup:
    x, y = digits(1500)

    def loop(setup: Setup, recorder: Any) -> None:
        optimizer, rows = setup.optimizer(setup.model.parameters()), batches(setup)
        for _ in range(setup.steps):
            chosen = next(rows)
            if mended:
                optimizer.zero_grad()
            loss = F.cross_entropy(setup.model(x[chosen]), y[chosen])
            loss.backward()
            recorder.step(loss=loss, optimizer=optimizer)
            optimizer.step()

    return classed(net(64, 48, 48, 10), x, y, sgd(0.1), loop=loop)


def old_head(mended: bool) -> Setup:
    x, y = digits(1500)
    model = net(64, 48, 48, 10)
    taught(model, x, y)
    for parameter in model[:-1].parameters():
        parameter.requires_grad = False
    before = [p for p in model.parameters() if p.requires_grad]
    model[-1] = nn.Linear(48, 2)
    y = y % 2

    def loop(setup: Setup, recorder: Any) -> None:
        after = [p for p in setup.model.parameters() if p.requires_grad]
        optimizer, rows = setup.optimizer(after if mended else before), batches(setup)
        for _ in range(setup.steps):
            chosen = next(rows)
            setup.model.zero_grad()
            loss = F.cross_entropy(setup.model(x[chosen]), y[chosen])
            loss.backward()
            recorder.step(loss=loss, optimizer=optimizer)
            optimizer.step()

    return classed(model, x, y, adam(3e-3), loop=loop)


class Listed(nn.Module):
    """Hidden layers in a list, which torch knows of or not."""

    def __init__(self, known: bool) -> None:
        super().__init__()
        layers = [nn.Linear(6, 24), nn.Linear(24, 24), nn.Linear(24, 24)]
        self.layers = nn.ModuleList(layers) if known else layers
        self.head = nn.Linear(24, 2)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.relu(layer(x))
        found: Tensor = self.head(x)
        return found


def listed(mended: bool) -> Setup:
    x, y = same_sign()
    return classed(Listed(known=mended), x, y, adam(5e-3))


class Cut(nn.Module):
    """An encoder and a head, with or without the gradient between them."""

    def __init__(self, whole: bool) -> None:
        super().__init__()
        self.encoder, self.head, self.whole = net(6, 24, 24, 12), nn.Linear(12, 2), whole

    def forward(self, x: Tensor) -> Tensor:
        seen = self.encoder(x)
        found: Tensor = self.head(torch.relu(seen if self.whole else seen.detach()))
        return found


def cut(mended: bool) -> Setup:
    x, y = same_sign()
    return classed(Cut(whole=mended), x, y, adam(5e-3))


def wrapped_anew(mended: bool) -> Setup:
    x, y = digits(1500)

    def loop(setup: Setup, recorder: Any) -> None:
        optimizer, rows = setup.optimizer(setup.model.parameters()), batches(setup)
        for _ in range(setup.steps):
            chosen = next(rows)
            loss = F.cross_entropy(setup.model(x[chosen]), y[chosen])
            update(recorder, optimizer, loss if mended else torch.tensor(loss.item(), requires_grad=True))

    return classed(net(64, 48, 10), x, y, adam(2e-3), loop=loop)


def relu_last(mended: bool) -> Setup:
    x, y = waves()
    model = net(6, 32, 32, 1)
    if not mended:
        model.append(nn.ReLU())
    return fitted(model, x, y, adam(3e-3))


def nothing_between(mended: bool) -> Setup:
    x, y = same_sign()
    return classed(net(6, 32, 32, 2, between=nn.ReLU if mended else None), x, y, adam(5e-3))


def bytes_as_inputs(mended: bool) -> Setup:
    x, y = digits(1500)
    return classed(net(64, 64, 64, 10), x if mended else 255 * x, y, sgd(0.05, momentum=0.9))


def prices(mended: bool) -> Setup:
    x, y = waves()
    return fitted(net(6, 32, 32, 1), x, y if mended else 250_000 + 80_000 * y, sgd(0.05))


def adam_at_a_tenth(mended: bool) -> Setup:
    x, y = digits(1500)
    return classed(net(64, 64, 64, 64, 64, 10), x, y, adam(2e-3 if mended else 0.1))


def sgd_at_nothing(mended: bool) -> Setup:
    x, y = digits(1500)
    return classed(net(64, 48, 48, 10), x, y, sgd(0.2 if mended else 1e-5))


def decayed(mended: bool) -> Setup:
    x, y = digits(1500)
    return classed(net(64, 48, 48, 10), x, y, sgd(0.1, momentum=0.9, weight_decay=5e-4 if mended else 0.5))


def all_zeros(mended: bool) -> Setup:
    x, y = digits(1500)
    model = net(64, 48, 48, 10)
    if not mended:
        for parameter in model.parameters():
            nn.init.zeros_(parameter)
    return classed(model, x, y, adam(2e-3))


def unit_normal(mended: bool) -> Setup:
    x, y = waves()
    model = net(6, 200, 200, 200, 1, between=nn.Tanh)
    if not mended:
        for layer in model:
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight)
    return fitted(model, x, y, sgd(0.02, momentum=0.9))


def sigmoids(mended: bool) -> Setup:
    x, y = digits(1500)
    return classed(
        net(64, *[32] * 6, 10, between=nn.ReLU if mended else nn.Sigmoid), x, y, adam(2e-3)
    )  # fmt: skip


class Recurrent(nn.Module):
    """The last output of a GRU, whose axes are as torch has them or as the data has them."""

    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.cells, self.head = nn.GRU(4, 24, batch_first=batch_first), nn.Linear(24, 2)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(self.cells(x)[0][:, -1])
        return found


def time_for_batch(mended: bool) -> Setup:
    x = torch.randn(1000, 8, 4)
    return classed(Recurrent(batch_first=mended), x, (x[:, :4, 0].sum(1) > 0).long(), adam(5e-3))


def missing_values(mended: bool) -> Setup:
    x, y = waves()
    x = x.clone()
    x[torch.randperm(1000)[:20], 4] = torch.nan
    if mended:
        x = torch.nan_to_num(x)
    return fitted(net(6, 32, 32, 1), x, y, adam(3e-3))


class Twins(nn.Module):
    """How far two digits are from each other."""

    def __init__(self, least: float) -> None:
        super().__init__()
        self.body, self.least = net(64, 32, 8), least

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return torch.sqrt((self.body(first) - self.body(second)).square().sum(1) + self.least)


def root_of_zero(mended: bool) -> Setup:
    x, y = digits(300)
    first = torch.randint(300, (1600,))
    same = torch.rand(1600) < 0.5
    of_class = (y[:, None] == y[first]).float()
    second = torch.where(
        same, torch.multinomial(of_class.T, 1)[:, 0], torch.multinomial(1 - of_class.T, 1)[:, 0]
    )

    def criterion(far: Tensor, alike: Tensor) -> Tensor:
        return (alike * far.square() + (1 - alike) * F.relu(1 - far).square()).mean()

    pairs, alike = (x[first], x[second]), same.float()
    return Setup(
        model=Twins(1e-8 if mended else 0.0), x=pairs, y=alike, criterion=criterion, optimizer=adam(3e-3),
        score=lambda twins: ((twins(*pairs) < 0.5) == same).float().mean().item(),
    )  # fmt: skip


class Reader(nn.Module):
    """Reads words and then padding (word 0), and answers at the text's end or at the padding's."""

    def __init__(self, at_end_of_text: bool) -> None:
        super().__init__()
        self.words, self.cells, self.head = (
            nn.Embedding(12, 12),
            nn.RNN(12, 24, batch_first=True),
            nn.Linear(24, 2),
        )
        self.at_end_of_text = at_end_of_text

    def forward(self, text: Tensor) -> Tensor:
        states = self.cells(self.words(text))[0]
        last = (text > 0).sum(1) - 1 if self.at_end_of_text else torch.full((len(text),), text.shape[1] - 1)
        found: Tensor = self.head(states[torch.arange(len(text)), last])
        return found


def padded(mended: bool) -> Setup:
    words, lengths = torch.randint(1, 12, (1000, 50)), torch.randint(4, 9, (1000,))
    text = torch.where(torch.arange(50) < lengths[:, None], words, 0)
    y = ((text > 5).sum(1) * 2 > lengths).long()
    return classed(Reader(at_end_of_text=mended), text, y, adam(3e-3))


def entropy_of_standard(mended: bool) -> Setup:
    pixels, _ = digits(1500)
    spread = pixels.square().mean() - pixels.mean(0).square().mean()
    return Setup(
        model=net(64, 48, 16, 48, 64), x=centred(pixels), y=pixels if mended else centred(pixels),
        criterion=nn.BCEWithLogitsLoss(), optimizer=adam(3e-3), steps=400,
        score=lambda model: float(1 - (model(centred(pixels)).sigmoid() - pixels).square().mean() / spread),
    )  # fmt: skip


def only_pulled(mended: bool) -> Setup:
    x, y = digits(600)
    alike = (y[:, None] == y).float()
    near, far = torch.multinomial(alike, 1)[:, 0], torch.multinomial(1 - alike, 1)[:, 0]

    def loop(setup: Setup, recorder: Any) -> None:
        optimizer = setup.optimizer(setup.model.parameters())
        for _ in range(setup.steps):
            rows = torch.randint(600, (64,))
            here, there, other = (setup.model(x[at]) for at in (rows, near[rows], far[rows]))
            pull = (here - there).square().sum(1)
            loss = F.relu(pull - (here - other).square().sum(1) + 1).mean() if mended else pull.mean()
            update(recorder, optimizer, loss)

    def apart(model: nn.Module) -> float:
        here, there, other = model(x), model(x[near]), model(x[far])
        return float(((here - other).norm(dim=1) > (here - there).norm(dim=1) + 0.3).float().mean())

    return Setup(
        model=net(64, 48, 8), x=x, y=None, criterion=None, optimizer=adam(2e-3), batch=64, loop=loop, score=apart
    )  # fmt: skip


def large_returns(mended: bool) -> Setup:
    x = torch.randn(1000, 4)
    best = x.argmax(1)

    def loop(setup: Setup, recorder: Any) -> None:
        optimizer = setup.optimizer(setup.model.parameters())
        for _ in range(setup.steps):
            rows = torch.randint(1000, (64,))
            chances = torch.distributions.Categorical(logits=setup.model(x[rows]))
            action = chances.sample()
            returns = 1000 + 100 * (action == best[rows]).float()
            if mended:
                returns = (returns - returns.mean()) / (returns.std() + 1e-6)
            update(recorder, optimizer, -(chances.log_prob(action) * returns).mean())

    return Setup(
        model=net(4, 32, 4, between=nn.Tanh), x=x, y=None, criterion=None, optimizer=sgd(0.2), batch=64, loop=loop,
        score=accuracy(x, best),
    )  # fmt: skip


def norm_of_two(mended: bool) -> Setup:
    x, y = digits(1000)
    norm: Callable[[int], nn.Module] = nn.LayerNorm if mended else nn.BatchNorm1d
    layers: list[nn.Module] = []
    for before in (64, 48, 48, 48):
        layers += [nn.Linear(before, 48), norm(48), nn.ReLU()]
    return classed(nn.Sequential(*layers, nn.Linear(48, 10)), x, y, sgd(0.01), batch=2, steps=600)


PROGRAMS = (
    Program(
        name="fresh-softmax-first",
        source="discuss.pytorch.org/t/43814 (Cross Entropy loss is not decreasing)",
        fault="A softmax layer ends the net, and CrossEntropyLoss takes the softmax once more.",
        accepted=frozenset({"output-mismatch", "not-learning"}),
        cause=frozenset({"output-mismatch"}),
        mechanical=True,
        make=softmax_first,
    ),
    Program(
        name="fresh-sigmoid-twice",
        source="Lightning-AI/pytorch-lightning issue 18272; yudi-mars/daisyRec pull request 15",
        fault="A sigmoid ends the net, and BCEWithLogitsLoss takes the sigmoid once more.",
        accepted=frozenset({"output-mismatch"}),
        cause=frozenset({"output-mismatch"}),
        mechanical=True,
        make=sigmoid_twice,
    ),
    Program(
        name="fresh-broadcast",
        source="deepset-ai/FARM issue 229 (a target size that is different to the input size)",
        fault="Outputs of [n, 1] less targets of [n] make [n, n]: every output is drawn to the mean of the batch.",
        accepted=frozenset({"output-mismatch", "constant-output", "not-learning"}),
        cause=frozenset({"output-mismatch"}),
        make=broadcast,
    ),
    Program(
        name="fresh-never-zeroed",
        source="IBM/aihwkit issue 446; wenet-e2e/wekws pull request 73",
        fault="zero_grad is never called: each update takes the sum of all gradients so far.",
        accepted=frozenset(
            {"rate-too-high", "unstable", "diverged", "dead", "constant-output", "not-learning"}
        ),
        make=never_zeroed,
    ),
    Program(
        name="fresh-old-head",
        source="microsoft/nni issue 4521; zjunlp/HVPNeT issue 5",
        fault="The optimiser was made before the head was replaced: the new head is not among its parameters.",
        accepted=frozenset({"rate-too-low", "not-learning"}),
        make=old_head,
    ),
    Program(
        name="fresh-list-of-layers",
        source="after a common question (a Python list in place of ModuleList)",
        fault="The hidden layers are in a plain list: parameters() does not give them, and they never change.",
        accepted=frozenset({"no-gradient", "constant-output", "not-learning"}),
        make=listed,
    ),
    Program(
        name="fresh-encoder-detached",
        source="lucidrains/CoCa-pytorch issue 6",
        fault="What the encoder says is detached: no gradient reaches it.",
        accepted=frozenset({"no-gradient", "constant-output", "not-learning"}),
        cause=frozenset({"no-gradient"}),
        make=cut,
    ),
    Program(
        name="fresh-loss-wrapped-anew",
        source="after a common question (element 0 of tensors does not require grad, silenced by requires_grad=True)",
        fault="The loss becomes a number and a new tensor that requires a gradient: nothing flows back.",
        accepted=frozenset({"no-gradient", "not-learning"}),
        cause=frozenset({"no-gradient"}),
        make=wrapped_anew,
    ),
    Program(
        name="fresh-relu-last",
        source="ProteomicsML/ProteomicsML pull request 203",
        fault="A ReLU ends a regression whose targets are negative half of the time.",
        accepted=frozenset({"output-mismatch", "dead", "constant-output"}),
        cause=frozenset({"output-mismatch", "dead"}),
        mechanical=True,
        make=relu_last,
    ),
    Program(
        name="fresh-nothing-between",
        source="Humbatova et al. 2020, activation function missing; a common question",
        fault="Three linear layers and no function between them: what is asked is not linear.",
        accepted=frozenset({"not-learning", "constant-output"}),
        make=nothing_between,
    ),
    Program(
        name="fresh-bytes-as-inputs",
        source="keras-team/keras issue 2711 (check the value range of the input and normalise it)",
        fault="Pixels of 0 to 255 at a rate for 0 to 1.",
        accepted=frozenset(
            {
                "input-scale",
                "rate-too-high",
                "exploding",
                "unstable",
                "diverged",
                "dead",
                "constant-output",
                "not-learning",
            }
        ),
        cause=frozenset({"input-scale"}),
        mechanical=True,
        make=bytes_as_inputs,
    ),
    Program(
        name="fresh-prices",
        source="after a common question (house prices, the loss becomes nan)",
        fault="Prices of some 250,000 are the targets as they are, at a rate for standard ones.",
        accepted=frozenset(
            {
                "target-scale",
                "rate-too-high",
                "exploding",
                "diverged",
                "dead",
                "constant-output",
                "not-learning",
            }
        ),
        cause=frozenset({"target-scale", "rate-too-high"}),
        mechanical=True,
        make=prices,
    ),
    Program(
        name="fresh-adam-at-a-tenth",
        source="keras-team/keras issues 2711 and 13891; Humbatova et al. 2020, suboptimal learning rate",
        fault="Adam at 0.1.",
        accepted=frozenset(
            {"rate-too-high", "dead", "unstable", "diverged", "constant-output", "not-learning"}
        ),
        cause=frozenset({"rate-too-high"}),
        mechanical=True,
        make=adam_at_a_tenth,
    ),
    Program(
        name="fresh-sgd-at-nothing",
        source="keras-team/keras issue 2711 (the rate was too small); Humbatova et al. 2020",
        fault="Plain SGD at 0.00001.",
        accepted=frozenset({"rate-too-low", "not-learning"}),
        cause=frozenset({"rate-too-low"}),
        mechanical=True,
        make=sgd_at_nothing,
    ),
    Program(
        name="fresh-weights-decayed",
        source="after a common question (weight_decay=0.5 taken from AdamW's scale)",
        fault="A weight decay of 0.5 in SGD at 0.1 takes all weights to 0.",
        accepted=frozenset({"constant-output", "vanishing", "dead", "not-learning"}),
        make=decayed,
    ),
    Program(
        name="fresh-all-zeros",
        source="Humbatova et al. 2020, wrong weight initialisation; a common question",
        fault="Every weight begins at 0: only the last bias ever has a gradient.",
        accepted=frozenset({"no-gradient", "dead", "constant-output", "not-learning"}),
        cause=frozenset({"no-gradient"}),
        mechanical=True,
        make=all_zeros,
    ),
    Program(
        name="fresh-unit-normal",
        source="Humbatova et al. 2020, wrong weight initialisation; a common question (normal_ with its defaults)",
        fault="Weights of deviation 1 in tanh layers of 200: the units are at their ends from the first step.",
        accepted=frozenset({"saturated", "exploding", "rate-too-high", "not-learning"}),
        cause=frozenset({"saturated", "exploding"}),
        mechanical=True,
        make=unit_normal,
    ),
    Program(
        name="fresh-sigmoids",
        source="keras-team/keras issue 6447 (changing the hidden activation solved it)",
        fault="Six hidden layers of sigmoids: next to no gradient reaches the first.",
        accepted=frozenset({"vanishing", "constant-output", "not-learning"}),
        cause=frozenset({"vanishing"}),
        make=sigmoids,
    ),
    Program(
        name="fresh-time-for-batch",
        source="HHTseng/video-classification issue 42; pytorch/pytorch issue 1538",
        fault="batch_first is not set: the GRU runs from sample to sample, and each sees its last moment alone.",
        accepted=frozenset({"not-learning", "constant-output"}),
        make=time_for_batch,
    ),
    Program(
        name="fresh-missing-values",
        source="keras-team/keras issue 6447 (found NaN values in the data)",
        fault="Some rows of the inputs hold NaN, and soon every weight does.",
        accepted=frozenset({"input-scale", "diverged"}),
        cause=frozenset({"input-scale"}),
        make=missing_values,
    ),
    Program(
        name="fresh-root-of-zero",
        source="after a common question (a distance by sqrt, nan after some steps)",
        fault="A pair of one sample with itself: the root's slope at 0 is infinite, and the gradient NaN.",
        accepted=frozenset({"diverged"}),
        cause=frozenset({"diverged"}),
        make=root_of_zero,
    ),
    Program(
        name="fresh-padded",
        source="after a common question (the last output of an RNN over padded text; pack_padded_sequence)",
        fault="The answer is taken after forty steps of padding: what the words said has faded.",
        accepted=frozenset({"vanishing", "constant-output", "not-learning"}),
        cause=frozenset({"vanishing"}),
        make=padded,
    ),
    Program(
        name="fresh-entropy-of-standard",
        source="pytorch/examples issue 399; a common question (the autoencoder's loss is negative)",
        fault="Cross-entropy of pixels that were made standard: targets below 0 and above 1 have no best output.",
        accepted=frozenset({"output-mismatch", "bad-targets", "diverged"}),
        cause=frozenset({"output-mismatch", "bad-targets"}),
        mechanical=True,
        make=entropy_of_standard,
    ),
    Program(
        name="fresh-only-pulled",
        source="after a common question (a siamese net that says the same of everything)",
        fault="Only pairs that belong together are given: the least loss is one point for everything.",
        accepted=frozenset({"constant-output", "not-learning"}),
        cause=frozenset({"constant-output"}),
        mechanical=True,
        make=only_pulled,
    ),
    Program(
        name="fresh-large-returns",
        source="after a common question (REINFORCE ends in one action; normalise the returns)",
        fault="Returns of 1000 and 1100 as they are: the policy is certain of one action after a few updates.",
        accepted=frozenset(
            {
                "rate-too-high",
                "target-scale",
                "saturated",
                "unstable",
                "diverged",
                "constant-output",
                "not-learning",
            }
        ),
        cause=frozenset({"rate-too-high", "target-scale"}),
        mechanical=True,
        make=large_returns,
    ),
    Program(
        name="fresh-norm-of-two",
        source="xuebinqin/BASNet issue 42; NifTK/NiftyNet pull request 209",
        fault="Batch norm over batches of two: each unit knows only which of the two was larger.",
        accepted=frozenset({"unstable", "not-learning", "constant-output"}),
        make=norm_of_two,
    ),
)
