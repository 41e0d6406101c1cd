"""The length map q_(l+1) = sigma_w^2 E[phi(z)^2] + sigma_b^2, its fixed points and their stability.

Poole et al. 2016, eqs. 3-4; Schoenholz et al. 2017, section 2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf, log
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gradlab.activations import Activation
from gradlab.activations.spec import Array
from gradlab.theory.moments import Moments, elementwise, moments

GRID = np.logspace(-14, 10, 385)  # q from where tanh is linear in float64 to where GELU is a ReLU
FLAT = 1e-11  # relative differences below this are rounding: the two sides are equal
TANGENT = 1e-8  # a double root known from rounded sigma_w and sigma_b misses the axis by about this much
FAR = 1e20  # stands for the limit q -> infinity: finite shifts and bends of phi are invisible there

ANY_Q = "any q is fixed"
GROWS = "none: q grows without bound"


@dataclass(frozen=True)
class Curve:
    """The moments of one activation on GRID, computed once for any number of sigma_w and sigma_b.

    memo: results that depend on nothing but the curve and the key they are kept under
    """

    activation: Activation
    mean: float
    table: Moments
    phi_at_mean: float
    memo: dict[float, Any] = field(default_factory=dict, compare=False, repr=False)

    def at(self, q: ArrayLike) -> Moments:
        return moments(self.activation, q, mean=self.mean)

    def phi_sq(self, q: float) -> float:
        return float(self.at(q).phi_sq)


@dataclass(frozen=True)
class FixedPoint:
    """q = sigma_w^2 E[phi^2] + sigma_b^2 holds at `q`; `slope` is dq'/dq there.

    stable: nearby q come back (at q = 0: q shrinks just above 0, of second order where the slope is 1).
    """

    q: float
    stable: bool
    slope: float


@dataclass(frozen=True)
class LengthMap:
    """Every fixed point in ascending q. `any_q`: all q are fixed (`points` is then empty)."""

    points: tuple[FixedPoint, ...]
    any_q: bool


def curve(activation: Activation | str, *, mean: float = 0.0) -> Curve:
    """The moments of `activation` on the grid; `mean` is a constant bias. Raises ConfigError (softmax).

    Kept for the life of the process, under the activation's text and, for a user's own, its source: a comparison
    asks for the same critical point once a cell.

    >>> from gradlab import theory
    >>> theory.curve("tanh") is theory.curve("tanh")  # computed once
    True
    """
    found, phi, _ = elementwise(activation)
    registered = found.kinks_known and not found.source
    key = (found.text, found.source, mean) if registered or found.source else None
    if key in _CURVES:
        return _CURVES[key]
    made = Curve(found, mean, moments(found, GRID, mean=mean), float(phi(np.array([mean]))[0]))
    if key is not None:
        _CURVES[key] = made
    return made


_CURVES: dict[tuple[str, str, float], Curve] = {}


def length_map(
    activation: Activation | str, q: ArrayLike, *, sigma_w: float, sigma_b: float = 0.0, bias: float = 0.0
) -> Array:
    """The next layer's variance of z, in the shape of q >= 0 (`bias` is added to every z).

    >>> from gradlab import theory
    >>> round(float(theory.length_map("relu", 3.0, sigma_w=2**0.5)), 9)  # He's variance keeps the size
    3.0
    """
    return sigma_w**2 * moments(activation, q, mean=bias).phi_sq + sigma_b**2


def slope_map(activation: Activation | str, q: ArrayLike, *, sigma_w: float, bias: float = 0.0) -> Array:
    """chi(q) = sigma_w^2 E[phi'(z)^2], the factor of E||delta||^2 per layer, in the shape of q.

    >>> from gradlab import theory
    >>> round(float(theory.slope_map("relu", 3.0, sigma_w=2**0.5)), 12)
    1.0
    """
    return sigma_w**2 * moments(activation, q, mean=bias).slope_sq


def fixed_points(moment_curve: Curve, sigma_w: float, sigma_b: float = 0.0) -> LengthMap:
    """Every fixed point of the length map between 0 and GRID's end.

    >>> from gradlab import theory
    >>> points = theory.fixed_points(theory.curve("tanh"), sigma_w=1.5).points  # 0 no longer holds, a second one does
    >>> [(round(point.q, 4), point.stable) for point in points]
    [(0.0, False), (0.7934, True)]
    """

    def gap(q: float) -> float:  # relative to q: the sign of q' - q, and no underflow near 0
        return (sigma_w**2 * moment_curve.phi_sq(q) + sigma_b**2) / q - 1

    q_grid, gaps, away = _relative_gaps(moment_curve, sigma_w, sigma_b)
    if not away.any():
        return LengthMap((), True)
    points: list[FixedPoint] = []
    if sigma_b == 0 and moment_curve.phi_at_mean == 0:
        slope = sigma_w**2 * float(moment_curve.at(0.0).phi_sq_by_q)
        points.append(FixedPoint(0.0, bool(gaps[away][0] < 0), slope))
    crossing = [root(gap, q_grid[low], q_grid[high]) for low, high in roots_between(gaps, away)]
    touching = _touching(gap, q_grid, gaps, away)
    for q in crossing + touching:
        slope = sigma_w**2 * float(moment_curve.at(q).phi_sq_by_q)
        points.append(FixedPoint(q, q in crossing and abs(slope) < 1, slope))
    return LengthMap(tuple(sorted(points, key=lambda point: point.q)), False)


def _relative_gaps(
    moment_curve: Curve, sigma_w: float, sigma_b: float
) -> tuple[Array, Array, np.ndarray[tuple[int], np.dtype[np.bool_]]]:
    """(q, q' / q - 1, whether that is more than rounding), on GRID and finer where it comes near 0.

    Near a half-stable point up to three fixed points share one cell of GRID.
    """
    table = moment_curve.table
    q, gaps = table.q, (sigma_w**2 * table.phi_sq + sigma_b**2) / table.q - 1
    size = np.abs(gaps)
    near = np.nonzero((size[1:-1] <= size[:-2]) & (size[1:-1] <= size[2:]) & (size[1:-1] < 1e-3))[0] + 1
    near = near[size[near] > FLAT]
    if near.size:
        finer = np.unique(np.concatenate([np.geomspace(q[i - 1], q[i + 1], 65)[1:-1] for i in near]))
        added = (sigma_w**2 * moment_curve.at(finer).phi_sq + sigma_b**2) / finer - 1
        order = np.argsort(np.concatenate([q, finer]))
        q, gaps = np.concatenate([q, finer])[order], np.concatenate([gaps, added])[order]
    return q, gaps, np.abs(gaps) > FLAT


def reached(
    moment_curve: Curve, fixed: LengthMap, q: float, sigma_w: float, sigma_b: float = 0.0
) -> tuple[FixedPoint | None, str | None]:
    """The fixed point that a net with first-layer variance q runs to, or None and the reason.

    >>> from gradlab import theory
    >>> tanh = theory.curve("tanh")
    >>> point, reason = theory.reached(tanh, theory.fixed_points(tanh, sigma_w=0.9), 1.0, 0.9)
    >>> point.q, reason  # below sigma_w = 1 the signal dies
    (0.0, None)
    """
    if fixed.any_q:
        return None, ANY_Q
    gap = sigma_w**2 * moment_curve.phi_sq(q) + sigma_b**2 - q
    here = [point for point in fixed.points if abs(point.q - q) <= 1e-9 * q]
    if here:
        return here[0], None
    if gap < 0:
        below = [point for point in fixed.points if point.q < q]
        if below:
            return below[-1], None
    above = [point for point in fixed.points if point.q > q]
    return (above[0], None) if above else (None, GROWS)


def length_scale(slope: float) -> float:
    """xi = -1 / log(slope), layers in which a difference shrinks by 1/e; inf at 1, nan above."""
    if not slope > 0:
        return 0.0 if slope == 0 else float("nan")
    if abs(slope - 1) < FLAT:
        return inf
    return -1 / log(slope) if slope < 1 else float("nan")


def roots_between(values: Array, away: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> list[tuple[int, int]]:
    """Index pairs between which `values` changes sign, skipping entries that are 0 but for rounding."""
    index = np.nonzero(away & np.isfinite(values))[0]
    return [(int(a), int(b)) for a, b in pairwise(index) if np.sign(values[a]) != np.sign(values[b])]


def root(function: Callable[[float], float], low: float, high: float, tolerance: float = 1e-14) -> float:
    """Brent's root of `function` between two values of opposite sign, to `tolerance` of `high`."""
    from scipy.optimize import brentq

    return float(brentq(function, low, high, xtol=tolerance * high, rtol=1e-14))


def _touching(
    gap: Callable[[float], float], q: Array, gaps: Array, away: np.ndarray[tuple[int], np.dtype[np.bool_]]
) -> list[float]:
    """Fixed points where the map touches the diagonal without crossing it: half stable."""
    size = np.abs(gaps)
    dips = (
        np.nonzero((size[1:-1] < size[:-2]) & (size[1:-1] < size[2:]) & (size[1:-1] < 0.05) & away[1:-1])[0]
        + 1
    )
    found = []
    for i in dips:
        if not (np.sign(gaps[i - 1]) == np.sign(gaps[i]) == np.sign(gaps[i + 1])):
            continue
        from scipy.optimize import minimize_scalar

        best = minimize_scalar(
            lambda t: abs(gap(float(np.exp(t)))),
            bounds=(np.log(q[i - 1]), np.log(q[i + 1])),
            method="bounded",
            options={"xatol": 1e-10},
        )
        if best.fun < TANGENT:
            found.append(float(np.exp(best.x)))
    return found
