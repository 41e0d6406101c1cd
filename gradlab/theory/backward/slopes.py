"""Activations: E delta_in^2 = E[phi'(z)^2] E delta_out^2 with z normal of the measured mean and variance (quadrature)."""

from __future__ import annotations

from math import erfc, exp, pi, sqrt

from gradlab.theory.moments import moments


def slope_sq(activation: str, mean: float, variance: float) -> float:
    """E[phi'(z)^2] for z ~ N(mean, variance)."""
    return float(moments(activation, max(variance, 0.0), mean=mean).slope_sq)


def rectified_slope_sq(mean: float, square: float) -> float:
    """P(z > 0) for a normal z of which only h = max(z, 0) is known: E[h] and E[h^2].

    E[h]^2 / E[h^2] grows with mean / deviation of z, so that a bisection finds that ratio.
    """
    if square <= 0:
        return 0.0
    wanted, low, high = mean * mean / square, -30.0, 30.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _ratio(middle) < wanted else (low, middle)
    return erfc(-low / sqrt(2)) / 2


def _ratio(t: float) -> float:
    """E[max(t + x, 0)]^2 / E[max(t + x, 0)^2] for x ~ N(0, 1)."""
    if t < -8:  # the tail's own expansion; the closed forms lose all their digits there
        return exp(-t * t / 2) / (2 * sqrt(2 * pi) * abs(t))
    density, above = exp(-t * t / 2) / sqrt(2 * pi), erfc(-t / sqrt(2)) / 2
    first, second = density + t * above, (1 + t * t) * above + t * density
    return first * first / second
