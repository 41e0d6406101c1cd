"""What a normalised hidden layer does to the signal's variance and to the gradient, in a wide random net.

A layer with norm before phi is h = phi(norm(z)), after it h = norm(phi(z)); z has independent units of variance v.
In the wide limit the chain rule through the norm is division by its scale s; what the norm projects out of the
gradient (the mean, and the part along its output) is a share of order 1 / width for a norm over units, of order
1 / batch for batch norm.

- layer, rms before phi: s^2 = v + eps for every sample, so E h^2 = E[phi(y)^2] with y ~ N(0, v / s^2) and the gain is
  E[phi'(y)^2] / s^2. After phi: s^2 is Var phi(z) + eps (layer) or E[phi(z)^2] + eps (rms), the gain
  E[phi'(z)^2] / s^2. With v = sigma_w^2 E[h^2] from below, sigma_w cancels; for ReLU sigma_w^2 gain is 1. The same
  argument as for the plain net's chi (Schoenholz et al. 2017, eq. 9), which Yang et al. 2019 (section 2) contrast
  batch norm with.
- batch before phi (Yang et al. 2019, theorem 3.6 and appendix): a unit's centred z over a batch of B samples is a
  normal vector of B - 1 dimensions, so y is uniform on a sphere of radius sqrt(B) there, and s, which is independent
  of it, has E[1 / s^2] = B / (a (B - 3)), a = the variance of z that batch norm does not cancel. The gradient keeps
  what lies orthogonal to 1 and to y. At the batch-symmetric fixed point, for a gradient of mean 0 over the batch,

      gain = (B / (a (B - 3))) tr E[P_(1,y) D P_1 D] / (B - 1),   D = diag phi'(y),
      the next a = sigma_w^2 (E[phi(y_1)^2] - E[phi(y_1) phi(y_2)]).

  As B grows sigma_w^2 gain tends to E[phi'^2] / Var phi at N(0, 1): pi / (pi - 1) for ReLU, 1 for linear, where
  every B gives (B - 2) / (B - 3). Inputs of a real data set are not at that fixed point: see `mixing`.
- batch after phi: the large batch's limit alone, s^2 = Var phi(z).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from gradlab.activations import Activation
from gradlab.activations.spec import Array
from gradlab.theory.moments import elementwise, expectation, moments

LARGE_BATCH = 128  # from here on the limit of large batches is off by 1 % of delta_rms a layer or less
SMALLEST_BATCH = 6  # below, 1 / s^2 has hardly a mean
EPS_SHARE = 1e-3  # an eps above this share of batch norm's variance is not neglected but refused
ANGLES, RADII = 720, 240  # points of the pair's quadrature
FARTHEST = 6.5  # of the radius; exp(-42) of the mass lies beyond


Kind = Literal["none", "batch", "layer", "rms"]


@dataclass(frozen=True)
class LayerNormalisation:
    """The norm of a hidden layer as the theory needs it.

    kind: none, batch, layer or rms; position: pre or post the activation; batch: samples, for batch norm alone
    """

    kind: Kind = "none"
    position: str = "pre"
    eps: float = 1e-5
    batch: int = 0


@dataclass(frozen=True)
class Stage:
    """From a layer's z (or residual stream) to its h, [samples] each.

    h_sq: what adds to the next variance, times sigma_w^2: E[h^2], without the batch's common part under batch norm
    gain: E||dL/dz||^2 / E||dL/dh||^2
    """

    h_sq: Array
    gain: Array


def stages(activation: Activation | str, norm: LayerNormalisation) -> Callable[[Array], Stage] | None:
    """variance [samples] -> what a hidden layer does to a signal of it; None where no prediction is sound.

    variance: of z over units; under batch norm before phi the part that differs between the samples of a batch
    Raises ConfigError for an unknown activation and for softmax.
    """
    found, _, _ = elementwise(activation)
    batch = norm.batch
    if norm.kind == "batch" and norm.position == "pre":
        if batch < SMALLEST_BATCH:
            return None
        h_sq, trace = sphere_moments(found, batch)
        share = batch * trace / ((batch - 3) * (batch - 1))
        return lambda variance: Stage(np.full_like(variance, h_sq), share / variance)
    if norm.kind == "batch" and batch < LARGE_BATCH:
        return None
    if norm.kind == "none":
        return lambda variance: _plain(found, variance)
    if norm.position == "pre":
        return lambda variance: _before(found, variance, norm.eps)
    return lambda variance: _after(found, variance, norm)


def mixing(activation: Activation | str, norm: LayerNormalisation, sigma_w: float) -> float:
    """Factor a layer of the correlations between a batch's samples under batch norm, near its fixed point.

    E[sqrt(q) phi']^2 / Var phi, q = 1 before phi and sigma_w^2 after it: the slope at c = 0 of the correlation map
    (Poole et al. 2016, eq. 5) of what batch norm centres and scales. 0.73 for ReLU, 0.93 for tanh; 1 for linear, which
    leaves a batch as alike as its inputs are.

    >>> from math import pi
    >>> from gradlab import theory
    >>> factor = theory.mixing("relu", theory.LayerNormalisation("batch", batch=100), sigma_w=1.0)
    >>> round(factor / ((1 / 4) / (1 / 2 - 1 / (2 * pi))), 6)
    1.0
    """
    q = 1.0 if norm.position == "pre" else sigma_w**2
    (slope,), _ = expectation(activation, [q], of=lambda phi, slope: slope)
    (average,), _ = expectation(activation, [q], of=lambda phi, slope: phi)
    (square,), _ = expectation(activation, [q])
    return float(q * slope**2 / (square - average**2))


def _plain(activation: Activation, variance: Array) -> Stage:
    here = moments(activation, variance)
    return Stage(here.phi_sq, here.slope_sq)


def _before(activation: Activation, variance: Array, eps: float) -> Stage:
    scale = variance + eps
    # every y has a variance of 1 but for eps: one integral serves all the inputs
    y, place = np.unique(np.round(variance / scale, 9), return_inverse=True)
    here = moments(activation, y)
    return Stage(here.phi_sq[place], here.slope_sq[place] / scale)


def _after(activation: Activation, variance: Array, norm: LayerNormalisation) -> Stage:
    here = moments(activation, variance)
    spread = here.phi_sq
    if norm.kind != "rms":
        average, _ = expectation(activation, variance, of=lambda phi, slope: phi)
        spread = spread - average**2
    return Stage(spread / (spread + norm.eps), here.slope_sq / (spread + norm.eps))


def sphere_moments(activation: Activation, batch: int) -> tuple[float, float]:
    """(E[phi(y_1)^2] - E[phi(y_1) phi(y_2)], tr E[P_(1,y) D P_1 D]) for y uniform on batch norm's sphere.

    y_1, y_2: two samples of a normalised unit, of correlation -1 / (B - 1). Good to 1e-3 where phi' jumps.
    """
    _, phi, slope = elementwise(activation)
    one, two, weights = _pair(batch)

    def average(values: Array) -> float:
        return float(weights @ values.mean(axis=1))

    h_sq = average(phi(one) ** 2) - average(phi(one) * phi(two))
    d, other = slope(one), slope(two)
    square, cross = average(d * d), average(d * other)
    weighted, weighted_cross = average((one * d) ** 2), average(one * d * two * other)
    # tr(D P_1 D) - 1^T D P_1 D 1 / B - u^T D P_1 D u with u = y / sqrt(B)
    along_one = square - (square + (batch - 1) * cross) / batch
    along_y = weighted - (weighted + (batch - 1) * weighted_cross) / batch
    return h_sq, square * (batch - 1) - along_one - along_y


def _pair(batch: int) -> tuple[Array, Array, Array]:
    """Two samples of a normalised unit: points of their joint distribution, [radii, angles], and radii's weights.

    Two coordinates of a uniform unit vector of n dimensions: their angle is uniform, and their length r has
    P(r^2 > t) = (1 - t)^((n - 2) / 2), so that s^2 = -(n - 2) / 2 log(1 - r^2) is exponential.
    """
    n = batch - 1
    node, weight = np.polynomial.legendre.leggauss(RADII)
    s = FARTHEST / 2 * (1 + node)
    weights = FARTHEST / 2 * weight * 2 * s * np.exp(-s * s)
    radius = np.sqrt(-np.expm1(-2 * s * s / (n - 2)))[:, None]
    angle = 2 * np.pi * (np.arange(ANGLES) + 0.5) / ANGLES
    u, v = radius * np.cos(angle), radius * np.sin(angle)
    c = -1 / n
    return np.sqrt(n) * u, np.sqrt(n) * (c * u + np.sqrt(1 - c * c) * v), weights
