"""What a recorder knows of a model's task and of each update, in small real trainings beside another computation."""

import copy
import math
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import minimize
from torch import Tensor, nn

import gradlab
from gradlab.base.errors import ConfigError
from gradlab.recorder.recorder import Recorder
from gradlab.recorder.unit_variance import unit_variance

F64 = torch.float64
DRAW = torch.Generator().manual_seed(3)
X = torch.randn(40, 5, dtype=F64, generator=DRAW)
CLASSES = (X[:, 0] > 0).long() + (X[:, 1] > 0.4).long()
NUMBERS = torch.stack([X[:, 0] - X[:, 1], X[:, 2].square()], dim=1)
SHARES = torch.softmax(2 * X[:, :3], dim=1)
LABELS = (X[:, :3] > 0.3).to(F64)


def net(outputs: int = 3, *last: nn.Module, inputs: int = 5) -> nn.Sequential:
    torch.manual_seed(2)
    return nn.Sequential(nn.Linear(inputs, 8), nn.Tanh(), nn.Linear(8, outputs), *last).to(F64)


def trained(model, criterion, targets, *, steps=3, probe=None, rate=0.1, each=None, x=None, **more):  # type: ignore[no-untyped-def]
    """A recorder that has seen a plain loop; each(model): called before each update."""
    x = X if x is None else x
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    more = {"schedule": "all", **more}
    with Recorder(
        model, probe=x if probe is None else probe, targets=targets, criterion=criterion, **more
    ) as recorder:
        for _ in range(steps):
            optimizer.zero_grad()
            loss = criterion(model(x), targets)
            loss.backward()
            if each is not None:
                each(model)
            recorder.step(loss=loss, optimizer=optimizer)
            optimizer.step()
    return recorder


def steps_of(recorder: Recorder) -> pd.DataFrame:
    return recorder.steps_table().frame()


def column(recorder: Recorder, name: str) -> list[float]:
    return steps_of(recorder)[name].tolist()  # type: ignore[no-any-return]


def rows(recorder: Recorder, step: int = 0) -> pd.DataFrame:
    found = recorder.to_frame()
    return found[found["step"] == step].set_index("name")


def entropy(shares) -> float:  # type: ignore[no-untyped-def]
    p = np.asarray(shares, dtype=np.float64)
    return float(-(p[p > 0] * np.log(p[p > 0])).sum())


def frequencies(y: Tensor, classes: int) -> np.ndarray:
    return np.bincount(y.numpy(), minlength=classes) / len(y)


# -- the probe's loss and accuracy ---------------------------------------------------------------------------


def test_the_probes_loss_is_that_of_eval_mode_before_the_update() -> None:
    model = net(3, nn.Dropout(0.5))
    expected: list[float] = []
    right: list[float] = []

    def look(model: nn.Module) -> None:
        twin = copy.deepcopy(model).eval()
        z = twin(X).detach().numpy()
        p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
        expected.append(float(-np.log(p[np.arange(len(X)), CLASSES.numpy()]).mean()))
        right.append(float((z.argmax(1) == CLASSES.numpy()).mean()))

    recorder = trained(model, nn.CrossEntropyLoss(), CLASSES, each=look)
    assert column(recorder, "probe_loss") == pytest.approx(expected, rel=1e-12)
    assert column(recorder, "probe_accuracy") == pytest.approx(right)
    assert column(recorder, "baseline_accuracy") == [frequencies(CLASSES, 3).max()] * 3
    dropped = column(recorder, "train_loss")
    assert all(abs(a - b) > 1e-3 for a, b in zip(dropped, expected, strict=True)), (
        "the batch's own has dropout"
    )


COLUMN = LABELS[:, :1]


@pytest.mark.parametrize(
    ("outputs", "last", "criterion", "targets", "right"),
    [
        (1, [], F.mse_loss, COLUMN, lambda o, y: (o > 0.5) == (y > 0)),
        (1, [], lambda o, y: ((o - y) ** 2).mean(), COLUMN, lambda o, y: (o > 0.5) == (y > 0)),
        (1, [], nn.SoftMarginLoss(), COLUMN, lambda o, y: (o > 0) == (y > 0)),
        (1, [], F.binary_cross_entropy_with_logits, COLUMN, lambda o, y: (o > 0) == (y > 0)),
        (1, [nn.Sigmoid()], F.binary_cross_entropy, COLUMN, lambda o, y: (o > 0.5) == (y > 0)),
        (1, [], lambda o, y: F.binary_cross_entropy(o.sigmoid(), y), COLUMN, lambda o, y: (o > 0) == (y > 0)),
        (3, [], F.cross_entropy, F.one_hot(CLASSES, 3).to(F64), lambda o, y: o.argmax(1) == y.argmax(1)),
        (1, [nn.Flatten(0)], F.binary_cross_entropy_with_logits, COLUMN[:, 0], lambda o, y: (o > 0) == (y > 0)),
        (1, [], lambda o, y: F.binary_cross_entropy_with_logits(o[:, 0], y.to(F64)), COLUMN[:, 0].long(),
         lambda o, y: (o[:, 0] > 0) == (y > 0)),
        (3, [], F.binary_cross_entropy_with_logits, LABELS, None),
        (2, [], F.mse_loss, NUMBERS, None),
        (1, [], lambda o, y: (o[:, 0] - y).square().mean(), 3 + CLASSES, None),
        (3, [], lambda o, y: F.cross_entropy(o[0::2], y["class"][0::2]), {"class": CLASSES}, None),
    ],
)  # fmt: skip
def test_accuracy_is_there_where_targets_name_classes(outputs, last, criterion, targets, right) -> None:  # type: ignore[no-untyped-def]
    model = net(outputs, *last)
    expected: list[float] = []

    def look(model: nn.Module) -> None:
        if right is not None:
            expected.append(float(right(model(X).detach(), targets).double().mean()))

    found = column(trained(model, criterion, targets, each=look), "probe_accuracy")
    if right is None:
        assert np.isnan(found).all(), found
    else:
        assert found == pytest.approx(expected)


