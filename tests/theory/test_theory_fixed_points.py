"""Fixed points, critical points and depth scales: reference values, and the maps iterated by hand."""

import json
import time
from itertools import pairwise
from math import exp, inf, isinf, log, pi, sqrt

import numpy as np
import pytest
from scipy.integrate import dblquad, quad
from scipy.special import ndtr

from gradlab import activations
from gradlab.base.errors import ConfigError
from gradlab.theory import (
    correlation_fixed_point,
    correlation_map,
    correlations,
    critical,
    curve,
    describe,
    fixed_points,
    length_map,
    pair_means,
    predict,
    slope_map,
)
from gradlab.theory.fixed_points import _CURVES, ANY_Q, GROWS

LECUN, HE, TORCH = 1.0, sqrt(2), sqrt(1 / 3)

# activation, sigma_w -> q* (None: a reason), chi_1; independent piecewise quadrature, agreeing with scipy's quad
SETTLED = [
    ("linear", LECUN, ANY_Q, 1.0),
    ("linear", HE, GROWS, 2.0),
    ("tanh", LECUN, 0.0, 1.0),
    ("tanh", HE, 0.61796477, 1.10552882),
    ("sigmoid", LECUN, 0.26468688, 0.05572071),
    ("sigmoid", HE, 0.55528959, 0.10097708),
    ("hard_sigmoid", LECUN, 0.26041665, 0.03999996),
    ("hard_sigmoid", HE, 0.54341667, 0.07994436),
    ("relu", LECUN, 0.0, 0.5),
    ("relu", HE, ANY_Q, 1.0),
    ("leaky_relu:negative_slope=0.2", LECUN, 0.0, 0.52),
    ("leaky_relu:negative_slope=0.2", HE, GROWS, 1.04),
    ("selu", LECUN, 1.0, 1.07157499),
    ("selu", HE, GROWS, 1.0507009873554805**2),
    ("gelu", LECUN, 0.0, 0.25),
    ("gelu", HE, 0.0, 0.5),
    ("softplus", LECUN, 0.85630516, 0.28872185),
    ("softplus", HE, GROWS, 1.0),
]
# sigma_w at sigma_b = 0 and its q*; "any" where any q is fixed
CRITICAL = [
    ("linear", 1.0, "any"),
    ("tanh", 1.0, 0.0),
    ("sigmoid", 10.14926371, 45.62427780),
    ("hard_sigmoid", 8.60790259, 32.82892862),
    ("relu", 1.41421356, "any"),
    ("leaky_relu:negative_slope=0.2", 1.38675049, "any"),
    ("selu", 0.69048607, 0.0),
]
# product of chi over 20 layers, at three sigma_w
G20 = [
    ("linear", (1.0, 1.05e6, 2.87e-10)),
    ("tanh", (3.597e-2, 3.1995, 1.60e-10)),
    ("sigmoid", (6.62e-26, 8.68e-21, 9.55e-35)),
    ("hard_sigmoid", (1.09e-28, 1.05e-22, 3.15e-38)),
    ("relu", (9.537e-7, 1.0, 2.735e-16)),
    ("leaky_relu:negative_slope=0.2", (2.09e-6, 2.1911, 5.99e-16)),
    ("selu", (3.9852, 568.3, 9.97e-5)),
    ("gelu", (3.97e-12, 3.86e-3, 4.33e-22)),
    ("softplus", (1.67e-11, 2.84e-3, 6.23e-22)),
]
# tanh at sigma_b^2 = 0.05: sigma_w^2, q*, chi_1, c*, xi_c
TANH = [
    (1.0, 0.19359252, 0.75903165, 1.0, 3.6270),
    (1.5, 0.41803720, 0.93863627, 1.0, 15.7910),
    (2.0, 0.72176187, 1.04766600, 0.74408242, 25.2134),
    (4.0, 2.19549393, 1.34240241, 0.16506496, 6.9803),
]


@pytest.mark.parametrize(("text", "sigma_w", "q_star", "chi_1"), SETTLED)
def test_where_a_net_settles(text: str, sigma_w: float, q_star: float | str, chi_1: float) -> None:
    found = describe(text, sigma_w=sigma_w, depth=1)
    if isinstance(q_star, str):
        assert found.q_star is None and found.q_star_stable is None and found.q_star_reason == q_star
    else:
        assert found.q_star == pytest.approx(q_star, rel=1e-7, abs=1e-8) and found.q_star_stable
    assert found.chi_1 == pytest.approx(chi_1, rel=1e-7, abs=6e-9)


