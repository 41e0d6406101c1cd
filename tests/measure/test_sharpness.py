"""The largest eigenvalue of the Hessian against dense Hessians, closed forms and what Lanczos' residual allows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from reference.stacks import make_stack
from torch.autograd.functional import hessian as dense_hessian

from gradlab.base.errors import UserError
from gradlab.cli.main import main
from gradlab.sensors.extra.sharpness import MOST, TOLERANCE, hessian, largest_eigenvalue
from gradlab.sensors.sensor import Observed
from gradlab.train.loop import Training

F64 = torch.float64


def training(**flags: Any) -> Training:
    stack = make_stack(**{"width": 4, "depth": 2} | flags, sets=["recording.sharpness=true"])
    return Training(stack, stack.cell.dataset())


def observed(**flags: Any) -> Observed:
    return training(**flags).sensors[0].observed


def dense(watched: Observed) -> torch.Tensor:
    """Each net's Hessian [replica, weight, weight] by autograd on plain matrices, without gradlab's modules."""
    names, weights = zip(*watched.mlp.named_parameters(), strict=True)
    phi = {"tanh": torch.tanh, "relu": torch.relu, "gelu": torch.nn.functional.gelu}[watched.activation.name]
    sizes = [weight[0].numel() for weight in weights]
    found = []
    for replica in range(watched.replicas):

        def loss(flat: torch.Tensor) -> torch.Tensor:
            parts = dict(zip(names, flat.split(sizes), strict=True))
            h = watched.probe
            for layer, linear in enumerate(watched.mlp.linears):
                place = f"hidden.{layer}.linear" if layer < len(watched.mlp.layers) else "readout"
                z = h @ parts[f"{place}.weight"].reshape(linear.weight.shape[1:]) + parts[f"{place}.bias"]
                if f"hidden.{layer}.norm_before.scale" in parts:
                    z = (z - z.mean(0)) / (z.var(0, correction=0) + 1e-5).sqrt()
                    norm = f"hidden.{layer}.norm_before"
                    z = z * parts[f"{norm}.scale"] + parts[f"{norm}.shift"]
                h = phi(z) if layer < len(watched.mlp.layers) else z
            if watched.loss.text == "mse":
                targets = torch.nn.functional.one_hot(watched.targets, h.shape[1])
                return (h - targets).square().sum(1).mean()
            return torch.nn.functional.cross_entropy(h, watched.targets)

        flat = torch.cat([weight[replica].detach().flatten() for weight in weights])
        found.append(dense_hessian(loss, flat))
    return torch.stack(found)


@pytest.mark.parametrize(
    "flags",
    [
        {"activation": "tanh"},
        {"activation": "relu", "loss": "mse"},
        {"activation": "tanh", "norm": "batch", "loss": "mse"},
        {"activation": "gelu", "width": 3},
    ],
    ids=str,
)
def test_products_and_eigenvalues_are_those_of_the_dense_hessian(flags: dict[str, Any]) -> None:
    watched = observed(**flags)
    expected = dense(watched)
    product, size = hessian(watched)
    assert expected.shape == (2, size, size)
    for column in (0, size // 2, size - 1):
        one = torch.zeros(2, size, dtype=F64)
        one[:, column] = 1
        torch.testing.assert_close(product(one), expected[:, :, column], rtol=1e-9, atol=1e-11)
    value, residual, steps = largest_eigenvalue(product, 2, size, watched.probe)
    values = torch.linalg.eigvalsh(expected)
    top, gap = values[:, -1], values[:, -1] - values[:, -2]
    assert (residual <= TOLERANCE * value.abs()).all() and (steps <= size).all()
    # for a symmetric matrix the error is at most the residual, and at most its square over the gap (Parlett 1998)
    bound = torch.minimum(residual, residual**2 / (gap - residual).clamp(min=1e-12)) + 1e-12 * top
    assert ((value - top).abs() <= bound).all()


def test_a_linear_net_of_one_unit_has_its_closed_form() -> None:
    """The loss (w x + b - y)^2 has the Hessian 2 [[mean x^2, mean x], [mean x, 1]]."""
    x = torch.tensor([[0.5], [2.0], [-1.0]], dtype=F64)
    squares = 2 * torch.tensor([[x.square().mean(), x.mean()], [x.mean(), 1.0]], dtype=F64)
    value, residual, steps = largest_eigenvalue(lambda v: v @ squares, 1, 2, x)
    torch.testing.assert_close(value[0], torch.linalg.eigvalsh(squares)[-1])
    assert residual[0] < 1e-9 and steps[0] == 2


def test_a_flat_loss_has_sharpness_0_and_one_that_is_not_finite_none() -> None:
    start = torch.zeros(1, dtype=F64)
    found = largest_eigenvalue(
        lambda v: v * torch.tensor([[0.0], [torch.nan], [3.0]], dtype=F64), 3, 5, start
    )
    np.testing.assert_allclose(found[0], [0, np.nan, 3])
    np.testing.assert_allclose(found[2], [1, 1, 1])


def test_eigenvalues_that_lie_close_are_told_by_the_residual() -> None:
    spectrum = torch.linspace(0, 1, 4000, dtype=F64)
    value, residual, steps = largest_eigenvalue(lambda v: v * spectrum, 1, 4000, spectrum)
    assert steps[0] <= MOST and abs(float(value[0]) - 1) <= float(residual[0]) + 1e-12
    assert (residual[0] > TOLERANCE) == (steps[0] == MOST)


def test_a_replica_does_not_wait_for_the_others() -> None:
    """One matrix that takes many products, beside one whose largest eigenvalue stands apart."""
    slow = torch.linspace(0, 1, 300, dtype=F64)
    fast = slow**40
    both = torch.stack([slow, fast])
    found = largest_eigenvalue(lambda v: v * both, 2, 300, slow)
    alone = [largest_eigenvalue(lambda v, one=one: v * one, 1, 300, slow) for one in both]
    for at in range(3):
        assert found[at].tolist() == [float(each[at][0]) for each in alone]
    assert found[2][0] > 2 * found[2][1]


@pytest.mark.parametrize("activation", ["sigmoid", "prelu", "prelu:per=unit", "softmax", "hard_tanh", "mish"])
@pytest.mark.parametrize("norm", ["none", "rms"])
def test_products_are_symmetric_for_every_kind_of_part(activation: str, norm: str) -> None:
    watched = observed(activation=activation, norm=norm, residual="rezero")
    product, size = hessian(watched)
    u, v = torch.randn(2, 2, size, dtype=F64, generator=torch.Generator().manual_seed(0))
    forth, back = (u * product(v)).sum(1), (v * product(u)).sum(1)
    torch.testing.assert_close(forth, back, rtol=1e-9, atol=1e-9)
    assert (forth.abs() > 0).all()


def test_full_batch_descent_is_watched_on_the_loss_it_descends() -> None:
    """A probe of all rows, batch norm and all, has the loss of the training's only batch."""
    watched = observed(probe="all", batch_size=48, norm="batch")
    assert len(watched.probe) == 48 == len(watched.targets)
    outputs = watched.mlp(watched.probe.expand(2, -1, -1))
    losses = watched.loss.of(outputs, watched.targets.expand(2, -1))
    trained = training(probe="all", batch_size=48, norm="batch", steps=0)
    result = trained.run(None, None)
    steps = result.blocks["steps"]
    np.testing.assert_allclose(steps.column("train_loss")[:, 0], losses.detach(), rtol=1e-12)