def test_a_net_of_nan_has_no_accuracy() -> None:
    model = net()
    with torch.no_grad():
        model[2].bias[0] = math.nan  # type: ignore[index, operator]
    found = steps_of(trained(model, nn.CrossEntropyLoss(), CLASSES))
    assert found["probe_accuracy"].isna().all() and found["probe_loss"].isna().all()


# -- the best constant output --------------------------------------------------------------------------------


def found_by_scipy(criterion, targets, outputs: int) -> float:  # type: ignore[no-untyped-def]
    def loss(point: np.ndarray) -> float:
        return float(criterion(torch.tensor(point, dtype=F64).expand(len(X), outputs), targets).mean())

    starts = [np.zeros(outputs), np.ones(outputs), np.full(outputs, -1.0)]
    tried = [minimize(loss, start, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 20_000})
             for start in starts]  # fmt: skip
    return min(float(one.fun) for one in tried)


def test_the_best_constant_of_classes_is_their_entropy() -> None:
    expected = entropy(frequencies(CLASSES, 3))
    one_hot = F.one_hot(CLASSES, 3).to(F64)
    for model, criterion, targets in [
        (net(), nn.CrossEntropyLoss(), CLASSES),
        (net(), F.cross_entropy, one_hot),
        (net(), lambda o, y: F.nll_loss(F.log_softmax(o, 1), y), CLASSES),
        (net(3, nn.LogSoftmax(1)), nn.NLLLoss(), CLASSES),
        (net(3, nn.Softmax(1)), lambda o, y: -(y * o.log()).sum(1).mean(), one_hot),
        (net(3), lambda o, y: -(y * torch.log_softmax(o, 1)).sum(1).mean(), one_hot),
    ]:
        recorder = trained(model, criterion, targets)
        assert column(recorder, "baseline_loss") == pytest.approx([expected] * 3, rel=1e-6)


def test_the_best_constant_of_shares_is_their_means_entropy() -> None:
    expected = entropy(SHARES.mean(0))
    found = column(trained(net(), nn.CrossEntropyLoss(), SHARES), "baseline_loss")
    assert found == pytest.approx([expected] * 3, rel=1e-6)
    divergence = expected - float(np.mean([entropy(row) for row in SHARES.numpy()]))
    recorder = trained(net(3, nn.LogSoftmax(1)), nn.KLDivLoss(reduction="batchmean"), SHARES)
    assert column(recorder, "baseline_loss") == pytest.approx([divergence] * 3, rel=1e-6)


def test_the_best_constant_of_labels_is_the_entropy_of_each() -> None:
    expected = np.mean([entropy([p, 1 - p]) for p in LABELS.mean(0).tolist()])
    for model, criterion in [
        (net(), nn.BCEWithLogitsLoss()),
        (net(3, nn.Sigmoid()), nn.BCELoss()),
        (net(3, nn.Sigmoid()), lambda o, y: -(y * o.log() + (1 - y) * (1 - o).log()).mean()),
    ]:
        found = column(trained(model, criterion, LABELS), "baseline_loss")
        assert found == pytest.approx([expected] * 3, rel=1e-6)


def test_the_best_constant_of_numbers_is_their_mean_or_median() -> None:
    y = NUMBERS.numpy()
    variance = ((y - y.mean(0)) ** 2).mean()
    around_median = np.abs(y - np.median(y, 0)).mean()
    for criterion, expected in [
        (nn.MSELoss(), variance),
        (nn.MSELoss(reduction="sum"), variance * y.size),
        (lambda o, t: 0.5 * (o - t).pow(2).sum(1).mean(), variance),
        (lambda o, t: (o - t).square(), variance),
        (nn.L1Loss(), around_median),
    ]:
        with_mean = (
            criterion
            if criterion(NUMBERS, NUMBERS).dim() == 0
            else (lambda o, t, c=criterion: c(o, t).mean())
        )
        found = column(trained(net(2), with_mean, NUMBERS, rate=1e-3), "baseline_loss")
        assert found == pytest.approx([expected] * 3, rel=1e-5)


@pytest.mark.parametrize(
    ("criterion", "targets", "outputs"),
    [
        (nn.SmoothL1Loss(), NUMBERS, 2),
        (nn.HuberLoss(delta=0.3), NUMBERS, 2),
        (nn.CrossEntropyLoss(label_smoothing=0.2), CLASSES, 3),
        (nn.CrossEntropyLoss(weight=torch.tensor([1.0, 5.0, 0.5], dtype=F64)), CLASSES, 3),
        (nn.BCEWithLogitsLoss(pos_weight=torch.tensor([3.0, 1.0, 0.2], dtype=F64)), LABELS, 3),
        (nn.MultiMarginLoss(), CLASSES, 3),
        (nn.PoissonNLLLoss(), NUMBERS.abs(), 2),
        (lambda o, y: (o - y).cosh().log().mean(), NUMBERS, 2),
        (lambda o, y: F.mse_loss(o[:, :1], y[:, :1]) + F.cross_entropy(o, (y > 0).to(F64) + 0.1), NUMBERS, 2),
    ],
)  # fmt: skip
def test_the_best_constant_is_what_another_search_finds(criterion, targets, outputs) -> None:  # type: ignore[no-untyped-def]
    found = column(trained(net(outputs), criterion, targets, rate=1e-3), "baseline_loss")
    assert found == pytest.approx([found_by_scipy(criterion, targets, outputs)] * 3, rel=2e-4)


def test_a_loss_that_falls_without_end_has_no_best_constant() -> None:
    for criterion in (lambda o, y: -(o * y).mean(), lambda o, y: (o[:, 0] * 3).mean()):
        assert np.isnan(column(trained(net(2), criterion, NUMBERS + 3), "baseline_loss")).all()


