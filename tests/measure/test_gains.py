"""Gains of the lab's nets: each is the ratio of two gradients that autograd gives, taken apart by hand in float64."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from reference import stacks
from torch import Tensor

from gradlab import activations
from gradlab.activations.registry import REGISTRY
from gradlab.nn.mlp import StackedMLP, build_mlp
from gradlab.parts import inits, losses, norms, residuals
from gradlab.sensors import metrics, own_columns
from gradlab.sensors.layers import LayerSensor
from gradlab.sensors.sensor import Observed
from gradlab.train import loop

GAINS = metrics.GAINS
REPLICAS, DEPTH, WIDTH, BATCH = 2, 5, 12, 9
SCHEMES = [*residuals.RESIDUALS, "pre:block=2", "post:block=4", "rezero:block=2", "skipinit:block=2"]
NORMS = ["none", "batch", "layer", "rms", "batch:position=post", "layer:position=post", "rms:position=post"]


def net(activation: str, norm: str, residual: str) -> StackedMLP:
    known = activations.get(activation, own=True)
    mlp = build_mlp(
        activation=known, init=inits.get("gaussian:sigma_w=1.3:sigma_b=0.2", known), norm=norms.get(norm),
        residual=residuals.get(residual, DEPTH), depth=DEPTH, width=WIDTH, features=7, outputs=3,
        seeds=range(REPLICAS), dtype=torch.float64,
    )  # fmt: skip
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in mlp.named_parameters():
            if "skip" in name or "norm" in name:  # open the branches, and make every unit's scale its own
                parameter.add_(torch.rand(parameter.shape, generator=draw, dtype=torch.float64) + 0.3)
            elif not parameter.any():  # Fixup's
                parameter.add_(torch.randn(parameter.shape, generator=draw, dtype=torch.float64) * 0.3)
    return mlp


def batch() -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(REPLICAS, BATCH, 7, dtype=torch.float64, generator=draw)
    return x, torch.randint(0, 3, (REPLICAS, BATCH), generator=draw)


def loss_of(outputs: Tensor, y: Tensor) -> Tensor:
    return sum(F.cross_entropy(o, t) for o, t in zip(outputs, y, strict=True))


def recorded(mlp: StackedMLP, activation: str) -> dict[str, np.ndarray]:
    """Column -> [replica, layer], NaN where it does not apply."""
    x, y = batch()
    names = (*(str(layer) for layer in range(DEPTH)), "output")
    sensor = LayerSensor(
        Observed(
            mlp, activations.get(activation, own=True), x[0], names, BATCH, y[0], losses.get("cross_entropy")
        ),
        own_columns.get("standard"),
    )
    sensor.begin(None)
    with sensor.watching():
        gradients = torch.autograd.grad(loss_of(mlp(x), y), list(mlp.parameters()), materialize_grads=True)
    sensor.take_gradients(dict(zip(mlp.parameters(), gradients, strict=True)))
    values, _ = sensor.finish()
    return {name: values[..., place].numpy() for name, place in sensor.columns.items()}


def by_hand(mlp: StackedMLP) -> dict[str, np.ndarray]:
    """The same gains, from a pass in which everything that takes a tensor gets a copy of its own, whose gradient is
    that one's share."""
    x, y = batch()
    points: list[dict[str, Tensor]] = []
    h, stream = x, None
    for layer in mlp.layers:
        at: dict[str, Tensor] = {}
        points.append(at)

        def kept(name: str, value: Tensor, at: dict[str, Tensor] = at) -> Tensor:
            at[name] = value.clone()
            at[name].requires_grad_() if at[name].is_leaf else at[name].retain_grad()
            return at[name]

        z = kept("z", layer.linear(layer.skip.enter(kept("x", h))))

        def norm(value: Tensor, layer=layer, kept=kept) -> Tensor:  # type: ignore[no-untyped-def]
            return kept("norm_out", layer.norm_before(kept("norm_in", value)))

        before, stream = layer.skip.before(z, stream, norm)
        h = kept("normed", layer.norm_after(kept("phi_out", layer.activation(before))))
        h, stream = layer.skip.after(h, stream)
    last = h.clone()
    last.retain_grad()
    outputs = mlp.readout(last)
    outputs.retain_grad()
    loss_of(outputs, y).backward()

    def size(tensor: Tensor) -> np.ndarray:
        assert tensor.grad is not None
        return tensor.grad.square().mean(dim=(1, 2)).sqrt().numpy()

    found = {name: np.full((REPLICAS, DEPTH + 1), np.nan) for name in GAINS}
    for place, at in enumerate(points):
        above = points[place + 1]["z"] if place + 1 < DEPTH else outputs
        by_map = points[place + 1]["x"] if place + 1 < DEPTH else last
        with np.errstate(invalid="ignore", divide="ignore"):
            found["weight_gain"][:, place] = size(by_map) / size(above)
            found["slope_gain"][:, place] = size(at["norm_out"]) / size(at["phi_out"])
            found["norm_gain"][:, place] = (
                size(at["norm_in"]) / size(at["norm_out"]) * size(at["phi_out"]) / size(at["normed"])
            )
            found["other_gain"][:, place] = (
                size(at["normed"]) / size(by_map) * size(at["z"]) / size(at["norm_in"])
            )
    return found


