"""`gradlab watch --loss`: any criterion of torch on classes, numbers and labels, from files and from the user's
batches, against loops of plain torch."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import r2_score
from torch import nn

from gradlab import data
from gradlab.cli.main import main
from gradlab.train.batches import BatchStream

NETS = """
import torch
from torch import nn

def net(features, outputs):
    return nn.Sequential(nn.Linear(features, 6), nn.Tanh(), nn.Linear(6, outputs))

def flat(features):
    return nn.Sequential(nn.Linear(features, 6), nn.Tanh(), nn.Linear(6, 1), nn.Flatten(0))

def two(features, outputs):
    return nn.Sequential(nn.Linear(features, 6), nn.Tanh(), nn.Linear(6, 2))

def probability(features):
    return nn.Sequential(nn.Linear(features, 6), nn.Tanh(), nn.Linear(6, 1), nn.Sigmoid())

def of_classes(features, classes):
    return net(features, classes)

def three():
    return net(4, 3)

def single():
    return net(4, 1)

def _batches(seed, targets):
    draw = torch.Generator().manual_seed(seed)
    while True:
        x = torch.randn(8, 4, generator=draw)
        yield x, targets(x)

def numbers(seed):
    return _batches(seed, lambda x: 5 * x[:, 0])

def images(seed):
    return _batches(seed, lambda x: x[:, :3])

def labels(seed):
    return _batches(seed, lambda x: (x[:, :3] > 0).long())

def truths(seed):
    return _batches(seed, lambda x: x[:, :3] > 0)

def shares(seed):
    return _batches(seed, lambda x: torch.softmax(x[:, :3], dim=1))

def classes(seed):
    return _batches(seed, lambda x: x[:, :3].argmax(dim=1))

def class_floats(seed):
    return _batches(seed, lambda x: x[:, :3].argmax(dim=1).double())

def cubed(outputs, targets):
    assert outputs.shape == targets.shape
    return (outputs - targets).abs().pow(3).mean()