@pytest.mark.parametrize("shape", ["pixels", "words"])
def test_the_best_constant_of_a_map_is_one_for_each_place(shape: str) -> None:
    """Outputs of several places a sample: the constant is the same for every sample, and not for every place."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv1d(2, 4, 1), nn.Tanh(), nn.Conv1d(4, 3, 1)).to(F64)
    x = torch.randn(60, 2, 5, dtype=F64)
    y = torch.multinomial(torch.tensor([[6.0, 3.0, 2.0], [1.0, 1.0, 1.0], [1.0, 5.0, 2.0], [2.0, 1.0, 1.0],
                                        [1.0, 2.0, 9.0]]), 60, replacement=True).T  # fmt: skip
    expected = float(np.mean([entropy(frequencies(y[:, place], 3)) for place in range(5)]))

    def criterion(o: Tensor, t: Tensor) -> Tensor:
        flat = o.transpose(1, 2).reshape(-1, 3)
        return F.cross_entropy(o, t) if shape == "pixels" else F.cross_entropy(flat, t.reshape(-1))

    recorder = trained(model, criterion, y, x=x)
    assert column(recorder, "baseline_loss") == pytest.approx([expected] * 3, rel=1e-4)
    guess = [float((model(x).argmax(1) == y).double().mean())]
    assert 0 < guess[0] < 1 and 0 < column(recorder, "probe_accuracy")[0] < 1


def test_a_net_that_learns_beats_the_best_constant_and_one_that_cannot_does_not() -> None:
    targets = NUMBERS
    assert trained(net(2), F.mse_loss, targets, steps=130, schedule="log").diagnose().verdicts == ("healthy",)
    noise = torch.randn(40, 5, dtype=F64, generator=torch.Generator().manual_seed(8))
    blind = net(2)
    with torch.no_grad():
        blind[0].weight.zero_()  # type: ignore[union-attr]
    for each in (blind[0], blind[2]):
        each.weight.requires_grad_(False)
    found = trained(blind, F.mse_loss, targets, steps=130, schedule="log", x=noise).diagnose()
    assert "not-learning" in found.verdicts


# -- what inputs, outputs and targets are --------------------------------------------------------------------


def test_the_outputs_columns_beside_numpy() -> None:
    seen = []
    recorder = trained(net(2), F.mse_loss, NUMBERS, each=lambda model: seen.append(model(X).detach().numpy()))
    found = steps_of(recorder)
    for place, o in enumerate(seen):
        row = found.iloc[place]
        expected = {
            "output_min": o.min(), "output_max": o.max(), "output_rms": np.sqrt((o**2).mean()),
            "output_spread": np.sqrt(o.var(0).mean()), "output_units": 2.0,
        }  # fmt: skip
        assert {name: row[name] for name in expected} == pytest.approx(expected, rel=1e-12)
    assert (found["output_shape"] == "40 x 2").all() and (found["output_activation"] == "").all()


def test_the_inputs_columns_beside_numpy() -> None:
    x = X.clone() * torch.tensor([1.0, 3.0, 500.0, 0.0, 1.0], dtype=F64) + torch.tensor(
        [0, 7, 0, 4.0, 0], dtype=F64
    )
    found = steps_of(trained(net(2), F.mse_loss, NUMBERS, x=x)).iloc[0]
    values = x.numpy()
    deviation = values.std(0)
    varying = deviation[deviation > 0]
    expected = {
        "input_rms": np.sqrt((values**2).mean()), "input_spread": np.sqrt((deviation**2).mean()),
        "input_constant": 0.2, "input_ratio": varying.max() / np.quantile(varying, 0.25), "input_nonfinite": 0.0,
    }  # fmt: skip
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-12)


def test_inputs_that_are_not_finite_are_counted_and_left_out() -> None:
    x = X.clone()
    x[3, 1], x[3, 2], x[5, 0] = math.nan, math.inf, -math.inf
    found = steps_of(trained(net(2), F.mse_loss, NUMBERS, x=x)).iloc[0]
    sound = np.delete(X.numpy(), [3, 5], axis=0)
    assert found["input_nonfinite"] == 3.0
    assert found["input_rms"] == pytest.approx(np.sqrt((sound**2).mean()), rel=1e-12)
    assert found["input_spread"] == pytest.approx(np.sqrt(sound.var(0).mean()), rel=1e-12)


def test_token_numbers_are_no_inputs_of_a_size() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(8, 3)).to(F64)
    tokens = torch.randint(0, 9, (40, 2))
    found = steps_of(trained(model, F.cross_entropy, CLASSES, x=tokens))
    assert found.filter(like="input_").drop(columns="input_constant").isna().all(axis=None)
    assert (found["input_constant"] == 0).all()


@pytest.mark.parametrize(
    ("targets", "criterion", "kind", "distinct", "shape"),
    [
        (CLASSES, F.cross_entropy, "classes", 3, "40"),
        (F.one_hot(CLASSES, 3).to(F64), F.cross_entropy, "one-hot", 3, "40 x 3"),
        (F.one_hot(CLASSES, 3), lambda o, y: F.cross_entropy(o, y.to(F64)), "one-hot", 3, "40 x 3"),
        (LABELS, F.binary_cross_entropy_with_logits, "labels", len(np.unique(LABELS, axis=0)), "40 x 3"),
        (SHARES, F.cross_entropy, "numbers", 40, "40 x 3"),
        (NUMBERS[:, :1].expand(-1, 3), F.mse_loss, "numbers", 40, "40 x 3"),
        (CLASSES[:, None].expand(-1, 3).to(F64), F.mse_loss, "numbers", 3, "40 x 3"),
        (X[:, 0] > 0, lambda o, y: F.binary_cross_entropy_with_logits(o[:, 0], y.to(F64)), "binary", 2, "40"),
        (
            COLUMN.expand(-1, 1),
            lambda o, y: F.binary_cross_entropy_with_logits(o[:, :1], y),
            "binary",
            2,
            "40 x 1",
        ),
    ],
)
def test_the_targets_columns_beside_numpy(targets, criterion, kind, distinct, shape) -> None:  # type: ignore[no-untyped-def]
    found = steps_of(trained(net(), criterion, targets)).iloc[0]
    y = targets.numpy().astype(np.float64)
    rows = y.reshape(len(y), -1)
    expected = {
        "target_min": y.min(), "target_max": y.max(), "target_rms": np.sqrt((y**2).mean()), "target_nonfinite": 0.0,
        "target_spread": np.sqrt(rows.var(0).mean()), "target_distinct": float(distinct),
    }  # fmt: skip
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-12)
    assert (found["target_kind"], found["target_shape"]) == (kind, shape)


def test_targets_that_are_not_finite_are_counted() -> None:
    y = NUMBERS.clone()
    y[2, 0], y[7, 1] = math.nan, math.inf
    recorder = trained(net(2), F.mse_loss, y)
    found = steps_of(recorder).iloc[0]
    sound = y.numpy()[np.isfinite(y.numpy())]
    assert found["target_nonfinite"] == 2.0 and found["target_max"] == sound.max()
    assert found["target_rms"] == pytest.approx(np.sqrt((sound**2).mean()), rel=1e-12)
    assert "bad-targets" in recorder.diagnose().verdicts


@pytest.mark.parametrize(
    ("last", "criterion", "targets", "made", "called"),
    [
        ([], nn.CrossEntropyLoss(), CLASSES, "", "cross_entropy"),
        ([], lambda o, y: F.cross_entropy(o, y), CLASSES, "", "cross_entropy"),
        ([nn.Softmax(1)], F.cross_entropy, CLASSES, "softmax", "cross_entropy"),
        ([nn.LogSoftmax(1)], F.nll_loss, CLASSES, "log_softmax", "nll_loss"),
        ([], lambda o, y: F.nll_loss(o.log_softmax(1), y), CLASSES, "log_softmax", "nll_loss"),
        (
            [],
            lambda o, y: F.nll_loss(o - o.logsumexp(1, keepdim=True), y),
            CLASSES,
            "in the criterion",
            "nll_loss",
        ),
        ([nn.Sigmoid()], nn.BCELoss(), LABELS, "sigmoid", "binary_cross_entropy"),
        ([], lambda o, y: F.binary_cross_entropy(o.sigmoid(), y), LABELS, "sigmoid", "binary_cross_entropy"),
        ([nn.ReLU()], lambda o, y: F.mse_loss(o.flatten(), y.flatten()), LABELS, "relu", "mse_loss"),
        ([], lambda o, y: ((o - y) ** 2).mean(), LABELS, "", "mse_loss"),
        ([], lambda o, y: (o - y).abs().mean(), LABELS, "", "l1_loss"),
        ([], lambda o, y: (o - y).pow(4).mean(), LABELS, "", "lambda"),
        ([], lambda o, y: F.mse_loss(o, y) + F.l1_loss(o, y), LABELS, "", "mse_loss + l1_loss"),
    ],
)
def test_what_makes_the_outputs_and_what_the_criterion_calls(last, criterion, targets, made, called) -> None:  # type: ignore[no-untyped-def]
    found = steps_of(trained(net(3, *last), criterion, targets))
    assert (found["output_activation"] == made).all() and (found["criterion"] == called).all()
    assert ("+" in called) == bool(found.filter(like="target_").drop(columns=["target_kind", "target_shape"])
                                   .isna().all(axis=None))  # fmt: skip


def test_of_two_losses_nobody_knows_which_targets_are_whose() -> None:
    found = steps_of(trained(net(), lambda o, y: F.mse_loss(o, y) + F.l1_loss(o, y), LABELS))
    assert (found["target_kind"] == "").all() and found["target_rms"].isna().all()
    assert found["probe_loss"].notna().all() and found["baseline_loss"].notna().all()


def test_targets_and_criterion_come_together() -> None:
    for more in ({"targets": CLASSES}, {"criterion": F.cross_entropy}):
        with pytest.raises(ConfigError, match="say nothing about learning"):
            Recorder(net(), probe=X, **more)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="belong to a probe"):
        Recorder(net(), targets=CLASSES, criterion=F.cross_entropy)
    with pytest.raises(ConfigError, match="is no function"):
        Recorder(net(), probe=X, targets=CLASSES, criterion=3)  # type: ignore[arg-type]


def test_a_sample_alone_has_no_correlation() -> None:
    """Whatever the rounding: the length of a unit vector is next to 1, and there are no pairs to divide by."""
    for place in range(12):
        row = slice(place, place + 1)
        recorder = trained(net(2), F.mse_loss, NUMBERS[row], x=X[row], steps=1)
        assert rows(recorder)["sample_correlation"].isna().all()


def test_a_probe_of_one_row() -> None:
    model = net(2)
    recorder = trained(model, F.mse_loss, NUMBERS[:1], x=X[:1], steps=130)
    found = steps_of(recorder)
    assert (found["output_spread"] == 0).all() and found["input_spread"].isna().all()
    assert rows(recorder)["sample_correlation"].isna().all(), "there is no pair of samples"
    assert not {"constant-output", "input-scale", "bad-targets"} & {*recorder.diagnose().verdicts}
    assert column(recorder, "baseline_loss")[0] == pytest.approx(0, abs=1e-12)


# -- each layer ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phi", [nn.Tanh(), nn.ReLU()])
def test_sample_correlation_beside_the_double_loop(phi: nn.Module) -> None:
    torch.manual_seed(2)
    model = nn.Sequential(nn.Linear(5, 6), phi, nn.Linear(6, 3)).to(F64)
    probe = torch.randn(70, 5, dtype=F64, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        model[0].bias[:] = -0.8  # type: ignore[index]
    h = phi(model[0](probe)).detach().numpy()[:64]
    if isinstance(phi, nn.ReLU):
        assert (np.linalg.norm(h, axis=1) == 0).any(), "some samples give 0, and have no direction"
    cosines = [
        float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
        for i, a in enumerate(h)
        for j, b in enumerate(h)
        if i != j and np.linalg.norm(a) and np.linalg.norm(b)
    ]
    recorder = trained(model, F.mse_loss, NUMBERS.new_zeros(70, 3), x=probe, steps=1)
    assert rows(recorder).loc["0", "sample_correlation"] == pytest.approx(np.mean(cosines), rel=1e-9)


class GeluNew(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return 0.5 * z * (1 + torch.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z.pow(3))))


class QuickGelu(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return z * torch.sigmoid(1.702 * z)


class ReluSquared(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return F.relu(z).square()


class Scale(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return 0.3 * z


class Softmax(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        e = (z - z.max(dim=-1, keepdim=True).values).exp()
        return e / e.sum(dim=-1, keepdim=True)


class PlainNorm(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return (z - z.mean(dim=-1, keepdim=True)) / (z.var(dim=-1, keepdim=True) + 1e-5).sqrt()


class Shift(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return z + 1


class Noise(nn.Module):
    """It draws in eval mode too."""

    def forward(self, z: Tensor) -> Tensor:
        return z + 0.1 * torch.randn_like(z)


class Running(nn.Module):
    """Each number of what stands before it."""

    def forward(self, z: Tensor) -> Tensor:
        return z.cumsum(dim=-1) ** 2


class Masked(nn.Module):
    """A ReLU without any function of that name."""

    def forward(self, z: Tensor) -> Tensor:
        return z * (z > 0)


@pytest.mark.parametrize("phi", [GeluNew(), QuickGelu(), ReluSquared(), Masked()])
def test_an_activation_written_by_hand_is_attributed_as_a_whole(phi: nn.Module) -> None:
    torch.manual_seed(2)
    model = nn.Sequential(nn.Linear(5, 6), phi, nn.Linear(6, 3)).to(F64)
    with torch.no_grad():
        model[0].weight *= 4  # type: ignore[operator]
        model[0].bias[0] = -60  # type: ignore[index]
    born = copy.deepcopy(model[0])
    row = rows(trained(model, F.mse_loss, SHARES, steps=1)).loc["0"]
    assert row["layer_activation"] == type(phi).__name__
    z = born(X).detach().requires_grad_()
    (slope,) = torch.autograd.grad(phi(z).sum(), z)
    assert row["slope_sq"] == pytest.approx(float(slope.square().mean()), rel=1e-9)
    assert row["h_rms"] == pytest.approx(float(phi(z).detach().square().mean().sqrt()), rel=1e-9)
    assert row["z_std"] == pytest.approx(float(z.detach().std(correction=0)), rel=1e-9)
    grid = torch.linspace(-16, 16, 4001, dtype=F64, requires_grad=True)
    (steepness,) = torch.autograd.grad(phi(grid).sum(), grid)
    steepest = 2.0 if isinstance(phi, ReluSquared) else float(steepness.abs().max())
    flat = float((slope.abs() < 0.05 * steepest).double().mean())
    assert row["saturated_fraction"] == pytest.approx(flat, abs=0.01)
    dead = 1 / 6 if isinstance(phi, ReluSquared | Masked) else 0.0
    assert row["dead_fraction"] == pytest.approx(dead)


@pytest.mark.parametrize(
    "other", [Scale(), Softmax(), PlainNorm(), Shift(), Running(), nn.LayerNorm(6, elementwise_affine=False)]
)
def test_what_is_no_activation_is_not_called_one(other: nn.Module) -> None:
    torch.manual_seed(2)
    model = nn.Sequential(nn.Linear(5, 6), other, nn.Linear(6, 3)).to(F64)
    row = rows(trained(model, F.mse_loss, SHARES, steps=1)).loc["0"]
    assert row["layer_activation"] == "" and np.isnan(row["saturated_fraction"])


def test_the_activation_of_each_row_is_its_own() -> None:
    torch.manual_seed(2)
    model = nn.Sequential(
        nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 6), GeluNew(), nn.Linear(6, 6), Scale(), nn.Tanh(), nn.Linear(6, 3),
        nn.Sigmoid(),
    ).to(F64)  # fmt: skip
    found = rows(trained(model, F.mse_loss, LABELS, steps=1))["layer_activation"]
    assert found.to_dict() == {"0": "relu", "2": "GeluNew", "4": "tanh", "7": "sigmoid"}


# -- whether training reaches the parameters -----------------------------------------------------------------


class Parts(nn.Module):
    def __init__(self, cut: bool = False) -> None:
        super().__init__()
        self.a, self.b, self.unused, self.out = (
            nn.Linear(5, 6),
            nn.Linear(6, 6),
            nn.Linear(6, 6),
            nn.Linear(6, 3),
        )
        self.cut = cut

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x).tanh()
        h = h.detach() if self.cut else h
        return self.out(self.b(h).tanh())  # type: ignore[no-any-return]


def test_trains_says_what_reaches_each_module() -> None:
    torch.manual_seed(0)
    model = Parts().to(F64)
    model.b.requires_grad_(False)
    optimizer = torch.optim.SGD([*model.a.parameters()], lr=0.1)
    with Recorder(model, probe=X, targets=CLASSES, criterion=F.cross_entropy, schedule="all") as recorder:
        for _ in range(3):
            model.zero_grad()
            F.cross_entropy(model(X), CLASSES).backward()
            recorder.step(optimizer=optimizer)
            optimizer.step()
    found = recorder.to_frame()
    for step in range(3):
        one = found[found["step"] == step].set_index("name")["trains"]
        expected = {"a": "yes", "b": "frozen", "unused": "no gradient", "out": "not in the optimizer"}
        assert one.to_dict() == expected
    text = next(each for each in recorder.diagnose().findings if each.verdict == "no-gradient").evidence
    assert "unused" in text and "not used for the loss" in text


def test_an_optimiser_that_lacks_a_layer() -> None:
    model = net()
    optimizer = torch.optim.SGD(model[2].parameters(), lr=0.1)
    with Recorder(model, probe=X, targets=CLASSES, criterion=F.cross_entropy) as recorder:
        for _ in range(3):
            model.zero_grad()
            loss = F.cross_entropy(model(X), CLASSES)
            loss.backward()
            recorder.step(loss=loss, optimizer=optimizer)
            optimizer.step()
    found = next(each for each in recorder.diagnose().findings if each.verdict == "no-gradient")
    assert "in no optimizer" in found.evidence and found.evidence.split(";")[0].endswith(": 0")
    assert "every parameter" in recorder.diagnose().advice


class Listed(nn.Module):
    """Layers in a plain list and a dict of lists, which the model does not know, and one that it knows."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = [nn.Linear(5, 6), nn.Sequential(nn.Linear(6, 6), nn.Tanh())]
        self.more = {"a": (nn.Linear(6, 6), self.layers)}
        self.out = nn.Linear(6, 3)
        self.own = [self.out]

    def forward(self, x: Tensor) -> Tensor:
        for layer in (*self.layers, self.more["a"][0]):
            x = layer(x).tanh()  # type: ignore[operator]
        return self.out(x)  # type: ignore[no-any-return]


