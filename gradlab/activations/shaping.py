"""Activations shifted and scaled so that a deep plain net keeps its inputs apart: DKS and TAT.

The transformed phi is s (phi(a z + b) + c). With unit variance in, Q maps a variance to the next and C a correlation
to the next (both are 1 at 1). Deep Kernel Shaping (Martens et al. 2021) solves Q(1) = 1, Q'(1) = 1, C(0) = 0 and
C'(1) = r, where r^depth is the largest slope allowed over the net. Tailored Activation Transformations (Zhang et al.
2022) solve Q(1) = Q'(1) = C'(1) = 1 and C''(1) = t for smooth phi, and for leaky ReLU choose the slope below 0 by how
far the net may bring two orthogonal inputs together. Weights are of variance 1 / fan_in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from math import acos, pi, sqrt

import numpy as np

from gradlab.activations.spec import Array


class Unreachable(ValueError):
    """No shift and scale of this activation reach the target."""


Function = Callable[[Array], Array]
RELU_SLOPE_MOST = pi / (pi - 1)
"""C'(1) of an unshifted ReLU with C(0) = 0: a steeper one is shifted below 0."""
FARTHEST, NODES = 12.0, 300


@dataclass(frozen=True)
class Shaped:
    """output_scale (phi(input_scale z + input_shift) + output_shift); negative_slope is leaky ReLU's."""

    input_scale: float = 1.0
    input_shift: float = 0.0
    output_scale: float = 1.0
    output_shift: float = 0.0
    negative_slope: float = 0.0


@lru_cache(maxsize=1)
def _rule() -> tuple[Array, Array]:
    return np.polynomial.legendre.leggauss(NODES)


def normal_mean(function: Function, kink: float | None) -> float:
    """E[function(x)] of a standard normal x; kink: where its derivative jumps."""
    node, weight = _rule()
    inside = kink is not None and -FARTHEST < kink < FARTHEST
    edges = [-FARTHEST, *([kink] if inside and kink is not None else []), FARTHEST]
    total = 0.0
    for low, high in pairwise(edges):
        x = (low + high) / 2 + (high - low) / 2 * node
        total += (high - low) / 2 * float(weight @ (function(x) * np.exp(-x * x / 2)))
    return total / sqrt(2 * pi)


@dataclass(frozen=True)
class Kernel:
    """Moments of s (phi(a x + b) + c) at x ~ N(0, 1), s such that Q(1) = 1; c such that C(0) = 0 where it is None."""

    phi: Function
    slope: Function
    kink_at_0: bool

    def shaped(self, scale: float, shift: float, lift: float | None = None) -> Shaped:
        kink = self._kink(scale, shift)
        lift = -normal_mean(lambda x: self.phi(scale * x + shift), kink) if lift is None else lift
        square = normal_mean(lambda x: (self.phi(scale * x + shift) + lift) ** 2, kink)
        return Shaped(scale, shift, 1 / sqrt(square), lift)

    def q_slope(self, at: Shaped) -> float:
        """Q'(1) = E[phi phi' x]."""

        def integrand(x: Array) -> Array:
            z = at.input_scale * x + at.input_shift
            return (self.phi(z) + at.output_shift) * self.slope(z) * x

        scale = at.output_scale**2 * at.input_scale
        return scale * normal_mean(integrand, self._kink(at.input_scale, at.input_shift))

    def c_slope(self, at: Shaped) -> float:
        """C'(1) = E[phi'^2]."""
        square = normal_mean(
            lambda x: self.slope(at.input_scale * x + at.input_shift) ** 2,
            self._kink(at.input_scale, at.input_shift),
        )
        return (at.output_scale * at.input_scale) ** 2 * square

    def c_curve(self, at: Shaped) -> float:
        """C''(1) = E[phi''^2], phi'' by central differences, which is good to ten digits where phi is smooth."""
        step = 1e-5

        def integrand(x: Array) -> Array:
            z = at.input_scale * x + at.input_shift
            return ((self.slope(z + step) - self.slope(z - step)) / (2 * step)) ** 2

        return (at.output_scale * at.input_scale**2) ** 2 * normal_mean(integrand, None)

    def _kink(self, scale: float, shift: float) -> float | None:
        return -shift / scale if self.kink_at_0 and scale else None


