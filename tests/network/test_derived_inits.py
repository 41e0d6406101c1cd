"""Initialisers that are worked out: critical and half-stable from the theory, LSUV from the data."""

import numpy as np
import pytest
import torch

from gradlab import activations
from gradlab.base.errors import ConfigError
from gradlab.nn.lsuv import scale_to_unit_variance
from gradlab.nn.mlp import StackedMLP, build_mlp
from gradlab.parts import inits, norms, residuals


def net(activation: str, init: str, depth: int = 8, width: int = 96) -> StackedMLP:
    phi = activations.get(activation)
    return build_mlp(
        activation=phi,
        init=inits.get(init, phi),
        norm=norms.get("none"),
        residual=residuals.get("none", depth),
        depth=depth,
        width=width,
        features=20,
        outputs=5,
        seeds=(3, 4),
        dtype=torch.float64,
    )


@pytest.mark.parametrize(
    ("activation", "text", "sigma_w", "sigma_b"),
    [
        # Schoenholz et al.'s critical line for tanh at sigma_b^2 = 0.05, by adaptive quadrature
        ("tanh", f"critical:sigma_b={0.05**0.5!r}", 1.7609546396**0.5, 0.05**0.5),
        ("relu", "critical", 2**0.5, 0.0),
        ("sigmoid", "critical", 10.14926371, 0.0),
        ("gelu", "half_stable", 1.98305826**0.5, 0.17292239**0.5),
    ],
)
def test_critical_weights_have_the_variance_of_the_theory(
    activation: str, text: str, sigma_w: float, sigma_b: float
) -> None:
    init = inits.get(text, activations.get(activation))
    assert init.sigma_w is not None
    assert init.sigma_w(64, 10) == pytest.approx(sigma_w, rel=1e-7)
    assert init.sigma_b(64, 10) == pytest.approx(sigma_b, rel=1e-7)
    weights = torch.cat(
        [linear.weight.reshape(2, -1) for linear in net(activation, text).linears[1:-1]], dim=1
    )
    measured = weights.detach().numpy().std() * 96**0.5
    assert measured == pytest.approx(sigma_w, rel=5 / np.sqrt(2 * weights.numel()))  # five standard errors


def test_where_there_is_no_critical_point_the_error_names_the_way_out() -> None:
    with pytest.raises(ConfigError) as caught:
        inits.get("critical", activations.get("gelu"), "--init")
    assert "--init: gelu has no critical point" in str(caught.value)
    assert "half_stable (sigma_w = 1.40821, sigma_b = 0.415839)" in str(caught.value)
    with pytest.raises(ConfigError, match="no half-stable point"):
        inits.get("half_stable", activations.get("tanh"), "--init")


@pytest.mark.parametrize("activation", ["tanh", "relu", "sigmoid"])
def test_lsuv_gives_every_layer_unit_variance_on_the_data(activation: str) -> None:
    mlp = net(activation, "lsuv:bias=0.5")
    x = torch.randn(200, 20, dtype=torch.float64) * 7
    directions = [linear.weight.detach() / linear.weight.detach().norm() for linear in mlp.linears]
    scale_to_unit_variance(mlp, x, tolerance=1e-6)
    h = x.expand(2, -1, -1)
    for number, linear in enumerate(mlp.linears):
        z = torch.baddbmm(linear.bias, h, linear.weight)
        variance = z.reshape(2, -1).var(dim=1, correction=0)
        torch.testing.assert_close(variance, torch.ones_like(variance), rtol=0, atol=1e-6)
        if number < len(mlp.hidden):
            h = mlp.layers[number].activation(z)
    for linear, direction in zip(mlp.linears, directions, strict=True):  # only scaled, one factor a replica
        ratio = linear.weight.detach() / direction
        assert (ratio.std(dim=(1, 2)) / ratio.mean(dim=(1, 2)).abs()).max() < 1e-9
    assert not any(linear._forward_hooks for linear in mlp.linears)


def test_lsuv_stops_inside_its_tolerance() -> None:
    mlp = net("tanh", "lsuv")
    x = torch.randn(500, 20, dtype=torch.float64)
    before = mlp.linears[0].weight.detach().clone()
    rows = before @ before.transpose(1, 2)  # orthonormal: the variance of z is 20/96
    torch.testing.assert_close(rows, torch.eye(20, dtype=torch.float64).expand(2, -1, -1))
    scale_to_unit_variance(mlp, x, tolerance=0.9)
    assert torch.equal(mlp.linears[0].weight, before)


@pytest.mark.parametrize(("tolerance", "scaled"), [(0.75, True), (0.82, False)])
def test_lsuv_scales_exactly_what_lies_outside_its_tolerance(tolerance: float, scaled: bool) -> None:
    mlp = net("tanh", "lsuv")
    x = torch.randn(500, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    first = mlp.linears[0]
    z = torch.baddbmm(first.bias, x.expand(2, -1, -1), first.weight.detach())
    variance = z.reshape(2, -1).var(dim=1, correction=0)
    assert ((variance - 1).abs() > 0.75).all() and ((variance - 1).abs() < 0.82).all(), "20/96, or so"
    before = first.weight.detach().clone()
    scale_to_unit_variance(mlp, x, tolerance)
    expected = before / variance.sqrt().reshape(-1, 1, 1) if scaled else before
    torch.testing.assert_close(first.weight.detach(), expected)


def test_lsuvs_usual_tolerance_is_its_authors() -> None:
    """Mishkin and Matas 2016, algorithm 1: Tol_var = 0.1."""
    assert inits.get("lsuv", activations.get("tanh")).lsuv == 0.1
