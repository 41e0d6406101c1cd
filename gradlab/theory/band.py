"""How far a net of finite width may lie from the mean-field prediction: a band of 4 standard deviations.

Derivation, to first order in 1 / n (n: units of layer l). Given delta_(l+1), the entries of W^T delta_(l+1) are
independent normal numbers g_j, so ||delta_l||^2 = sum_j phi'(z_j)^2 g_j^2 has the relative variance

    A_l = (3 E[phi'^4] / E[phi'^2]^2 - 1) / n.

The signal fluctuates too. Given h_l, z_(l+1) is normal with variance exactly q_(l+1), but the mean of h_l^2 over the
units is not E[phi^2]: its relative variance is E_l = (E[phi^4] / E[phi^2]^2 - 1) / n, and its covariance with the
noise above C_l = (E[phi^2 phi'^2] / (E[phi^2] E[phi'^2]) - 1) / n, the same units making both. With u_l the relative
deviation of q_l, and s_l = sigma_w^2 E[phi^2] / q_(l+1) the weights' share of the next q,

    u_(l+1) = s_l (T_l u_l + e_l),  u_1 = 0,  T = d log E[phi^2] / d log q,  Var e_l = E_l,

and log E[phi'^2] moves by B_l u_l with B = d log E[phi'^2] / d log q. Summing a_k + B_k u_k over the layers k that
delta passes on its way down to layer l gives a sum of independent noises, one pair (a_k, e_k) a layer; its variance
is what `log_variance` returns. (For ReLU: 5 / n a layer.) Since E[X] is what mean-field theory states, E log X lies
below by half that variance.

Samples of a batch share the weights, and where phi is not centred they share most of the signal as well, so the
batch mean does not average these fluctuations: the variance is that of a single sample, the conservative choice.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Literal

import numpy as np

from gradlab.activations.spec import Array
from gradlab.theory.moments import elementwise
from gradlab.theory.prediction import Prediction
from gradlab.theory.quadrature import gaussian_mean

DEVIATIONS = 4.0
FIRST_ORDER = 1.0  # where a relative variance reaches this, units die or explode one by one: no statement is made
SMALLEST_DEVIATION = 1e-70  # its fourth power is still a normal number; the ratios below it are constant


@dataclass(frozen=True)
class Band:
    """[depth] each. measured / predicted delta_rms lies in [low, high]; (0, inf) where first order says nothing.

    log_variance: variance of log(delta_rms^2) in one net
    """

    low: Array
    high: Array
    log_variance: Array


def band(
    prediction: Prediction,
    *,
    width: int | None = None,
    replicas: int = 1,
    reference: Literal["top", "output"] = "top",
    deviations: float = DEVIATIONS,
) -> Band:
    """The band for the mean over `replicas` nets of log(measured / predicted delta_rms), as factors.

    width:     units of every hidden layer; by default the prediction's own fans
    reference: what both are relative to: the top hidden layer's delta_rms, or the readout's
    """
    variance = log_variance(prediction, width=width, reference=reference)
    spread = deviations * np.sqrt(variance / replicas)
    known = np.isfinite(variance)
    with np.errstate(invalid="ignore"):
        low = np.where(known, np.exp((-variance / 2 - spread) / 2), 0.0)
        high = np.where(known, np.exp(spread / 2), inf)
    return Band(low, high, variance)


def log_variance(
    prediction: Prediction, *, width: int | None = None, reference: Literal["top", "output"] = "top"
) -> Array:
    """Variance of log(||delta_l||^2 / ||delta_reference||^2), [depth]; inf where first order says nothing."""
    depth = len(prediction.q)
    if width is not None:
        units = np.full(depth, float(width))
    else:
        assert prediction.fans is not None, "a band needs a width or the layers' fans"
        units = np.array([fan_out for _, fan_out in prediction.fans[:-1]], dtype=np.float64)
    noise = _noise(prediction, units)
    last = depth - 1 if reference == "output" else depth - 2
    result = np.zeros(depth)
    below = 0.0  # w_l: what the noise of h_l does to all the layers above it
    total = 0.0
    for layer in range(last, -1, -1):
        result[layer] = (
            total
            + noise.delta[layer]
            + 2 * below * noise.joint[layer]
            + below**2 * noise.signal[layer]
            + noise.carried[layer] * (noise.slope[layer] + noise.growth[layer] * below) ** 2
        )
        total += noise.delta[layer] + 2 * below * noise.joint[layer] + below**2 * noise.signal[layer]
        if layer > 0:
            below = noise.share[layer - 1] * (noise.slope[layer] + noise.growth[layer] * below)
    return _where_first_order_holds(result, noise, last)


def _where_first_order_holds(variance: Array, noise: _Noise, last: int) -> Array:
    with np.errstate(invalid="ignore"):
        lost = ~((noise.delta < FIRST_ORDER) & (noise.signal < FIRST_ORDER) & (noise.carried < FIRST_ORDER))
    lost[last + 1 :] = False
    # a layer whose delta passes a lost layer is lost itself
    reached = np.logical_or.accumulate(lost[::-1])[::-1]
    return np.where(reached, inf, variance)


@dataclass(frozen=True)
class _Noise:
    """Per hidden layer: A, E, C, B, T, s (the share of the layer's own weights in the next q) and Var u."""

    delta: Array
    signal: Array
    joint: Array
    slope: Array
    growth: Array
    share: Array
    carried: Array


def _noise(prediction: Prediction, units: Array) -> _Noise:
    kappa, square, joint, slope, growth = _ratios(prediction)
    weights = prediction.sigma_w[1:] ** 2 * prediction.h_sq
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(prediction.sigma_b[1:] == 0, 1.0, weights / (weights + prediction.sigma_b[1:] ** 2))
    signal = (square - 1) / units
    carried = np.zeros(len(units))
    for layer in range(1, len(units)):
        before = layer - 1
        carried[layer] = share[before] ** 2 * (growth[before] ** 2 * carried[before] + signal[before])
    return _Noise((3 * kappa - 1) / units, signal, (joint - 1) / units, slope, growth, share, carried)


def _ratios(prediction: Prediction) -> tuple[Array, ...]:
    """E[phi'^4] / E[phi'^2]^2, E[phi^4] / E[phi^2]^2, E[phi^2 phi'^2] / (E[phi^2] E[phi'^2]), B, T; [depth] each."""
    found, phi, slope = elementwise(prediction.activation)

    def integrand(z: Array, x: Array) -> Array:
        square, steep = phi(z) ** 2, slope(z) ** 2
        score = (x * x - 1) / 2
        return np.stack([square, steep, steep**2, square**2, square * steep, steep * score, square * score])

    (q, mean), place = np.unique(np.stack([prediction.q, prediction.bias[:-1]]), axis=1, return_inverse=True)
    value, _ = gaussian_mean(
        integrand,
        mean,
        np.maximum(np.sqrt(q), SMALLEST_DEVIATION),
        kinks=found.kinks,
        kinks_known=found.kinks_known,
        tolerance=1e-9,
    )
    v, s, s2, v2, vs, s_by, v_by = value[:, place.ravel()]
    with np.errstate(divide="ignore", invalid="ignore"):
        return s2 / s**2, v2 / v**2, vs / (v * s), s_by / s, v_by / v