"""
STEPS = 3
FLAGS = ["--seeds", "1", "--first-seed", "4", "--steps", str(STEPS), "--lr", "0.05", "--record", "all"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    x = np.random.default_rng(5).standard_normal((60, 3))
    frame = pd.DataFrame(x, columns=["a", "b", "c"])
    frame["price"], frame["size"] = 500 + 20 * x[:, 0] * x[:, 1], x[:, 2] ** 2
    frame["low"], frame["high"] = (x[:, 0] > 0).astype(int), (x[:, 1] > 1).astype(int)
    frame["rating"] = np.arange(60) % 3
    frame.to_csv(tmp_path / "t.csv", index=False)
    (tmp_path / "criteria_nets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "criteria_nets", raising=False)
    return tmp_path


def watch(here: Path, *arguments: str) -> pd.DataFrame:
    own = [f"criteria_nets:{arguments[0]}", *arguments[1:]]
    assert main(["watch", *own, *FLAGS, "--dtype", "float64", "--out", "o", "--force", "--quiet"]) == 0
    return pd.read_csv(here / "o" / "steps.csv")


def nets() -> object:
    import criteria_nets  # type: ignore[import-not-found]

    return criteria_nets


FROM_FILES = [
    ("net", "price", "torch.nn:HuberLoss:delta=0.5", nn.HuberLoss(delta=0.5)),
    ("flat", "price", "torch.nn:L1Loss", nn.L1Loss()),
    ("net", "price,size", "mse", lambda o, t: (o - t).square().sum(dim=1).mean()),
    ("net", "price,size", "torch.nn:MSELoss", nn.MSELoss()),
    ("net", "price", "criteria_nets:cubed", lambda o, t: (o - t).abs().pow(3).mean()),
    ("net", "low,high", "torch.nn:BCEWithLogitsLoss", nn.BCEWithLogitsLoss()),
    ("net", "low,high", "binary_cross_entropy", lambda o, t: 2 * nn.BCEWithLogitsLoss()(o, t)),
    ("net", "low", "torch.nn:BCEWithLogitsLoss", lambda o, t: nn.BCEWithLogitsLoss()(o[:, 0], t.double())),
    ("probability", "low", "torch.nn:BCELoss", lambda o, t: nn.BCELoss()(o[:, 0], t.double())),
    ("of_classes", "rating", "torch.nn:CrossEntropyLoss:label_smoothing=0.1", nn.CrossEntropyLoss(label_smoothing=0.1)),
]  # fmt: skip


@pytest.mark.parametrize(("model", "target", "loss", "theirs"), FROM_FILES)
def test_a_criterion_on_a_file_is_torchs(
    model: str, target: str, loss: str, theirs: object, here: Path
) -> None:
    steps = watch(here, model, "--data", "t.csv", "--target", target, "--loss", loss, "--batch-size", "16")
    dataset = data.load("t.csv", target)
    torch.manual_seed(4)
    sizes = {
        "features": dataset.features,
        "outputs": 1 if target == "low" else dataset.outputs,
        "classes": dataset.classes,
    }
    make = getattr(nets(), model)
    wanted = make.__code__.co_varnames[: make.__code__.co_argcount]
    net = make(**{name: sizes[name] for name in wanted}).double()
    x, y = torch.from_numpy(dataset.x_train), torch.from_numpy(dataset.y_train)
    x_val, y_val = torch.from_numpy(dataset.x_val), torch.from_numpy(dataset.y_val)
    stream, optimizer = BatchStream(len(x), 16, (4,)), torch.optim.SGD(net.parameters(), lr=0.05)

    def both(inputs: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        outputs = net(inputs)
        return outputs, theirs(outputs, targets.reshape(outputs.shape) if model == "flat" else targets)  # type: ignore[operator]

    for step in range(STEPS + 1):
        row = steps.iloc[step]
        with torch.no_grad():
            outputs, val_loss = both(x_val, y_val)
        assert row["val_loss"] == pytest.approx(float(val_loss), rel=1e-9)
        if dataset.task == "regression":
            r2 = r2_score(y_val.numpy(), outputs.reshape(y_val.shape).numpy())
            assert row["val_r2"] == pytest.approx(r2, rel=1e-9) and np.isnan(row["val_accuracy"])
        elif dataset.task == "multilabel":
            assert np.isnan(row["val_r2"]) and np.isnan(row["val_accuracy"])
        else:
            edge = 0.5 if model == "probability" else 0.0
            guess = outputs.argmax(dim=1) if outputs.shape[1] > 1 else (outputs[:, 0] > edge).long()
            assert row["val_accuracy"] == pytest.approx(float((guess == y_val).double().mean()))
            assert np.isfinite(row["train_accuracy"]) and np.isnan(row["val_r2"])
        rows = stream.next()[0]
        optimizer.zero_grad()
        _, loss_value = both(x[rows], y[rows])
        assert row["train_loss"] == pytest.approx(float(loss_value.detach()), rel=1e-9)
        loss_value.backward()
        optimizer.step()


FROM_BATCHES = [
    ("single", "numbers", [], "mae", lambda o, t: (o[:, 0] - t).abs().mean()),
    ("three", "images", [], "torch.nn:SmoothL1Loss:beta=0.2", nn.SmoothL1Loss(beta=0.2)),
    ("three", "labels", [], "torch.nn:BCEWithLogitsLoss", lambda o, t: nn.BCEWithLogitsLoss()(o, t.double())),
    ("three", "truths", [], "binary_cross_entropy", lambda o, t: 3 * nn.BCEWithLogitsLoss()(o, t.double())),
    ("three", "shares", [], "torch.nn:CrossEntropyLoss", nn.CrossEntropyLoss()),
    ("three", "classes", [], "torch.nn:MultiMarginLoss", nn.MultiMarginLoss()),
    ("three", "class_floats", ["--task", "classification"], "cross_entropy",
     lambda o, t: nn.CrossEntropyLoss()(o, t.long())),
    ("single", "classes", ["--task", "regression"], "mse", lambda o, t: (o[:, 0] - t).square().mean()),
]  # fmt: skip


@pytest.mark.parametrize(("model", "batches", "more", "loss", "theirs"), FROM_BATCHES)
def test_a_criterion_on_the_users_batches_is_torchs(
    model: str, batches: str, more: list[str], loss: str, theirs: object, here: Path
) -> None:
    steps = watch(here, model, "--batches", f"criteria_nets:{batches}", "--loss", loss, *more)
    torch.manual_seed(4)
    net, source = getattr(nets(), model)().double(), getattr(nets(), batches)(4)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    for step in range(STEPS + 1):
        x, y = next(source)
        outputs, y = net(x.double()), y.double() if y.is_floating_point() else y
        value = theirs(outputs, y)  # type: ignore[operator]
        assert steps["train_loss"][step] == pytest.approx(float(value.detach()), rel=1e-9)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    classes = loss in ("cross_entropy", "torch.nn:MultiMarginLoss")
    assert steps["train_accuracy"].notna().all() == classes
    assert steps[["val_loss", "val_accuracy", "val_r2"]].isna().all(axis=None)


@pytest.mark.parametrize(
    ("arguments", "where", "says"),
    [
        (["single", "--batches", "numbers"], "training.loss",
         "cross_entropy takes classes, and the targets are floating numbers [8]; allowed: mse, mae, huber"),
        (["three", "--batches", "numbers", "--loss", "mse"], "MODEL", "[8, 3] do not fit the targets [8]"),
        (["three", "--batches", "labels"], "training.loss", "the targets are whole numbers [8, 3]"),
        (["three", "--batches", "classes", "--loss", "huber"], "--loss",
         "huber takes numbers, and the targets are whole numbers [8]"),
        (["single", "--batches", "classes", "--loss", "torch.nn:BCEWithLogitsLoss"], "--loss",
         "needs two classes, and the targets are whole numbers [8] from 0 to 2"),
        (["three", "--batches", "images", "--loss", "torch.nn:BCEWithLogitsLoss"], "--loss", "from 0 to 1"),
        (["three", "--batches", "images", "--loss", "mse", "--task", "multilabel"], "--task", "from 0 to 1"),
        (["three", "--batches", "images", "--loss", "torch.nn:NLLLoss"], "--loss", "NLLLoss takes classes"),
        (["single", "--batches", "numbers", "--loss", "torch.nn:CrossEntropyLoss"], "--loss", "from 0 to 1"),
        (["single", "--batches", "numbers", "--task", "classification"], "--task", "with fractions"),
        (["net", "--data", "t.csv", "--target", "price"], "training.loss", "has a number to predict (price)"),
        (["net", "--data", "t.csv", "--target", "rating", "--loss", "mse"], "--loss", "either (rating)"),
        (["two", "--data", "t.csv", "--target", "low", "--loss", "torch.nn:BCELoss"], "MODEL", "gives 2 outputs"),
        (["net", "--data", "t.csv", "--target", "low", "--loss", "torch.nn:BCELoss"], "--loss", "between 0 and 1"),
        (["two", "--data", "t.csv", "--target", "price", "--loss", "mse"], "MODEL", "do not fit the targets [12, 1]"),
        (["of_classes", "--data", "t.csv", "--target", "price", "--loss", "mse"], "MODEL",
         "asks for the number of classes, and the targets are none; allowed: a function of features and outputs"),
        (["net", "--data", "t.csv", "--target", "price,cost", "--loss", "mse"], "t.csv", "no column 'cost'"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_clear_error(
    arguments: list[str], where: str, says: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = [f"criteria_nets:{text}" if before == "--batches" else text
             for before, text in zip(["", *arguments], arguments, strict=False)]  # fmt: skip
    assert main(["watch", f"criteria_nets:{named[0]}", *named[1:], *FLAGS, "--json"]) == 2
    document = json.loads(capsys.readouterr().out)
    (problem,) = document["error"]["problems"]
    assert problem["where"] == where and says in document["error"]["message"]
    assert not (here / "results").exists()


class Screen:
    """Asks for everything after every step."""

    def __init__(self) -> None:
        self.shown: list[tuple[int, tuple[int, list[str], dict[str, object]]]] = []
        self.said: list[list[tuple[str, str]]] = []

    def start(self, title: str, total_steps: int, verdicts: object) -> None:
        self.title, self.total, self.verdicts = title, total_steps, verdicts

    def advance_to(self, steps: int, newest: object) -> None:
        self.shown.append((steps, newest()))  # type: ignore[operator]
        self.said.append(self.verdicts())  # type: ignore[operator]


def test_the_live_view_has_the_tables_numbers_and_ends_with_the_summarys_verdict(here: Path) -> None:
    from gradlab.config import resolve
    from gradlab.lab.watch.execute import watch as execute

    flags = {"data": "t.csv", "target": "price", "loss": "torch.nn:HuberLoss", "steps": 32, "seeds": 2,
             "batch_size": 16, "record": "all"}  # fmt: skip
    screen = Screen()
    _, seen = execute("criteria_nets:net", resolve(flags={**flags, "out": "seen"}), screen=screen)
    _, unseen = execute("criteria_nets:net", resolve(flags={**flags, "out": "unseen"}))
    pd.testing.assert_frame_equal(seen.layers, unseen.layers)
    pd.testing.assert_frame_equal(seen.steps, unseen.steps)
    assert [steps for steps, _ in screen.shown] == list(range(1, 67)) and screen.total == 66
    row = unseen.summary.iloc[0]
    verdicts = list(zip(row["verdict"].split(","), row["verdict_seeds"].split(","), strict=True))
    # The last record of a seed is in the recorder's tables only after its end.
    assert screen.said[0] == [] and screen.said[-1] == verdicts
    _, (step, names, numbers) = screen.shown[30]
    record = unseen.layers[(unseen.layers["seed"] == 0) & (unseen.layers["step"] == 29)]
    assert step == 30 and names == ["0 Linear", "2 Linear"]
    np.testing.assert_array_equal(numbers["delta_rms"], [record["delta_rms"]])
    steps = unseen.steps[(unseen.steps["seed"] == 0) & (unseen.steps["step"] == 30)].iloc[0]
    assert numbers["train_loss"] == steps["train_loss"] and numbers["val_r2"] == steps["val_r2"]