@pytest.mark.parametrize("given", [False, True])
def test_layers_in_a_plain_list_are_recorded_and_named(given: bool) -> None:
    model = Listed()
    hidden = [*model.layers, model.more["a"][0]]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    if given:
        for layer in hidden:
            optimizer.add_param_group({"params": layer.parameters()})  # type: ignore[union-attr]
    with Recorder(model, probe=X.float(), targets=CLASSES, criterion=F.cross_entropy) as recorder:
        for _ in range(3):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(X.float()), CLASSES)
            loss.backward()
            recorder.step(loss=loss, optimizer=optimizer)
            optimizer.step()
    rows = recorder.to_frame().query("step == 0").set_index("name")
    state = "yes" if given else "not registered"
    assert rows["trains"].to_dict() == {
        "layers[0]": state,
        "layers[1].0": state,
        "more['a'][0]": state,
        "out": "yes",
    }
    assert rows["delta_rms"].gt(0).all()
    faults = {each.verdict: each.evidence for each in recorder.diagnose().findings}
    assert ("no-gradient" in faults) == (not given)
    if not given:
        assert "3 of 4 modules" in faults["no-gradient"] and "plain list" in faults["no-gradient"]
        assert "ModuleList" in recorder.diagnose().advice


def test_a_teacher_kept_in_a_list_is_no_fault() -> None:
    model, teacher = net(), net()
    model.teacher = [teacher]  # type: ignore[assignment]
    with torch.no_grad():
        wanted = teacher(X)
    recorder = trained(model, F.mse_loss, wanted, steps=130, schedule="log")
    assert recorder.to_frame().query("name.str.startswith('teacher')")["trains"].eq("frozen").all()
    assert "no-gradient" not in {each.verdict for each in recorder.diagnose().findings}


