"""What one module makes of a signal of known mean square: mean and variance of z, and the mean square of phi(z).

The unit z_k = w_k . x + b_k is normal over random weights, with the variance ||w_k||^2 E x^2 of the weights as they are
(Poole et al. 2016, eq. 3). A norm puts out gamma^2 and beta whatever it is given.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import numpy as np

from gradlab.activations.spec import Array
from gradlab.theory.backward.slopes import TOLERANCE
from gradlab.theory.backward.weights import Convolution, joined
from gradlab.theory.moments import expectation


@dataclass(frozen=True)
class Signal:
    """z over samples and units: its mean and its variance"""

    mean: float
    variance: float


def mapped(square: float, norms_sq: Array, bias: Array | None) -> Signal:
    """z of a linear map. square: E x^2; norms_sq: ||w_k||^2, [out]; bias: [out]"""
    mean = 0.0 if bias is None else float(bias.mean())
    spread = 0.0 if bias is None else float(bias.var())
    return Signal(mean, square * float(norms_sq.mean()) + spread)


def convolved(square: float, conv: Convolution, outputs: tuple[int, ...], bias: Array | None) -> Signal:
    """z of a convolution, over its outputs' positions: taps outside of the input give nothing."""
    taps = conv.energy
    for axis, size in enumerate(outputs):
        share = np.array([len(reached) for reached, _ in joined(conv, axis, size)]) / size
        taps = np.tensordot(taps, share, axes=(1, 0))
    return mapped(square, taps, bias)


def normalised(square: float, epsilon: float, weight: Array | None, bias: Array | None) -> Signal:
    """z of a norm. square: of what it divides by its root: the variance, or the mean square of an RMS norm"""
    scale = 1.0 if weight is None else float(np.square(weight).mean())
    return mapped(square / (square + epsilon), np.array([scale]), bias)


def activated(signal: Signal, activation: str) -> tuple[float, float]:
    """E phi(z)^2, and the variance of phi(z)^2 over its squared mean: that of the log over n units is 1 / n of it. The
    variance is inf, so that nothing is claimed, where phi^4 leaves the range of float64."""
    square, fourth = (
        float(expectation(activation, signal.variance, mean=signal.mean, of=of, tolerance=TOLERANCE)[0])
        for of in (lambda phi, slope: phi**2, lambda phi, slope: phi**4)
    )
    if square == 0:
        return square, 0.0
    if not 0 < fourth < inf:
        return square, inf
    return square, max(fourth / square / square - 1, 0.0)  # below 0 by rounding where phi is constant
