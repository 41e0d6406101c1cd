"""Gaussian expectations against scipy's adaptive `quad` and closed forms."""

import dataclasses
from itertools import pairwise
from math import erf, exp, inf, pi, sqrt

import numpy as np
import pytest
from scipy.integrate import quad

from gradlab import activations
from gradlab.base.errors import ConfigError
from gradlab.theory import expectation, moments

VARIANTS = [
    *(name for name in activations.names() if activations.get(name).elementwise),
    "leaky_relu:negative_slope=0.2",
    "leaky_relu:negative_slope=-0.5",
    "prelu:init=0.1",
    "elu:alpha=1.7",
    "celu:alpha=0.05",
    "thresholded_relu:theta=0.3",
]
VARIANCES = [1e-3, 0.3, 1.0, 7.3, 45.6, 900.0]


def by_quad(function, q: float, kinks, mean: float = 0.0) -> float:  # type: ignore[no-untyped-def]
    """E[function(z)], z ~ N(mean, q), integrated over z between all the points where anything happens."""
    points = sorted(
        {mean + s * sqrt(q) for s in range(-12, 13)} | {0.0, *(float(s) for s in range(-6, 7))} | set(kinks)
    )
    inside = [p for p in points if abs(p - mean) <= 12 * sqrt(q)]

    def weighted(z: float) -> float:
        return float(function(np.array(z))) * exp(-((z - mean) ** 2) / (2 * q)) / sqrt(2 * pi * q)

    return sum(quad(weighted, a, b, epsabs=1e-13, epsrel=1e-12, limit=200)[0] for a, b in pairwise(inside))


@pytest.mark.parametrize("text", VARIANTS)
def test_moments_are_those_of_scipys_quad(text: str) -> None:
    activation = activations.get(text)
    found = moments(activation, VARIANCES)
    for i, q in enumerate(VARIANCES):
        phi_sq = by_quad(lambda z: activation.phi(z) ** 2, q, activation.kinks)
        slope_sq = by_quad(lambda z: activation.slope(z) ** 2, q, activation.kinks)
        assert found.phi_sq[i] == pytest.approx(phi_sq, rel=1e-8, abs=1e-14), q
        assert found.slope_sq[i] == pytest.approx(slope_sq, rel=1e-8, abs=1e-14), q


@pytest.mark.parametrize("text", VARIANTS)
def test_the_derivative_of_phi_sq_by_q_is_its_difference_quotient(text: str) -> None:
    for q in (0.3, 7.3):
        step = 1e-4 * q
        low, high = moments(text, [q - step, q + step]).phi_sq
        assert float(moments(text, q).phi_sq_by_q) == pytest.approx((high - low) / (2 * step), rel=1e-6)


def test_a_constant_bias_moves_the_mean() -> None:
    activation = activations.get("hard_sigmoid")
    expected = by_quad(lambda z: activation.phi(z) ** 2, 2.0, activation.kinks, mean=1.7)
    assert float(moments(activation, 2.0, mean=1.7).phi_sq) == pytest.approx(expected, rel=1e-10)
    value, error = expectation(activation, 2.0, of=lambda phi, slope: phi * slope, mean=1.7)
    both = by_quad(lambda z: activation.phi(z) * activation.slope(z), 2.0, activation.kinks, mean=1.7)
    assert float(value) == pytest.approx(both, rel=1e-10)
    assert float(error) < 1e-10


def test_the_hermite_trap() -> None:
    """Plain Gauss-Hermite with 180 nodes misses the kinks by percents; the truth is erf(1 / sqrt 2)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(180)
    for text, trapped, truth in (("hard_tanh", 0.6516, erf(1 / sqrt(2))), ("selu", 1.0660, 1.07157499)):
        slope = activations.get(text).slope
        assert slope is not None
        assert weights @ slope(nodes) ** 2 / sqrt(2 * pi) == pytest.approx(trapped, abs=5e-5)
        assert float(moments(text, 1.0).slope_sq) == pytest.approx(truth, abs=1e-8)


@pytest.mark.parametrize("text", ["relu", "hard_tanh", "selu", "thresholded_relu:theta=0.3", "hard_swish"])
@pytest.mark.parametrize("q", [0.04, 1.0, 45.6])
def test_kinks_that_nobody_declared_are_found(text: str, q: float) -> None:
    activation = activations.get(text)
    shifted = dataclasses.replace(
        activation,
        phi=lambda z: activation.phi(z - 0.37),
        slope=lambda z: activation.slope(z - 0.37),
        kinks=(),
        kinks_known=False,
    )
    found = moments(shifted, q)
    kinks = [kink + 0.37 for kink in activation.kinks]
    for value, function in ((found.phi_sq, shifted.phi), (found.slope_sq, shifted.slope)):
        truth = by_quad(lambda z, f=function: f(z) ** 2, q, kinks)
        assert float(value) == pytest.approx(truth, rel=1e-8, abs=1e-14)
        assert abs(float(value) - truth) <= max(float(found.error) * truth, 1e-10)


def test_an_error_estimate_that_float32_code_cannot_beat_is_reported() -> None:
    rough = dataclasses.replace(
        activations.get("tanh"), phi=lambda z: np.tanh(z.astype(np.float32)).astype(float), kinks_known=False
    )
    value, error = expectation(rough, 1.0)
    truth = float(moments("tanh", 1.0).phi_sq)
    assert abs(float(value) - truth) < 1e-6
    assert 1e-13 < float(error) < 1e-5


def test_far_limits() -> None:
    assert float(moments("relu", 0.0).slope_sq) == pytest.approx(0.5, rel=1e-14), (
        "the limit from above, not the slope at the kink"
    )
    assert float(moments("tanh", 0.0).phi_sq) == 0
    assert float(moments("sigmoid", 0.0).phi_sq) == pytest.approx(0.25)
    assert float(moments("selu", 1e30).slope_sq) == pytest.approx(1.0507009873554805**2 / 2, rel=1e-12)
    # E[sigmoid'^2] at a huge deviation: a spike of area 1/6 under a flat density
    assert float(moments("sigmoid", 1e12).slope_sq) == pytest.approx(1 / 6 / sqrt(2 * pi * 1e12), rel=1e-10)
    # a tail: P(x > 10) and nothing else
    tail = 7.619853024160527e-24
    assert float(moments("thresholded_relu", 0.01).slope_sq) == pytest.approx(tail, rel=1e-10)


def test_any_shape_of_q() -> None:
    q = np.array([[0.1, 1.0], [2.0, 30.0]])
    found = moments("gelu", q)
    assert found.phi_sq.shape == found.slope_sq.shape == found.phi_sq_by_q.shape == (2, 2)
    assert found.phi_sq[1, 0] == float(moments("gelu", 2.0).phi_sq)


def test_softmax_has_no_moments_and_a_variance_no_sign() -> None:
    with pytest.raises(ConfigError, match="not elementwise"):
        moments("softmax", 1.0)
    for q in (-1.0, float("nan")):
        with pytest.raises(ConfigError, match="no variance"):
            moments("tanh", q)
    assert not np.isfinite(moments("relu", inf).phi_sq)
