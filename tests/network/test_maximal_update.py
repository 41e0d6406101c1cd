"""The maximal update parametrisation: its table of rates and variances, and that nets train with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from reference.stacks import make_stack

from gradlab.base.errors import UserError
from gradlab.config import plan, resolve
from gradlab.nn.maximal_update import rate_factors
from gradlab.nn.mlp import StackedMLP
from gradlab.parts import optimizers
from gradlab.train.loop import Training, build_stack


def net(**flags: object) -> StackedMLP:
    stack = make_stack(**{"init": "mup:base=4", "width": 16, "depth": 3, **flags})
    return build_stack(stack, stack.cell.dataset())


TABLE = {  # Yang et al. 2022, table 3, at four times the base width
    "hidden.0.linear.weight": (4, 1),
    "hidden.1.linear.weight": (1, 1 / 4),
    "hidden.2.linear.weight": (1, 1 / 4),
    "readout.weight": (1 / 4, 1 / 4),
    "readout.bias": (1, 1),
    **{f"hidden.{layer}.linear.bias": (4, 1) for layer in range(3)},
    **{f"hidden.{layer}.norm_before.{name}": (4, 1) for layer in range(3) for name in ("scale", "shift")},
    **{f"hidden.{layer}.activation.alpha": (1, 1) for layer in range(3)},
}


@pytest.mark.parametrize("place", [0, 1])
def test_rates_are_those_of_the_table(place: int) -> None:
    mlp = net(norm="layer", activation="prelu")
    names = [name for name, _ in mlp.named_parameters()]
    assert set(names) == set(TABLE)
    found = rate_factors(mlp, 4, scale_free=bool(place))
    assert dict(zip(names, found, strict=True)) == {name: TABLE[name][place] for name in names}
    per_unit = net(activation="prelu:per=unit")
    slopes = {id(layer.activation.alpha) for layer in per_unit.layers}
    factors = zip(per_unit.owners(), rate_factors(per_unit, 4, scale_free=bool(place)), strict=True)
    assert {factor for (each, _), factor in factors if id(each) in slopes} == {(4, 1)[place]}


def test_inputs_as_wide_as_a_layer_are_told_from_it() -> None:
    mlp = net(width=6, data="gaussian:features=6:classes=6:samples=60")
    assert {tuple(linear.weight.shape) for linear in mlp.linears} == {(2, 6, 6)}
    factors = rate_factors(mlp, 3, scale_free=False)
    assert [f for f, (name, _) in zip(factors, mlp.named_parameters(), strict=True) if "weight" in name] == [
        2,
        1,
        1,
        0.5,
    ]


def test_the_readouts_variance_falls_with_the_square_of_the_width_and_nothing_elses() -> None:
    for width in (16, 64):
        wide, plain = (net(width=width, init=init) for init in ("mup:base=4", "lecun"))
        *hidden, last = zip(wide.linears, plain.linears, strict=True)
        assert all(torch.equal(one.weight, other.weight) for one, other in hidden)
        torch.testing.assert_close(last[0].weight, last[1].weight * (4 / width) ** 0.5)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adamw"])
def test_at_the_base_width_it_is_the_standard_parametrisation(optimizer: str) -> None:
    weights = []
    for init in ("mup:base=16", "he"):
        flags = {"optimizer": optimizer, "weight_decay": 0.1, "activation": "relu", "steps": 4}
        stack = make_stack(init=init, width=16, **flags)
        training = Training(stack, stack.cell.dataset())
        training.run(None, None)
        weights.append([each.detach().clone() for each in training.mlp.parameters()])
    for one, other in zip(*weights, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam", "rmsprop"])
def test_steps_are_torchs_with_a_group_for_each_rate(optimizer: str) -> None:
    """Three steps beside torch's own optimiser, whose groups have the table's rates and the decay over them."""
    mlp = net(activation="tanh")
    chosen = optimizers.get(optimizer, weight_decay=0.01)
    factors = rate_factors(mlp, 4, scale_free=bool(chosen.scale_free))
    assert len(set(factors)) > 1 and chosen.by_rate is not None
    copies = [each.detach().clone().requires_grad_() for each in mlp.parameters()]
    theirs = chosen.for_model([{"params": [each]} for each in copies], 0.1)  # type: ignore[list-item]
    for group, factor in zip(theirs.param_groups, factors, strict=True):
        group["lr"], group["weight_decay"] = 0.1 * factor, 0.01 / factor
    ours = chosen.by_rate(mlp.owners(), factors)
    draw = torch.Generator().manual_seed(0)
    for _ in range(3):
        gradients = [torch.randn(each.shape, dtype=each.dtype, generator=draw) for each in copies]
        for each, gradient in zip(copies, gradients, strict=True):
            each.grad = gradient.clone()
        theirs.step()
        ours.step(gradients, 0.1)
    for mine, other in zip(mlp.parameters(), copies, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-12, atol=1e-14)


def test_an_optimiser_whose_step_nobody_knows_is_refused(tmp_path: Path) -> None:
    flags = {"init": "mup", "optimizer": "torch.optim:Adagrad", "out": str(tmp_path / "o")}
    with pytest.raises(UserError, match="has no rates by layer") as error:
        plan.make(resolve(flags=flags))
    assert "adamw" in str(error.value.problems[0].allowed)


def test_the_prediction_knows_the_readouts_variance() -> None:
    """delta of the hidden layers comes through the readout: measured over predicted is 1 at every width."""
    from gradlab.lab.predict import predict

    ratios = []
    for width in (64, 256):
        stack = make_stack(init="mup:base=16", width=width, steps=0, seeds=4, activation="relu", depth=2)
        result = Training(stack, stack.cell.dataset()).run(None, None)
        predict(stack, result, stack.cell.dataset())
        layers = result.blocks["layers"]
        measured, predicted = layers.column("delta_rms")[:, 0], layers.column("delta_rms_predicted")[:, 0]
        ratios.append(np.exp(np.log(measured[:, 1] / predicted[:, 1]).mean()))
    assert ratios == pytest.approx([1, 1], rel=0.15)