def test_detach_in_the_middle_is_found_and_named() -> None:
    torch.manual_seed(0)
    model = Parts(cut=True).to(F64)
    found = trained(model, F.cross_entropy, CLASSES, steps=130, schedule="log").diagnose()
    text = next(each for each in found.findings if each.verdict == "no-gradient").evidence
    assert "a" in text and "no gradient in any record" in text


def test_a_frozen_first_layer_is_healthy() -> None:
    model = net()
    model[0].requires_grad_(False)
    found = trained(model, F.cross_entropy, CLASSES, steps=400, rate=1.0, schedule="log").diagnose()
    assert found.verdicts == ("healthy",)


def test_lora_with_b_of_0_is_healthy() -> None:
    class Lora(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.base, self.a, self.b = (
                nn.Linear(5, 8),
                nn.Linear(5, 2, bias=False),
                nn.Linear(2, 8, bias=False),
            )
            self.base.requires_grad_(False)
            nn.init.zeros_(self.b.weight)

        def forward(self, x: Tensor) -> Tensor:
            return self.base(x) + self.b(self.a(x))  # type: ignore[no-any-return]

    torch.manual_seed(1)
    model = nn.Sequential(Lora(), nn.Tanh(), nn.Linear(8, 3)).to(F64)
    found = trained(model, F.cross_entropy, CLASSES, steps=300, rate=0.5, schedule="log").diagnose()
    assert found.verdicts == ("healthy",)


@pytest.mark.parametrize("last", [[], [nn.ReLU()]])
def test_a_loss_of_nan_that_a_rectified_output_masks(last: list[nn.Module]) -> None:
    """0 log 0 is NaN, and a ReLU at 0 passes no gradient: every other number of the net is one."""
    model = net(3, *last)
    with torch.no_grad():
        model[2].bias -= 30  # type: ignore[operator]
    criterion = (lambda o, y: -(y * o.log()).sum(1).mean()) if last else nn.CrossEntropyLoss()
    recorder = trained(model, criterion, F.one_hot(CLASSES, 3).to(F64), steps=120, schedule="log")
    found = recorder.diagnose().verdicts
    if last:
        assert (recorder.to_frame()["nonfinite"] == 0).all() and steps_of(recorder)["probe_loss"].isna().all()
        assert "diverged" in found and "dead" in found
    else:
        assert "diverged" not in found


# -- each update ---------------------------------------------------------------------------------------------


NEVER = "never"


@pytest.mark.parametrize("accumulation", [1, 4])
@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("zero", [True, False, NEVER])
@pytest.mark.parametrize(("kind", "clip"), [(torch.optim.SGD, False), (torch.optim.Adam, True)])
def test_gradients_that_were_not_zeroed_are_seen(kind, clip, zero, place, accumulation) -> None:  # type: ignore[no-untyped-def]
    model = net()
    optimizer = kind(model.parameters(), lr=1e-3)

    def clear() -> None:
        if zero is not NEVER:
            optimizer.zero_grad(set_to_none=zero)

    with Recorder(model, probe=X, schedule="all", accumulation=accumulation) as recorder:
        for _ in range(4):
            if place == "before":
                clear()
            for part in range(accumulation):
                (F.cross_entropy(model(X[part::4]), CLASSES[part::4]) / accumulation).backward()
            recorder.step(optimizer=optimizer)
            if clip:
                nn.utils.clip_grad_norm_(model.parameters(), 0.1)
            optimizer.step()
            if place == "after":
                clear()
    found = column(recorder, "carried_gradients")
    assert np.isnan(found[0]) and found[1:] == [1.0 if zero is NEVER else 0.0] * 3


def test_a_training_of_which_the_gradients_add_up_is_told_to_zero_them() -> None:
    model = net(2)
    optimizer = torch.optim.SGD(model.parameters(), lr=3.0)
    with Recorder(model, probe=X, targets=NUMBERS, criterion=F.mse_loss) as recorder:
        for _ in range(130):
            loss = F.mse_loss(model(X), NUMBERS)
            loss.backward()
            recorder.step(loss=loss, optimizer=optimizer)
            optimizer.step()
    found = recorder.diagnose()
    text = {each.verdict: each.evidence for each in found.findings}
    assert "100% of the gradients were not zeroed" in text.get("rate-too-high", ""), found.verdicts
    assert any("zero_grad" in cure.code for cure in found.cures)


def test_the_rate_and_the_gradients_norm() -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.4)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    norms = []
    with Recorder(model, schedule="all") as recorder:
        for _ in range(3):
            optimizer.zero_grad()
            F.cross_entropy(model(X), CLASSES).backward()
            norms.append(float(np.sqrt(sum((p.grad.numpy() ** 2).sum() for p in model.parameters()))))  # type: ignore[union-attr]
            recorder.step(optimizer=optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
            optimizer.step()
            schedule.step()
    assert column(recorder, "learning_rate") == pytest.approx([0.4, 0.2, 0.1])
    assert column(recorder, "grad_norm") == pytest.approx(norms, rel=1e-12)
    assert set(steps_of(recorder)["optimizer_used"]) == {"SGD"}
    assert np.isnan(column(recorder, "train_loss")).all()


def test_the_loss_that_was_given_is_kept_as_it_was() -> None:
    model = net()
    losses = torch.zeros(3)
    with Recorder(model, schedule="all") as recorder:
        for step in range(3):
            F.cross_entropy(model(X), CLASSES).backward()
            losses[step] = step + 0.5
            recorder.step(loss=losses[step] if step else 0.5)
            losses.zero_()  # a loop may use the tensor again
    assert column(recorder, "train_loss") == [0.5, 1.5, 2.5]
    for wrong in (torch.zeros(4), "much", torch.zeros(1, dtype=torch.complex64)):
        with pytest.raises(ConfigError, match="is no loss"), Recorder(model) as recorder:
            F.cross_entropy(model(X), CLASSES).backward()
            recorder.step(loss=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam])