OWN = """
import torch

class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z):
        ctx.save_for_backward(z)
        return z.tanh()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        (z,) = ctx.saved_tensors
        return gradient * (1 - z.tanh() ** 2)

def once(z):
    return Once.apply(z)

class Counts(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.slope = torch.nn.Parameter(torch.tensor(0.5))
        self.calls = 0

    def forward(self, z):
        self.calls += 1
        return torch.tanh(self.slope * z)
"""


def test_an_activation_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its parameters count as weights, it hears of no call, and without a second derivative the error says so."""
    (tmp_path / "sharp_acts.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    watched = observed(activation="sharp_acts:Counts")
    product, size = hessian(watched)
    assert size == sum(p.numel() for p in watched.mlp.parameters()) // 2
    v = torch.ones(2, size, dtype=F64)
    assert (product(v)[:, -2:].abs() > 0).any(), "the slopes of the two layers stand last"
    calls = [m.calls for m in watched.mlp.modules() if hasattr(m, "calls")]
    assert not any(calls)
    with pytest.raises(UserError, match="no second derivative") as error:
        hessian(observed(activation="sharp_acts:once"))[0](torch.ones(2, 43, dtype=F64))
    assert "leave out --sharpness" in str(error.value.problems[0].hint)


def test_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    flags = "run --activation tanh --depth 1 --width 4 --data moons --steps 2 --seeds 2 --record all --out o --quiet"
    assert main([*flags.split(), "--sharpness"]) == 0
    rows = pd.read_csv("o/sharpness.csv")
    assert list(rows["seed"]) == [0, 0, 0, 1, 1, 1] and list(rows["step"]) == [0, 1, 2] * 2
    assert (rows["sharpness_residual"] <= TOLERANCE * rows["sharpness"].abs()).all()
    assert rows["products"].dtype.kind == "i" and (rows["samples"] == 512).all()
