"""The correlation map: how alike two inputs still are, layer by layer.

q c_(l+1) = sigma_w^2 E[phi(u1) phi(u2)] + sigma_b^2 for jointly normal u1, u2 of variance q and correlation c
(Poole et al. 2016, eq. 5); 1 / xi_c = -log(sigma_w^2 E[phi'(u1) phi'(u2)]) at its fixed point c* (Schoenholz et
al. 2017, eq. 9).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, nan, sqrt

import numpy as np
from numpy.typing import ArrayLike

from gradlab.activations import Activation
from gradlab.activations.spec import Array
from gradlab.base.errors import ConfigError, Problem
from gradlab.theory.fixed_points import length_scale, root
from gradlab.theory.moments import SMALLEST_DEVIATION, elementwise, moments
from gradlab.theory.prediction import Prediction
from gradlab.theory.quadrature import gaussian_mean

REACH = 9.0  # beyond lie 1e-19 of the density
INNER, OUTER = 1e-12, 1e-11  # tolerances of the two nested integrals: together well below 1e-8
NEAR_ONE = 1e-6  # c* is told from 1 down to this distance,
ROUNDING = 1e-11  # and where the map's slope at 1 exceeds 1 by more than ROUNDING / NEAR_ONE
SAME = 1e-9  # a map this close to the identity keeps every c


@dataclass(frozen=True)
class CorrelationFixedPoint:
    """c: the stable fixed point of the correlation map in [0, 1], None where every c is kept; xi: xi_c in layers."""

    c: float | None
    xi: float


def pair_means(activation: Activation | str, q: float, c: float, *, mean: float = 0.0) -> tuple[float, float]:
    """(E[phi(u1) phi(u2)], E[phi'(u1) phi'(u2)]) for u1, u2 ~ N(mean, q) with correlation c in [-1, 1].

    u2 given u1 is normal again: one integral inside another, both cut at the kinks, the outer one also where the
    inner one's kinks, smoothed by the width sqrt(1 - c^2), pass by. Raises ConfigError (unknown, softmax, |c| > 1).

    >>> from math import pi
    >>> from gradlab import theory
    >>> phi, slope = theory.pair_means("relu", 1.0, 0.0)  # independent inputs: (E phi)^2 = 1 / 2 pi, and 1 / 4
    >>> round(phi * 2 * pi, 6), round(slope, 6)
    (1.0, 0.25)
    """
    found, phi, slope = elementwise(activation)
    if not -1 <= c <= 1:
        raise ConfigError(Problem("c", f"{c} is no correlation", "a number in [-1, 1]"))
    deviation = max(sqrt(q), SMALLEST_DEVIATION)
    spread = sqrt((1 - c) * (1 + c))
    kinks = list(found.kinks)

    def aligned(z: Array, x: Array) -> Array:
        other = mean + c * (z - mean)
        return np.stack([phi(z) * phi(other), slope(z) * slope(other)])

    def nested(z: Array, x: Array) -> Array:
        inner, _ = gaussian_mean(
            lambda u, y: np.stack([phi(u), slope(u)]),
            mean + deviation * c * x.ravel(),
            np.full(x.size, deviation * spread),
            kinks=kinks,
            kinks_known=found.kinks_known,
            tolerance=INNER,
            reach=REACH,
        )
        return np.stack([phi(z), slope(z)]) * inner.reshape(2, *x.shape)

    centres = np.array([0.0, *((kink - mean) / deviation for kink in kinks)])
    cuts = (
        ((centres[:, None] + spread * np.array([-8.0, -3.0, 0.0, 3.0, 8.0])) / c).ravel()
        if c
        else np.zeros(0)
    )
    mirrored = [2 * mean - kink for kink in kinks] if c == -1 else []
    value, _ = gaussian_mean(
        nested if spread > 0 else aligned,
        np.array([mean]),
        np.array([deviation]),
        kinks=kinks + mirrored,
        cuts=tuple(cuts),
        kinks_known=found.kinks_known,
        tolerance=OUTER,
        reach=REACH,
    )
    return float(value[0, 0]), float(value[1, 0])


def correlation_map(
    activation: Activation | str,
    c: ArrayLike,
    *,
    q: float,
    sigma_w: float,
    sigma_b: float = 0.0,
    bias: float = 0.0,
) -> Array:
    """The next layer's correlation of z for two inputs of correlation c and variance q, in the shape of c.

    >>> from gradlab import theory
    >>> c = theory.correlation_map("relu", 0.0, q=1.0, sigma_w=2**0.5)  # Cho & Saul's arc-cosine kernel: 1 / pi
    >>> round(float(c), 6)
    0.31831
    """
    given = np.asarray(c, dtype=np.float64)
    variance = (
        sigma_w**2 * float(moments(activation, max(q, SMALLEST_DEVIATION**2), mean=bias).phi_sq) + sigma_b**2
    )
    found = [
        (sigma_w**2 * pair_means(activation, q, float(each), mean=bias)[0] + sigma_b**2) / variance
        for each in given.ravel()
    ]
    return np.array(found).reshape(given.shape)


def correlations(prediction: Prediction, c0: float, q0: float = 1.0) -> Array:
    """Correlation of z between two inputs of mean square q0 and correlation c0, in each hidden layer, [depth].

    >>> from gradlab import theory
    >>> net = theory.predict("linear", depth=3, sigma_w=1.0)  # a linear net keeps the angle
    >>> [round(float(c), 6) for c in theory.correlations(net, 0.5)]
    [0.5, 0.5, 0.5]
    """
    weights, biases = prediction.sigma_w**2, prediction.sigma_b**2
    q = weights[0] * q0 + biases[0]
    found = [(weights[0] * q0 * c0 + biases[0]) / q]
    for layer in range(1, len(prediction.q)):
        bias = float(prediction.bias[layer - 1])
        product, _ = pair_means(prediction.activation, q, min(1.0, max(-1.0, found[-1])), mean=bias)
        q = weights[layer] * float(moments(prediction.activation, q, mean=bias).phi_sq) + biases[layer]
        found.append((weights[layer] * product + biases[layer]) / q)
    return np.array(found)


def correlation_fixed_point(
    activation: Activation | str, *, q: float, sigma_w: float, sigma_b: float = 0.0, bias: float = 0.0
) -> CorrelationFixedPoint:
    """Where the correlation of two inputs ends in a net whose variance has settled at q (0: the limit from above).

    The map has a power series with coefficients >= 0, so on [0, 1] it is convex and has at most one fixed point
    below c = 1: the stable one, exactly where the slope at 1 exceeds 1.

    >>> from gradlab import theory
    >>> theory.correlation_fixed_point("relu", q=1.0, sigma_w=2**0.5).c  # all inputs become alike
    1.0
    """
    found, phi, _ = elementwise(activation)
    smallest = SMALLEST_DEVIATION**2
    variance = sigma_w**2 * float(moments(found, max(q, smallest), mean=bias).phi_sq) + sigma_b**2
    if not 0 < variance < inf:  # no signal is left, or none that float64 holds
        return CorrelationFixedPoint(None, nan)
    scale = sigma_w**2 * max(q, smallest) / variance  # 1 at a fixed point of the length map

    def gap(c: float) -> float:
        product = sigma_w**2 * pair_means(found, q, c, mean=bias)[0]
        return (product + sigma_b**2) / variance - c

    jumps = any(abs(np.diff(phi(np.array([kink - 1e-9, kink + 1e-9])))[0]) > 1e-6 for kink in found.kinks)

    def xi(c: float) -> float:
        if jumps and 0 < c < 1:  # E[phi' phi'] misses what the jumps themselves contribute to the map's slope
            step = 1e-4 * min(c, 1 - c)
            return length_scale((gap(c + step) - gap(c - step)) / (2 * step) + 1)
        return length_scale(scale * pair_means(found, q, c, mean=bias)[1])

    if abs(gap(0.5)) < SAME:
        return CorrelationFixedPoint(None, nan)
    if gap(1 - NEAR_ONE) >= -ROUNDING:
        slope_at_one = scale * pair_means(found, q, 1.0, mean=bias)[1]
        return CorrelationFixedPoint(1.0, length_scale(min(slope_at_one, 1.0)))
    if abs(gap(0.0)) < ROUNDING:
        return CorrelationFixedPoint(0.0, xi(0.0))
    c = 0.0 if not jumps else root(gap, 0.0, 1 - NEAR_ONE, tolerance=1e-10)
    for _ in range(0 if jumps else 60):  # Newton from the left of a convex function's root never overshoots
        product, slopes = pair_means(found, q, c, mean=bias)
        step = ((sigma_w**2 * product + sigma_b**2) / variance - c) / (1 - scale * slopes)
        c += step
        if abs(step) < 1e-11:
            break
    return CorrelationFixedPoint(c, xi(c))