def test_a_call_after_the_optimisers_step_warns_and_is_no_record(kind) -> None:  # type: ignore[no-untyped-def]
    model = net()
    optimizer = kind(model.parameters(), lr=0.1)
    with Recorder(model, probe=X, targets=CLASSES, criterion=F.cross_entropy, schedule="all") as recorder:
        for _ in range(2):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(X), CLASSES)
            loss.backward()
            optimizer.step()
            with pytest.warns(UserWarning, match=r"between the backward pass and the optimizer's step"):
                recorder.step(loss=loss, optimizer=optimizer)
    assert len(recorder.to_frame()) == 0 and len(steps_of(recorder)) == 0 and recorder.verdicts == ()


def test_in_an_lbfgs_closure_each_record_is_of_the_weights_it_was_taken_at() -> None:
    model = net()
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=3)
    expected: list[float] = []
    norms: list[float] = []
    with Recorder(model, probe=X, targets=CLASSES, criterion=F.cross_entropy, schedule="all") as recorder:

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(X), CLASSES)
            loss.backward()
            expected.append(float(loss.detach()))
            norms.append(float(model[0].weight.grad.norm()))  # type: ignore[union-attr, operator]
            recorder.step(loss=loss, optimizer=optimizer)
            return loss

        with pytest.warns(UserWarning, match="each evaluation of its closure counts as a step") as told:
            for _ in range(2):
                optimizer.step(closure)
    assert len([each for each in told if "closure" in str(each.message)]) == 1
    found = steps_of(recorder)
    assert len(found) == len(expected) == 6
    assert found["train_loss"].tolist() == pytest.approx(expected, rel=1e-12)
    assert found["probe_loss"].tolist() == pytest.approx(expected, rel=1e-12)
    of_layer = recorder.to_frame()
    assert of_layer[of_layer["name"] == "0"]["weight_grad_norm"].tolist() == pytest.approx(norms, rel=1e-12)


