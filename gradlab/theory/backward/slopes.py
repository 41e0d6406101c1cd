"""Activations: E delta_in^2 = E[phi'(z)^2] E delta_out^2, z normal of the measured mean and variance (quadrature)."""

from __future__ import annotations

from gradlab.theory.moments import expectation

TOLERANCE = 1e-6
"""Of a number that is set beside a measured one."""


def slope_sq(activation: str, mean: float, variance: float) -> float:
    """E[phi'(z)^2] for z ~ N(mean, variance)."""
    found, _ = expectation(
        activation, variance, mean=mean, of=lambda phi, slope: slope**2, tolerance=TOLERANCE
    )
    return float(found)