@pytest.mark.parametrize(("text", "sigma_w", "q"), CRITICAL)
def test_the_critical_sigma_w(text: str, sigma_w: float, q: float | str) -> None:
    found = critical(text)
    assert found.sigma_w == pytest.approx(sigma_w, rel=1e-7)
    assert found.q == (None if q == "any" else pytest.approx(q, rel=1e-7))
    assert found.reason == (ANY_Q if q == "any" else None)


@pytest.mark.parametrize(("text", "products"), G20)
def test_the_attenuation_over_twenty_layers(text: str, products: tuple[float, ...]) -> None:
    for sigma_w, expected in zip((LECUN, HE, TORCH), products, strict=True):
        printed = 5 * 10 ** (np.floor(np.log10(expected)) - 3)  # half of the last digit that is given, or so
        chi = predict(text, depth=20, sigma_w=sigma_w).chi
        assert np.prod(chi) == pytest.approx(expected, abs=10 * printed, rel=1e-12)


@pytest.mark.parametrize(("sigma_w_sq", "q_star", "chi_1", "c_star", "xi_c"), TANH)
def test_tanh_with_biases(sigma_w_sq: float, q_star: float, chi_1: float, c_star: float, xi_c: float) -> None:
    found = describe("tanh", sigma_w=sqrt(sigma_w_sq), sigma_b=sqrt(0.05), depth=1)
    assert found.q_star == pytest.approx(q_star, rel=1e-7)
    assert found.chi_1 == pytest.approx(chi_1, rel=1e-7)
    assert found.c_star == pytest.approx(c_star, rel=1e-7)
    assert found.xi_c == pytest.approx(xi_c, abs=6e-5)
    assert found.critical.sigma_w is not None
    assert found.critical.sigma_w**2 == pytest.approx(1.7609546396, rel=1e-9)
    assert found.critical.q == pytest.approx(0.5700478816, rel=1e-9)


@pytest.mark.parametrize(
    ("text", "sigma_w_sq", "sigma_b_sq", "q"),
    [("gelu", 1.98305826, 0.17292239, 3.56155281), ("silu", 1.98800468, 0.55514317, 14.32017362)],
)
def test_half_stable_points_of_gelu_and_silu(
    text: str, sigma_w_sq: float, sigma_b_sq: float, q: float
) -> None:
    """Roberts, Yaida & Hanin 2022, chapter 5."""
    found = critical(text)
    assert found.sigma_w is None and found.reason is not None and "not reached from above" in found.reason
    half = found.half_stable
    assert half is not None
    assert half.sigma_w**2 == pytest.approx(sigma_w_sq, abs=6e-9)
    assert half.sigma_b**2 == pytest.approx(sigma_b_sq, abs=6e-9)
    assert half.q == pytest.approx(q, abs=6e-9)
    there = critical(text, sigma_b=half.sigma_b)
    assert there.sigma_w is None and "half-stable" in (there.reason or "")
    points = fixed_points(curve(text), half.sigma_w, half.sigma_b).points
    touching = min(points, key=lambda point: abs(point.q - q))
    assert touching.q == pytest.approx(q, rel=1e-4) and touching.slope == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("text", [name for name in activations.names() if activations.get(name).elementwise])
@pytest.mark.parametrize("sigma_b", [0.0, 0.3, 1.0])
def test_a_critical_point_is_one(text: str, sigma_b: float) -> None:
    """chi = 1 exactly, q comes back, and from above."""
    found = critical(text, sigma_b=sigma_b)
    if found.sigma_w is None:
        assert found.reason
        return
    q = 1.0 if found.q is None else found.q
    chi = float(slope_map(text, q, sigma_w=found.sigma_w))
    assert chi == pytest.approx(1, abs=1e-9)
    if found.q is None:
        assert float(length_map(text, 3.0, sigma_w=found.sigma_w)) == pytest.approx(3.0)
        return
    above = q * 1.05 if q else 1.0
    mapped = float(length_map(text, above, sigma_w=found.sigma_w, sigma_b=sigma_b))
    assert q < mapped < above


@pytest.mark.parametrize("text", ["tanh", "sigmoid", "selu", "softsign", "hard_swish", "elu"])
def test_fixed_points_are_where_iteration_ends(text: str) -> None:
    sigma_w, sigma_b = 1.2, 0.3
    q = 1.0
    for _ in range(3000):
        q_before, q = q, float(length_map(text, q, sigma_w=sigma_w, sigma_b=sigma_b))
        if abs(q - q_before) < 1e-14:
            break
    found = describe(text, sigma_w=sigma_w, sigma_b=sigma_b, depth=1)
    assert found.q_star == pytest.approx(q, rel=1e-9)
    step = 1e-5 * q
    low, high = length_map(text, [q - step, q + step], sigma_w=sigma_w, sigma_b=sigma_b)
    assert found.xi_q == pytest.approx(-1 / log((high - low) / (2 * step)), rel=1e-4)


