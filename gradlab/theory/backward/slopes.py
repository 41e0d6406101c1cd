"""Activations: E delta_in^2 = E[phi'(z)^2] E delta_out^2, with z normal of the measured mean and variance (quadrature)."""

from __future__ import annotations

from gradlab.theory.moments import moments


def slope_sq(activation: str, mean: float, variance: float) -> float:
    """E[phi'(z)^2] for z ~ N(mean, variance)."""
    return float(moments(activation, max(variance, 0.0), mean=mean).slope_sq)
