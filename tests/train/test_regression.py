"""Numbers to predict: losses, R^2 and updates of a run, recomputed by plain torch on one net."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from reference import stacks
from sklearn.metrics import r2_score
from torch import nn

from gradlab import data
from gradlab.train.loop import build_stack, train_stack

STEPS = 3
THEIRS = {
    "mse": nn.MSELoss(reduction="sum"),
    "mae": nn.L1Loss(reduction="sum"),
    "huber:delta=0.5": nn.HuberLoss(reduction="sum", delta=0.5),
    "torch.nn:SmoothL1Loss:beta=0.5": nn.SmoothL1Loss(beta=0.5),
    "binary_cross_entropy": nn.BCEWithLogitsLoss(reduction="sum"),
}


@pytest.fixture
def path(tmp_path: Path) -> str:
    x = np.random.default_rng(1).standard_normal((60, 3))
    frame = pd.DataFrame(x, columns=["a", "b", "c"])
    frame["price"], frame["size"] = 500 + 20 * x[:, 0] * x[:, 1], x[:, 2] ** 2
    frame["low"], frame["high"] = (x[:, 0] > 0).astype(int), (x[:, 1] > 1).astype(int)
    frame.to_csv(tmp_path / "t.csv", index=False)
    return str(tmp_path / "t.csv")


def plain(stack, dataset, replica: int) -> nn.Sequential:  # type: ignore[no-untyped-def]
    """The net of one replica as torch's own modules."""
    net = stacks.replica_of(build_stack(stack, dataset), replica)
    parts: list[nn.Module] = []
    for weight, bias in zip(net.weights, net.biases, strict=True):
        linear = nn.Linear(*weight.shape, dtype=torch.float64)
        linear.weight.data, linear.bias.data = torch.from_numpy(weight.T.copy()), torch.from_numpy(bias)
        parts += [linear, nn.Tanh()]
    return nn.Sequential(*parts[:-1])


@pytest.mark.parametrize("drop", ["", "layer"])
@pytest.mark.parametrize("loss", list(THEIRS))
def test_every_record_is_that_of_plain_torch(loss: str, drop: str, path: str) -> None:
    """In buffers; and by modules, as a net with a norm is trained, whose losses and R^2 alone are looked at."""
    labels = loss == "binary_cross_entropy"
    columns = "low,high,price" if not labels else "low,high"
    flags = {
        "data": path,
        "target": columns,
        "loss": loss,
        "steps": STEPS,
        "lr": 0.05,
        "norm": drop or "none",
    }
    stack = stacks.make_stack(**flags)
    dataset = stack.cell.dataset()
    assert dataset.task == ("multilabel" if labels else "regression")
    result = train_stack(stack, dataset)
    steps = {name: result.blocks["steps"].column(name) for name in result.blocks["steps"].columns}
    assert np.isnan(steps["val_accuracy"]).all() and np.isnan(steps["train_accuracy"]).all()
    assert np.isnan(steps["val_r2"]).all() == labels
    if drop:
        assert np.isfinite(steps["val_loss"]).all()
        return
    x_train, y_train, x_val, y_val = (
        torch.from_numpy(each) for each in (dataset.x_train, dataset.y_train, dataset.x_val, dataset.y_val)
    )
    theirs = THEIRS[loss]
    for replica in range(2):
        net = plain(stack, dataset, replica)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
        for step, rows in enumerate(stacks.batches_of(stack, dataset, replica)):
            with torch.no_grad():
                outputs = net(x_val)
                share = len(y_val) if theirs.reduction == "sum" else 1
                assert steps["val_loss"][replica, step] == pytest.approx(
                    float(theirs(outputs, y_val)) / share
                )
                if not labels:
                    r2 = r2_score(y_val.numpy(), outputs.numpy())
                    assert steps["val_r2"][replica, step] == pytest.approx(r2, rel=1e-9)
            optimizer.zero_grad()
            found = theirs(net(x_train[rows]), y_train[rows]) / (8 if theirs.reduction == "sum" else 1)
            assert steps["train_loss"][replica, step] == pytest.approx(float(found.detach()), rel=1e-9)
            found.backward()
            norm = torch.sqrt(sum(p.grad.square().sum() for p in net.parameters()))  # type: ignore[union-attr, arg-type]
            assert steps["grad_norm"][replica, step] == pytest.approx(float(norm), rel=1e-9)
            optimizer.step()


def test_r2_in_the_numbers_own_units_is_the_recorded_one(path: str) -> None:
    stack = stacks.make_stack(data=path, target="price", loss="mse", steps=0)
    dataset = stack.cell.dataset()
    own = pd.read_csv(path)["price"].to_numpy()
    table = data.load(path, "price")
    scale = own.std() / np.r_[table.y_train[:, 0], table.y_val[:, 0]].std()
    outputs = plain(stack, dataset, 0)(torch.from_numpy(dataset.x_val)).detach().numpy()
    expected = r2_score(dataset.y_val * scale + 500, outputs * scale + 500)
    recorded = train_stack(stack, dataset).blocks["steps"].column("val_r2")[0, 0]
    assert recorded == pytest.approx(expected, rel=1e-9)


def test_a_diverged_net_explains_nothing(path: str) -> None:
    stack = stacks.make_stack(data=path, target="price", loss="mse", steps=30, lr=1e6, activation="linear")
    assert train_stack(stack, stack.cell.dataset()).blocks["steps"].column("val_r2")[0, -1] == -np.inf