def test_the_basin_decides_between_two_stable_fixed_points() -> None:
    """SiLU at sigma_w = 1.95, sigma_b = 0: small inputs fade away, large ones explode."""
    assert describe("silu", sigma_w=1.95, q0=0.01, depth=1).q_star == 0
    assert describe("silu", sigma_w=1.95, q0=50, depth=1).q_star_reason == GROWS


def test_second_order_stability_at_zero() -> None:
    for text, sigma_w, stable in (
        ("tanh", 1.0, True),
        ("selu", 0.6904860736341848, True),
        ("gelu", 2.0, False),
    ):
        zero = fixed_points(curve(text), sigma_w).points[0]
        assert zero.q == 0 and zero.stable is stable and zero.slope == pytest.approx(1, abs=1e-9)


def test_the_correlation_map_has_its_closed_forms() -> None:
    """ReLU: the arc-cosine kernel (Cho & Saul 2009, eqs. 6-7); erf: the arcsine one (Williams 1997)."""
    for c in (-1.0, -0.999999, -0.4, 0.0, 0.3, 0.9, 0.999, 1 - 1e-6, 1 - 1e-9, 1.0):
        theta = np.arccos(c)
        product, slopes = pair_means("relu", 2.0, c)
        assert product == pytest.approx((np.sin(theta) + (np.pi - theta) * c) / np.pi, abs=1e-10)
        assert slopes == pytest.approx((np.pi - theta) / (2 * np.pi), abs=1e-8)
        product, _ = pair_means("erf", 2.0, c)
        assert product == pytest.approx(2 / np.pi * np.arcsin(4 * c / 5), abs=1e-10)


@pytest.mark.parametrize("apart", [1e-3, 1e-7, 1e-10])
def test_two_inputs_almost_alike_at_a_kink(apart: float) -> None:
    """Both inside hard tanh's line: P(|u1| < 1, |u2| < 1), whose smoothed edge is sqrt(2 apart) wide."""
    c = 1 - apart
    spread = sqrt((1 - c) * (1 + c))

    def inside(x: float) -> float:
        return (
            float(ndtr((1 - c * x) / spread) - ndtr((-1 - c * x) / spread)) * exp(-x * x / 2) / sqrt(2 * pi)
        )

    edges = [-1.0, *(-1 + spread * t for t in (0.3, 1, 3, 9)), *(1 - spread * t for t in (9, 3, 1, 0.3)), 1.0]
    expected = sum(quad(inside, a, b, epsabs=1e-13)[0] for a, b in pairwise(edges))
    assert pair_means("hard_tanh", 1.0, c)[1] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("text", "mean"), [("tanh", 0.0), ("softplus", 0.0), ("sigmoid", 1.3)])
def test_the_correlation_map_is_that_of_scipys_double_integral(text: str, mean: float) -> None:
    q, c = 1.7, 0.6
    phi = activations.get(text).phi
    assert phi is not None

    def weighted(y: float, x: float) -> float:
        u, v = mean + sqrt(q) * x, mean + sqrt(q) * (c * x + sqrt(1 - c * c) * y)
        return float(phi(np.array(u)) * phi(np.array(v)) * np.exp(-(x * x + y * y) / 2) / (2 * np.pi))

    expected = dblquad(weighted, -8, 8, -8, 8, epsabs=1e-10, epsrel=1e-9)[0]
    assert pair_means(text, q, c, mean=mean)[0] == pytest.approx(expected, abs=1e-8)


def test_correlations_of_two_inputs_settle_at_c_star() -> None:
    net = predict("tanh", depth=15, sigma_w=2.0, sigma_b=sqrt(0.05))
    path = correlations(net, 0.3)
    assert path[-1] == pytest.approx(0.16506496, abs=0.135 * np.exp(-14 / 6.98) * 1.5)
    assert path[0] == pytest.approx((4 * 0.3 + 0.05) / 4.05)
    assert correlations(net, 1.0) == pytest.approx(1.0, abs=1e-12)


