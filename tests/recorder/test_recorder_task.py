"""What a recorder knows of a model's task and of each update, in small real trainings beside another computation."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradlab.recorder.recorder import Recorder

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


def test_the_probes_loss_is_that_of_eval_mode_before_the_update() -> None:
    model = net(3, nn.Dropout(0.5))
    expected, right = [], []

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


def test_a_loss_that_falls_without_end_has_no_best_constant() -> None:
    for criterion in (lambda o, y: -(o * y).mean(), lambda o, y: (o[:, 0] * 3).mean()):
        assert np.isnan(column(trained(net(2), criterion, NUMBERS + 3), "baseline_loss")).all()


def test_of_two_losses_nobody_knows_which_targets_are_whose() -> None:
    found = steps_of(trained(net(), lambda o, y: F.mse_loss(o, y) + F.l1_loss(o, y), LABELS))
    assert (found["target_kind"] == "").all() and found["target_rms"].isna().all()
    assert found["probe_loss"].notna().all() and found["baseline_loss"].notna().all()


def test_a_probe_of_one_row() -> None:
    model = net(2)
    recorder = trained(model, F.mse_loss, NUMBERS[:1], x=X[:1], steps=130)
    found = steps_of(recorder)
    assert (found["output_spread"] == 0).all() and found["input_spread"].isna().all()
    assert rows(recorder)["sample_correlation"].isna().all(), "there is no pair of samples"
    assert not {"constant-output", "input-scale", "bad-targets"} & {*recorder.diagnose().verdicts}
    assert column(recorder, "baseline_loss")[0] == pytest.approx(0, abs=1e-12)


NEVER = "never"


@pytest.mark.parametrize("accumulation", [1, 4])
@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("zero", [True, False, NEVER])
@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam])
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