def test_a_closure_that_is_evaluated_once_a_step_is_nothing_to_remark_on() -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with warnings.catch_warnings(), Recorder(model, probe=X, schedule="all") as recorder:
        warnings.simplefilter("error")

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(X), CLASSES)
            loss.backward()
            recorder.step(loss=loss, optimizer=optimizer)
            return loss

        for _ in range(3):
            optimizer.step(closure)
    assert (recorder.to_frame()["update_ratio"] > 0).all()


@pytest.mark.parametrize("schedule", ["every:2", "every:4", "log"])
def test_optimisers_in_turn_are_each_recorded(schedule: str) -> None:
    model = net()
    lower, upper = (
        torch.optim.SGD(model[0].parameters(), lr=0.1),
        torch.optim.Adam(model[2].parameters(), lr=0.01),
    )
    with Recorder(model, probe=X, targets=CLASSES, criterion=F.cross_entropy, schedule=schedule) as recorder:
        for step in range(20):
            optimizer = (lower, upper)[step % 2]
            model.zero_grad()
            F.cross_entropy(model(X), CLASSES).backward()
            recorder.step(optimizer=optimizer)
            optimizer.step()
    found = recorder.to_frame().merge(steps_of(recorder)[["step", "learning_rate"]], on="step")
    moved = found.dropna(subset=["update_ratio"])
    for name, rate in (("0", 0.1), ("2", 0.01)):
        own = moved[(moved["name"] == name) & (moved["update_ratio"] > 0)]
        assert len(own) >= 3 and (own["learning_rate"] == rate).all()
    after = recorder.to_frame().query("step > 1")["trains"]
    assert set(after) == {"yes"}, "both are in an optimizer that was given"


