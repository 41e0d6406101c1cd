"""Every column against plain autograd in float64."""

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradlab.recorder.recorder import Recorder
from gradlab.sensors import own_columns
from gradlab.sensors.layers import LayerSensor
from gradlab.sensors.sensor import Observed
from gradlab.tables.layers import LAYERS, LAYERS_FULL

CLOSE = 1e-6
F64 = torch.float64


class Net(nn.Module):
    """Written so that the reference can be written beside it, tensor by tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 5, 3, padding=1, dtype=F64)
        self.norm = nn.BatchNorm2d(5, dtype=F64)
        self.fc1 = nn.Linear(5 * 16, 12, dtype=F64)
        self.fc2 = nn.Linear(12, 12, dtype=F64)
        self.out = nn.Linear(12, 3, dtype=F64)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        h = self.act(self.norm(self.conv(x))).flatten(1)
        h = torch.tanh(self.fc1(h))
        h = F.gelu(self.fc2(h))
        return self.out(h)


def _data(rows: int, seed: int) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(rows, 2, 4, 4, dtype=F64, generator=draw), torch.randint(0, 3, (rows,), generator=draw)


def _net() -> Net:
    torch.manual_seed(5)
    net = Net()
    with torch.no_grad():
        net.norm.bias[:2] = -9.0  # two channels that no sample revives
        net.norm.bias[2] = -2.0
    return net


@pytest.fixture(scope="module")
def recorded() -> tuple[pd.DataFrame, Net, Net]:
    """The rows, the net before its only update and after it."""
    net, before = _net(), _net()
    (x, y), (probe, _) = _data(16, 1), _data(40, 2)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    with Recorder(net, probe=probe, metrics="full") as recorder:
        F.cross_entropy(net(x), y).backward()
        recorder.step(optimizer=optimizer)
        optimizer.step()
    return recorder.to_frame().set_index("name"), before, net


def _forward(net: Net, x: Tensor) -> dict[str, tuple[Tensor, Tensor | None]]:
    """(z, h) of every layer, the activations out of place."""
    conv = net.conv(x)
    norm = net.norm(conv)
    h1 = norm.relu()
    fc1 = net.fc1(h1.flatten(1))
    h2 = fc1.tanh()
    fc2 = net.fc2(h2)
    h3 = F.gelu(fc2)
    return {
        "conv": (conv, None),
        "norm": (norm, h1),
        "fc1": (fc1, h2),
        "fc2": (fc2, h3),
        "out": (net.out(h3), None),
    }


def _slope(name: str, z: Tensor) -> Tensor:
    if name == "norm":
        return (z > 0).to(F64)
    if name == "fc1":
        return 1 - z.tanh() ** 2
    return 0.5 * (1 + torch.erf(z / 2**0.5)) + z * torch.exp(-z * z / 2) / (2 * torch.pi) ** 0.5


def test_the_columns_are_those_of_layers_csv(recorded) -> None:  # type: ignore[no-untyped-def]
    rows, _, _ = recorded
    assert {*rows.reset_index()} == {*LAYERS_FULL.every}
    assert [*rows.index] == ["conv", "norm", "fc1", "fc2", "out"]
    assert [*rows["layer"]] == [1, 2, 3, 4, 5]
    assert (rows["batch"] == 16).all()
    assert [*rows["fan_in"].fillna(0)] == [18, 0, 80, 12, 12]
    assert [*rows["fan_out"].fillna(0)] == [45, 0, 12, 12, 3]


def test_gradients_and_the_batch(recorded) -> None:  # type: ignore[no-untyped-def]
    rows, net, _ = recorded
    x, y = _data(16, 1)
    made = _forward(net, x)
    for z, _ in made.values():
        z.retain_grad()
    F.cross_entropy(made["out"][0], y).backward()
    for name, (z, h) in made.items():
        row, module = rows.loc[name], getattr(net, name)
        weight, bias = module.weight.grad, module.bias.grad
        expected = {
            "weight_grad_norm": weight.pow(2).sum().sqrt(),
            "weight_grad_mean_abs": weight.abs().mean(),
            "grad_zero_fraction": (weight == 0).double().mean(),
            "weight_norm": module.weight.pow(2).sum().sqrt(),
            "delta_rms": (16 * z.grad).pow(2).mean().sqrt(),
            "weight_grad_p05": np.quantile(weight.numpy(), 0.05),
            "weight_grad_p95": np.quantile(weight.numpy(), 0.95),
            "nonfinite": 0,
        }
        if name != "conv":  # a bias before batch norm has no gradient but rounding
            expected["bias_grad_norm"] = bias.pow(2).sum().sqrt()
        if h is not None:
            slope_zero = (z <= 0) if name == "norm" else torch.zeros_like(z, dtype=torch.bool)
            dead = slope_zero.movedim(1, -1).reshape(-1, z.shape[1]).all(dim=0)
            expected["zero_fraction"] = (h == 0).double().mean()
            expected["batch_dead_fraction"] = dead.double().mean()
        for column, value in expected.items():
            assert row[column] == pytest.approx(float(value), rel=CLOSE, abs=1e-300), (name, column)
        if h is None:
            assert np.isnan(row["zero_fraction"]) and np.isnan(row["batch_dead_fraction"])
    assert rows.loc["norm", "batch_dead_fraction"] >= 0.4


def test_the_update(recorded) -> None:  # type: ignore[no-untyped-def]
    rows, before, after = recorded
    for name in rows.index:
        old, new = getattr(before, name).weight, getattr(after, name).weight
        assert rows.loc[name, "update_ratio"] == pytest.approx(
            float((new - old).norm() / old.norm()), rel=CLOSE
        )
        assert rows.loc[name, "update_mean_abs"] == pytest.approx(float((new - old).abs().mean()), rel=CLOSE)


def test_the_probe(recorded) -> None:  # type: ignore[no-untyped-def]
    rows, net, _ = recorded
    net.train()
    net.norm.reset_running_stats()
    net(_data(16, 1)[0])  # the step's own batch moves the running statistics before the probe is run
    net.eval()
    for name, (z, h) in _forward(net, _data(40, 2)[0]).items():
        row = rows.loc[name]
        expected = {"z_mean": z.mean(), "z_std": z.std(correction=0)}
        if h is not None:
            slope = _slope(name, z)
            sup = 1.1289 if name == "fc2" else 1.0
            flat = (z <= 0) if name == "norm" else torch.zeros_like(z, dtype=torch.bool)
            active = (~flat).movedim(1, -1).reshape(-1, z.shape[1]).double().mean(dim=0)
            expected |= {
                "h_mean": h.mean(),
                "h_rms": h.pow(2).mean().sqrt(),
                "h_p95_abs": np.quantile(h.detach().abs().numpy(), 0.95),
                "slope_sq": slope.pow(2).mean(),
                "saturated_fraction": (slope.abs() < 0.05 * sup).double().mean(),
                "dead_fraction": (active == 0).double().mean(),
                "low_activity_fraction": (active < 0.01).double().mean(),
            }
        for column, value in expected.items():
            assert row[column] == pytest.approx(float(value), rel=CLOSE), (name, column)
    assert rows.loc["norm", "dead_fraction"] >= 0.4


def test_deaths_and_revivals_count_units_since_the_last_record() -> None:
    model = nn.Sequential(nn.Linear(1, 4, bias=True), nn.ReLU(), nn.Linear(4, 1))
    with torch.no_grad():
        model[0].weight.fill_(1.0)
        model[0].bias.copy_(torch.tensor([5.0, 5.0, -5.0, 5.0]))
    x = torch.linspace(-1, 1, 9)[:, None]
    with Recorder(model, probe=x, schedule="all") as recorder:
        for bias in ([5.0, 5.0, -5.0, 5.0], [-5.0, -5.0, 5.0, 5.0], [-5.0, 5.0, 5.0, 5.0]):
            with torch.no_grad():
                model[0].bias.copy_(torch.tensor(bias))
            model(x).mean().backward()
            recorder.step()
    rows = recorder.to_frame().query("name == '0'")
    np.testing.assert_array_equal(rows["dead_fraction"], [0.25, 0.5, 0.25])
    np.testing.assert_array_equal(rows["deaths"], [np.nan, 2, 0])
    np.testing.assert_array_equal(rows["revivals"], [np.nan, 1, 1])


def test_the_same_numbers_as_the_stacked_nets_own_recorder() -> None:
    from gradlab import activations
    from gradlab.nn.mlp import build_mlp
    from gradlab.parts import inits, losses, norms, residuals

    for text in ("relu", "prelu", "tanh", "selu", "hard_swish"):
        activation = activations.get(text)
        mlp = build_mlp(
            activation=activation, init=inits.get("auto", activation), norm=norms.get("none"),
            residual=residuals.get("none", 3), depth=3, width=8, features=6, outputs=3, seeds=(4, 9), dtype=F64,
        )  # fmt: skip
        draw = torch.Generator().manual_seed(0)
        x, y = torch.randn(2, 10, 6, dtype=F64, generator=draw), torch.randint(0, 3, (2, 10), generator=draw)
        probe = torch.randn(20, 6, dtype=F64, generator=draw)

        def loss(outputs: Tensor, y: Tensor = y) -> Tensor:
            return (
                F.cross_entropy(outputs.reshape(-1, 3), y.reshape(-1), reduction="none")
                .reshape(2, -1)
                .mean(1)
                .sum()
            )

        watched = Observed(mlp, activation, probe, ("",) * 4, 10, y[0], losses.get("cross_entropy"))
        own = LayerSensor(watched, own_columns.get("standard"))
        own.begin(None)
        with own.watching():
            gradients = torch.autograd.grad(loss(mlp(x)), list(mlp.parameters()), materialize_grads=True)
        own.take_gradients(dict(zip(mlp.parameters(), gradients, strict=True)))
        values, applies = own.finish()
        with Recorder(mlp, probe=probe.expand(2, -1, -1), seeds=(4, 9)) as recorder:
            loss(mlp(x)).backward()
            recorder.step()
        rows = recorder.to_frame()
        assert [*rows["seed"]] == [4] * 4 + [9] * 4
        for place, column in enumerate(LAYERS.recorded):
            expected = np.where(applies[:, None, place], values[:, :, place].T.numpy(), np.nan)
            measured = rows[column].to_numpy(float).reshape(2, 4).T
            np.testing.assert_allclose(measured, expected, rtol=1e-12, atol=1e-15, err_msg=f"{text} {column}")


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (300.0, 1.0), (0.0, 1e-21)])
def test_float32_is_measured_as_float64_would_measure_it(shift: float, scale: float) -> None:
    """The tensors are float32's own; every number taken of them is right to 1e-6, with a mean far from 0 and with
    gradients whose squares float32 does not hold."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(40, 300), nn.ReLU(), nn.Linear(300, 300), nn.Tanh(), nn.Linear(300, 5))
    with torch.no_grad():
        model[0].bias += shift
    x, y = torch.randn(256, 40), torch.arange(256) % 5
    with Recorder(model, probe=x) as recorder:
        made = {}
        h = x
        for name, module in model.named_children():
            handle = module.register_forward_hook(lambda m, a, z, name=name: made.__setitem__(name, z))
            h = module(h)
            handle.remove()
        for z in made.values():
            z.retain_grad()
        (F.cross_entropy(h, y) * scale).backward()
        deltas = {name: (256 * z.grad.double()).square().mean().sqrt().item() for name, z in made.items()}
        gradients = {n: m.weight.grad.double() for n, m in model.named_children() if hasattr(m, "weight")}
        model.zero_grad()
        (F.cross_entropy(model(x), y) * scale).backward()
        recorder.step()
    rows = recorder.to_frame().set_index("name")
    for name, gradient in gradients.items():
        z = made[name].detach().double()
        after = made.get(str(int(name) + 1))
        expected = {
            "delta_rms": deltas[name],
            "weight_grad_norm": gradient.norm().item(),
            "weight_grad_mean_abs": gradient.abs().mean().item(),
            "grad_zero_fraction": (gradient == 0).double().mean().item(),
            "weight_norm": model[int(name)].weight.detach().double().norm().item(),
            "z_std": z.std(correction=0).item(),
        }
        if after is not None:
            expected["h_rms"] = after.detach().double().square().mean().sqrt().item()
            expected["zero_fraction"] = (after == 0).double().mean().item()
        for column, value in expected.items():
            assert rows.loc[name, column] == pytest.approx(value, rel=CLOSE, abs=1e-300), (name, column)
        assert rows.loc[name, "z_mean"] == pytest.approx(
            z.mean().item(), rel=CLOSE, abs=1e-7 * z.std().item()
        )