def test_correlation_limits() -> None:
    assert correlation_fixed_point("tanh", q=0.0, sigma_w=0.5).c is None, "near 0 tanh is linear"
    relu = correlation_fixed_point("relu", q=1.0, sigma_w=HE)
    assert relu.c == 1 and isinf(relu.xi)
    assert correlation_fixed_point("tanh", q=0.61796477, sigma_w=HE).c == 0
    jump = correlation_fixed_point("thresholded_relu", q=1.0, sigma_w=1.0)
    assert jump.c is not None and 0 < jump.c < 1, "at a jump nearby inputs always part"
    moved = correlation_map("thresholded_relu", [jump.c - 1e-3, jump.c + 1e-3], q=1.0, sigma_w=1.0)
    assert jump.xi == pytest.approx(-1 / log((moved[1] - moved[0]) / 2e-3), rel=1e-3)


def test_users_own_activation(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """x + sin(x)^2: E[phi^2] = q + 3/8 - e^(-2q)/2 + e^(-8q)/8, E[phi'^2] = 3/2 - e^(-8q)/2."""
    (tmp_path / "own_theory_acts.py").write_text(
        "import torch\ndef snake(x):\n    return x + torch.sin(x) ** 2\n"
        "def stairs(x):\n    return torch.where(x > 0.3, x, 0.1 * x)\n"
    )
    monkeypatch.chdir(tmp_path)
    q = np.array([0.01, 0.5, 4.0, 100.0])
    phi_sq = q + 3 / 8 - np.exp(-2 * q) / 2 + np.exp(-8 * q) / 8
    np.testing.assert_allclose(length_map("own_theory_acts:snake", q, sigma_w=1), phi_sq, rtol=1e-10)
    chi = slope_map("own_theory_acts:snake", q, sigma_w=1)
    np.testing.assert_allclose(chi, 1.5 - np.exp(-8 * q) / 2, rtol=1e-10)
    at_zero = critical("own_theory_acts:snake")
    assert at_zero.sigma_w is None and at_zero.half_stable is not None, "q grows just above 0"
    found = critical("own_theory_acts:snake", sigma_b=1.0)
    assert found.sigma_w is not None and found.q is not None
    fixed = found.sigma_w**2 * (found.q + 3 / 8 - np.exp(-2 * found.q) / 2 + np.exp(-8 * found.q) / 8) + 1
    assert fixed == pytest.approx(found.q, rel=1e-9)
    jump = slope_map("own_theory_acts:stairs", 1.0, sigma_w=1)
    assert float(jump) == pytest.approx(0.01 * 0.6179114221889526 + 0.3820885778110474, abs=1e-9)


def test_softmax_has_no_prediction() -> None:
    for call in (
        lambda: critical("softmax"),
        lambda: predict("softmax", depth=3, sigma_w=1),
        lambda: describe("softmax", sigma_w=1),
    ):
        with pytest.raises(ConfigError, match="makes no prediction"):
            call()


def test_the_critical_table_of_the_whole_registry_takes_seconds() -> None:
    _CURVES.clear()
    start = time.process_time()
    for name in activations.names():
        if activations.get(name).elementwise:
            critical(name)
    assert time.process_time() - start < 5


def test_a_constant_bias_is_part_of_the_critical_point() -> None:
    """With phi(bias) != 0 there is no q = 0; tanh about 0.5 is critical where it is not about 0."""
    found = critical("tanh", bias=0.5)
    assert found.sigma_w is not None and found.q is not None and found.q > 0
    assert float(slope_map("tanh", found.q, sigma_w=found.sigma_w, bias=0.5)) == pytest.approx(1)
    assert float(length_map("tanh", found.q, sigma_w=found.sigma_w, bias=0.5)) == pytest.approx(found.q)
    assert json.dumps(found.sigma_w) and found.sigma_w < inf


def test_a_crossing_is_stable_exactly_where_iterating_the_map_comes_back() -> None:
    """GELU at sigma_w = 1.6 has two: from just below the upper one q falls to 0, from just above it grows."""
    found = fixed_points(curve("gelu"), 1.6).points
    assert [point.stable for point in found] == [True, False] and found[0].q == 0
    for factor in (0.99, 1.01):
        q = found[1].q * factor
        off = [abs(q - found[1].q)]
        for _ in range(5):
            q = float(length_map("gelu", q, sigma_w=1.6))
            off.append(abs(q - found[1].q))
        assert all(later > earlier for earlier, later in pairwise(off)), "it goes away"
    (tanh,) = (point for point in fixed_points(curve("tanh"), 1.4, 0.1).points)
    assert tanh.stable and float(length_map("tanh", 1.01 * tanh.q, sigma_w=1.4, sigma_b=0.1)) < 1.01 * tanh.q