def test_on_fault_is_called_once_for_each_finding_that_is_not_of_birth() -> None:
    model = net(2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    told = []
    with Recorder(
        model, probe=X, targets=NUMBERS, criterion=F.mse_loss, schedule="all", on_fault=told.append
    ) as recorder:
        for step in range(30):
            optimizer.zero_grad()
            loss = F.mse_loss(model(X), NUMBERS)
            (loss if step < 10 else loss * math.nan).backward()
            recorder.step(loss=loss if step < 10 else loss * math.nan, optimizer=optimizer)
            optimizer.step()
    assert [each.verdict for each in told] == ["diverged"] and told[0].step == 10 and not told[0].at_birth


def test_on_fault_says_nothing_of_birth() -> None:
    told = []
    model = net(1, nn.Softmax(1))
    trained(model, F.mse_loss, LABELS[:, :1], steps=5, on_fault=told.append)
    assert told == []


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam])
def test_weights_are_the_same_bit_by_bit_with_and_without(kind) -> None:  # type: ignore[no-untyped-def]
    def train(record: bool) -> tuple[list[Tensor], Tensor]:
        torch.manual_seed(4)
        model = nn.Sequential(
            nn.Linear(5, 8),
            nn.BatchNorm1d(8),
            GeluNew(),
            nn.Dropout(0.3),
            Noise(),
            nn.Linear(8, 3),
            nn.LogSoftmax(1),
        )
        optimizer = kind(model.parameters(), lr=0.05)
        x, criterion = X.float(), nn.NLLLoss(weight=torch.tensor([1.0, 2.0, 1.0]))
        recorder = Recorder(
            model,
            probe=x,
            targets=CLASSES,
            criterion=criterion,
            schedule="all",
            on_fault=lambda finding: None,
        )
        if record:
            with recorder:
                for _ in range(12):
                    optimizer.zero_grad()
                    loss = criterion(model(x), CLASSES)
                    loss.backward()
                    recorder.step(loss=loss, optimizer=optimizer)
                    optimizer.step()
                    assert recorder.verdicts is not None  # looked at in the middle of the loop
        else:
            for _ in range(12):
                optimizer.zero_grad()
                criterion(model(x), CLASSES).backward()
                optimizer.step()
        return [each.detach().clone() for each in model.state_dict().values()], torch.rand(3)

    (with_it, drawn), (without, also_drawn) = train(True), train(False)
    assert all(torch.equal(a, b) for a, b in zip(with_it, without, strict=True))
    assert torch.equal(drawn, also_drawn), "the generator stands where it would stand"


# -- initial weights -----------------------------------------------------------------------------------------


def test_unit_variance_gives_every_layer_outputs_of_variance_1() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv1d(2, 6, 3),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(18, 7),
        nn.Tanh(),
        nn.Linear(7, 4),
    )
    with torch.no_grad():
        for part in (model[0], model[4], model[6]):
            part.weight.mul_(50)  # type: ignore[operator, union-attr]
    x = 300 * torch.randn(64, 2, 5) + 100
    assert unit_variance(model, x) == ["0", "4", "6"]
    assert model.training
    model.eval()
    for place in (0, 4, 6):
        z = model[: place + 1](x).detach()
        assert float(z.var(correction=0)) == pytest.approx(1, abs=0.1)
        weight = model[place].weight.flatten(1).detach().double()  # type: ignore[union-attr, operator]
        gram = weight @ weight.T if weight.shape[0] <= weight.shape[1] else weight.T @ weight
        assert torch.allclose(
            gram, gram[0, 0] * torch.eye(len(gram), dtype=F64), atol=1e-4 * float(gram[0, 0])
        )
        assert (model[place].bias == 0).all()  # type: ignore[union-attr]


@pytest.mark.parametrize("inputs", [X.float(), (X.float(),), {"x": X.float()}])
def test_unit_variance_leaves_what_is_frozen(inputs: object) -> None:
    torch.manual_seed(0)
    model = Parts()
    model.a.requires_grad_(False)
    model.out.bias.requires_grad_(False)
    before = {name: each.clone() for name, each in model.state_dict().items()}
    assert gradlab.unit_variance(model, inputs) == ["b", "out"]
    after = model.state_dict()
    same = {name for name in after if torch.equal(after[name], before[name])}
    assert same >= {"a.weight", "a.bias", "out.bias"} and not {"b.weight", "b.bias", "out.weight"} & same
    assert not any(module._forward_hooks for module in model.modules())


def test_the_package_gives_a_recorder() -> None:
    assert gradlab.Recorder is Recorder


def test_a_report_without_records_says_where_step_belongs() -> None:
    with Recorder(nn.Linear(2, 2)) as recorder:
        pass
    assert "before `optimizer.step()`" in recorder.report()


@pytest.mark.parametrize("asked", [True, False])
def test_a_report_says_what_it_was_not_given(asked: bool) -> None:
    model, x, y = (
        nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)),
        torch.ones(4, 3),
        torch.ones(4, 2),
    )
    task = {"targets": y, "criterion": F.mse_loss} if asked else {}
    with Recorder(model, probe=x, **task) as recorder:
        F.mse_loss(model(x), y).backward()
        recorder.step()
    assert ("criterion=loss_function" in recorder.report()) != asked
