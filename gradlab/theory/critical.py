"""Critical initialisation: the sigma_w at which the gradient neither grows nor shrinks, chi_1 = 1.

On the critical line sigma_w^2 = 1 / E[phi'^2] at q, and q is fixed when sigma_b^2 = q - E[phi^2] / E[phi'^2]:
both are functions of q alone, so a critical point for a given sigma_b is a root in q (Schoenholz et al. 2017,
section 4; Roberts, Yaida & Hanin 2022, chapter 5).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np

from gradlab.activations import Activation
from gradlab.base.errors import ConfigError, Problem
from gradlab.theory.fixed_points import ANY_Q, FLAT, Curve, curve, root, roots_between

# d E[phi^2] / dq comes from a difference that loses digits as 1 / q: below, its sign is noise where phi(0) != 0
SMALLEST_Q = 1e-6
SAME_SLOPE = 1e-7


@dataclass(frozen=True)
class HalfStable:
    """chi_1 = 1 and dq'/dq = 1 together at q > 0: the length map touches the diagonal (Roberts et al.)."""

    sigma_w: float
    sigma_b: float
    q: float


@dataclass(frozen=True)
class Critical:
    """A critical point for one sigma_b.

    sigma_w:     where chi_1 = 1 at a stable fixed point (or q = 0, reached from above); None without one
    q:           the fixed point; None where any q is fixed, and where there is no critical point
    reason:      why there is none, or that any q is fixed; None otherwise
    half_stable: the point where the length map only touches the diagonal, at its own sigma_b; None without
    """

    activation: str
    sigma_b: float
    sigma_w: float | None
    q: float | None
    reason: str | None
    half_stable: HalfStable | None


def critical(
    activation: Activation | str,
    *,
    sigma_b: float = 0.0,
    bias: float = 0.0,
    moment_curve: Curve | None = None,
) -> Critical:
    """The critical sigma_w for biases of standard deviation sigma_b around the constant `bias`.

    Where several exist, the smallest sigma_w. `moment_curve` saves recomputing it in a sweep.
    Raises ConfigError for an unknown activation and for softmax.

    >>> from gradlab import theory
    >>> round(theory.critical("relu").sigma_w, 9)  # He's sqrt(2)
    1.414213562
    >>> round(theory.critical("tanh").sigma_w, 9)
    1.0
    """
    if not 0 <= sigma_b < np.inf:
        raise ConfigError(Problem("sigma_b", f"{sigma_b!r}", "a number >= 0"))
    found = moment_curve or curve(activation, mean=bias)
    if sigma_b not in found.memo:
        sigma_w, q, reason = _critical_point(found, sigma_b)
        found.memo[sigma_b] = Critical(
            found.activation.text, sigma_b, sigma_w, q, reason, _half_stable(found)
        )
    result: Critical = found.memo[sigma_b]
    return result


def _critical_point(found: Curve, sigma_b: float) -> tuple[float | None, float | None, str | None]:
    table = found.table
    usable = table.slope_sq > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        gaps = 1 - (table.phi_sq / table.slope_sq + sigma_b**2) / table.q
    gaps[~usable] = np.nan
    away = usable & (np.abs(gaps) > FLAT)
    at_zero = found.at(0.0)
    slope_sq, phi_sq_by_q = float(at_zero.slope_sq), float(at_zero.phi_sq_by_q)
    if not away.any():
        return 1 / sqrt(slope_sq), None, ANY_Q
    reason = f"chi_1 = 1 at no fixed point for sigma_b = {sigma_b:g}"
    if sigma_b == 0 and found.phi_at_mean == 0 and slope_sq > 0 and abs(phi_sq_by_q / slope_sq - 1) < FLAT:
        growth = table.phi_sq / (slope_sq * table.q) - 1
        if growth[np.abs(growth) > FLAT][0] < 0:
            return 1 / sqrt(slope_sq), 0.0, None
        reason = f"q = 0 at sigma_w = {1 / sqrt(slope_sq):.9g} is not reached from above: q grows"

    def gap(q: float) -> float:
        here = found.at(q)
        return 1 - (float(here.phi_sq / here.slope_sq) + sigma_b**2) / q

    candidates = []
    for low, high in roots_between(gaps, away):
        q = root(gap, table.q[low], table.q[high])
        here = found.at(q)
        sigma_w = 1 / sqrt(float(here.slope_sq))
        slope = sigma_w**2 * float(here.phi_sq_by_q)
        if abs(slope) < 1 - SAME_SLOPE:
            candidates.append((sigma_w, q))
        else:
            kind = "a half-stable" if abs(slope - 1) <= SAME_SLOPE else "an unstable"
            reason = f"chi_1 = 1 only at {kind} fixed point (q = {q:.6g}, sigma_w = {sigma_w:.9g})"
    if candidates:
        return (*min(candidates), None)
    return None, None, reason


def _half_stable(found: Curve) -> HalfStable | None:
    """The root in q of dq'/dq = chi_1 on the critical line, where its sigma_b^2 is positive."""
    table = found.table
    usable = (table.slope_sq > 1e-12) & (table.q >= SMALLEST_Q)
    with np.errstate(divide="ignore", invalid="ignore"):
        gaps = table.phi_sq_by_q / table.slope_sq - 1
    gaps[~usable] = np.nan

    def gap(q: float) -> float:
        here = found.at(q)
        return float(here.phi_sq_by_q / here.slope_sq) - 1

    for low, high in roots_between(gaps, usable & (np.abs(gaps) > SAME_SLOPE)):
        q = root(gap, table.q[low], table.q[high])
        here = found.at(q)
        sigma_b_sq = q - float(here.phi_sq / here.slope_sq)
        if sigma_b_sq > 0:
            return HalfStable(1 / sqrt(float(here.slope_sq)), sqrt(sigma_b_sq), q)
    return None