def check(activation: str, norm: str, residual: str) -> None:
    mlp = net(activation, norm, residual)
    got = recorded(mlp, activation)
    expected = by_hand(mlp)
    for name in GAINS:
        there = got[name]
        if name == "norm_gain" and norm == "none":
            assert np.isnan(there).all()
        elif name == "other_gain":
            if residual == "none":
                assert np.isnan(there).all()
            np.testing.assert_allclose(
                np.nan_to_num(there, nan=1.0)[:, :-1], expected[name][:, :-1], rtol=1e-9
            )
        else:
            np.testing.assert_allclose(there, expected[name], rtol=1e-9, err_msg=name)
    delta = got["delta_rms"]
    product = np.prod([np.nan_to_num(got[name], nan=1.0) for name in GAINS], axis=0)
    np.testing.assert_allclose(product[:, :-1], delta[:, :-1] / delta[:, 1:], rtol=1e-12)
    assert all(np.isnan(got[name][:, -1]).all() for name in GAINS), "above the readout nothing is"


@pytest.mark.parametrize("activation", list(REGISTRY))
def test_the_gains_of_every_activation(activation: str) -> None:
    check(activation, "none", "none")


@pytest.mark.parametrize("residual", SCHEMES)
@pytest.mark.parametrize("norm", NORMS)
def test_the_gains_of_every_norm_and_residual_scheme(norm: str, residual: str) -> None:
    check("tanh", norm, residual)


@pytest.mark.parametrize("residual", ["pre", "rezero"])
@pytest.mark.parametrize("activation", ["prelu", "relu", "torch.nn:ReLU:inplace=True"])
def test_the_gains_beside_a_skip_connection_whatever_phi_writes_over(activation: str, residual: str) -> None:
    if activation.startswith("torch") and residual == "pre":
        pytest.skip("an activation in place would write over the stream")
    check(activation, "layer", residual)


@pytest.mark.parametrize("activation", ["sigmoid", "relu", "prelu", "prelu:per=unit", "gelu"])
def test_a_pass_in_buffers_has_the_gains_of_autograd(
    activation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_buffers = stacks.train(activation=activation, depth=4, steps=3, record="all").layers
    monkeypatch.setattr(loop, "buffered_pass", lambda *_: None)
    watched = stacks.train(activation=activation, depth=4, steps=3, record="all").layers
    for name in GAINS:
        np.testing.assert_array_equal(in_buffers.column(name), watched.column(name), err_msg=name)
    assert np.isfinite(in_buffers.column("slope_gain")[..., :-1]).all()
    assert np.isnan(in_buffers.column("other_gain")).all(), "nothing else lies on the way"


def test_float32_keeps_the_product_where_the_squares_underflow() -> None:
    block = stacks.train(activation="sigmoid", depth=45, width=16, steps=0, dtype="float32").layers
    delta = block.column("delta_rms")
    product = block.column("weight_gain") * block.column("slope_gain")
    assert 0 < delta.min() < 1e-25, "whose squares float32 does not hold"
    np.testing.assert_allclose(product[..., :-1], delta[..., :-1] / delta[..., 1:], rtol=1e-12)


def test_a_closed_branch_has_no_gain_inside_and_gives_nothing_to_the_layer_below() -> None:
    block = stacks.train(activation="relu", depth=5, residual="rezero", steps=0).layers
    gains = {name: block.column(name)[:, 0] for name in GAINS}
    assert (block.column("delta_rms")[:, 0, 1:-1] == 0).all()
    assert all(np.isnan(gains[name][:, 1:3]).all() for name in GAINS), "nothing comes in"
    assert np.isnan(gains["weight_gain"][:, 0]).all() and (gains["slope_gain"][:, 0] > 0).all()
    assert (gains["other_gain"][:, 4] == 0).all(), "the scale of the branch is 0"


def test_a_gain_of_nothing_is_none_and_a_rest_of_exactly_1_is_nothing() -> None:
    for make in (list, lambda numbers: torch.tensor(numbers, dtype=torch.float64)):
        found = metrics.gains(
            make([2.0, 0.0]), [("weight_gain", make([1.0, 0.0])), ("other_gain", make([1.0, 3.0]))]
        )
        assert next(map(float, found["weight_gain"])) == 0.5
        assert np.isnan([float(found["weight_gain"][1]), *map(float, found["other_gain"])]).all()
    twice = metrics.gains([1.0], [("other_gain", [2.0]), ("slope_gain", [1.0]), ("other_gain", [3.0])])
    assert twice == {"other_gain": [6.0], "slope_gain": [0.5]}