def dks(kernel: Kernel, slope: float) -> Shaped:
    """The transformation of a smooth phi with C'(1) = `slope`, above 1. Raises Unreachable where none is found."""
    return _solved(
        kernel, lambda at: np.array([kernel.q_slope(at) - 1, kernel.c_slope(at) - slope]), unknowns=2
    )


def dks_relu(kernel: Kernel, slope: float) -> Shaped:
    """ReLU has one freedom less, so that Q'(1) is not asked for; its shift is 1 or, for steep nets, -1."""
    shift = 1.0 if slope < RELU_SLOPE_MOST else -1.0
    edges = (1e-3, 60.0) if shift > 0 else (0.25, 60.0)
    scale = _root(lambda a: kernel.c_slope(kernel.shaped(a, shift)) - slope, *edges)
    return kernel.shaped(scale, shift)


def dks_leaky(leaky: Callable[[float], Kernel], slope: float) -> Shaped:
    """Leaky ReLU is homogeneous, so that Q'(1) = 1 by itself and C'(1) is a matter of the slope below 0."""

    def c_slope(negative: float) -> float:
        kernel = leaky(negative)
        return kernel.c_slope(kernel.shaped(1.0, 0.0)) - slope

    negative = _root(c_slope, 0.0, 1.0)
    return replace(leaky(negative).shaped(1.0, 0.0), negative_slope=negative)


def tat(kernel: Kernel, curve: float) -> Shaped:
    """The transformation of a smooth phi with C''(1) = `curve`. Raises Unreachable where none is found."""
    return _solved(
        kernel,
        lambda at: np.array([kernel.q_slope(at) - 1, kernel.c_slope(at) - 1, kernel.c_curve(at) - curve]),
        unknowns=3,
    )


def tat_leaky(negative: float) -> Shaped:
    """Leaky ReLU scaled to Q(1) = 1."""
    return Shaped(output_scale=sqrt(2 / (1 + negative**2)), negative_slope=negative)


def leaky_correlation(c: float, negative: float) -> float:
    """C(c) of leaky ReLU (Cho & Saul 2009 for its rectified part)."""
    bent = (sqrt(max(1 - c * c, 0.0)) + (pi - acos(min(c, 1.0))) * c) / pi
    return ((1 - negative) ** 2 * bent + 2 * negative * c) / (1 + negative**2)


def negative_slope(composed: Callable[[Callable[[float], float]], float], eta: float) -> float:
    """The slope below 0 with which `composed`, the net's largest C(0) as a function of a layer's C, is eta."""
    return _root(lambda a: composed(lambda c: leaky_correlation(c, a)) - eta, 0.0, 1.0)


@lru_cache(maxsize=64)
def slope_of_depth(depth: int, eta: float) -> float:
    """`negative_slope` of a plain net of this depth."""

    def composed(layer: Callable[[float], float]) -> float:
        c = 0.0
        for _ in range(depth):
            c = layer(c)
        return c

    return negative_slope(composed, eta)


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    from scipy.optimize import brentq

    if function(low) * function(high) > 0:
        raise Unreachable
    return float(brentq(function, low, high, xtol=1e-14))


STARTS = [(scale, shift) for scale in (1.0, 0.1) for shift in (0.0, 1.0, -1.0)]


def _solved(kernel: Kernel, errors: Callable[[Shaped], Array], *, unknowns: int) -> Shaped:
    """Scale and shift of the input, of three unknowns the output's shift too, from the first start that leads there.

    A scale that multiplies phi's slope at both ends beyond 2 is a solution whose variance map is unstable (the authors'
    code refuses it for TAT), and is passed over.
    """
    from scipy.optimize import root

    def at(point: Array) -> Shaped:
        return kernel.shaped(*(float(each) for each in point))

    def errors_at(point: Array) -> Array:
        return errors(at(point))

    lifts: list[tuple[float, ...]] = [()] if unknowns == 2 else [(0.0,), (1.0,), (-1.0,)]
    for start in [(*first, *lift) for first in STARTS for lift in lifts]:
        try:
            with np.errstate(all="ignore"):
                found = root(errors_at, np.array(start), tol=1e-13)
                shaped = at(found.x)
                close = np.abs(errors(shaped)).max() < 1e-9
        except (ZeroDivisionError, OverflowError, ValueError):  # it left the region where phi varies
            continue
        if close and (unknowns == 2 or shaped.input_scale * shaped.output_scale < 2):
            return shaped
    raise Unreachable
