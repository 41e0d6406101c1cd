"""How far a net of finite width may lie from the mean-field prediction: a band of 4 standard deviations.

Derivation, to first order in 1 / n (n: units of layer l). Given delta_(l+1), the entries of W^T delta_(l+1) are
independent normal numbers g_j, so ||delta_l||^2 = sum_j phi'(z_j)^2 g_j^2 has the relative variance

    A_l = (3 E[phi'^4] / E[phi'^2]^2 - 1) / n.                                            (5 / n for ReLU)

The signal fluctuates too. Given h_l, z_(l+1) is normal with variance exactly q_(l+1), but the mean of h_l^2 over the
units is not E[phi^2]: its relative variance is E_l = (E[phi^4] / E[phi^2]^2 - 1) / n, and its covariance with the
noise above C_l = (K_l - 1) / n with K_l = E[phi^2 phi'^2] / (E[phi^2] E[phi'^2]), the same units making both. With
u_l the relative deviation of q_l, and s_l = sigma_w^2 E[phi^2] / q_(l+1) the weights' share of the next q,

    u_(l+1) = s_l (T_l u_l + e_l),  u_1 = 0,  T = d log E[phi^2] / d log q,  Var e_l = E_l,

and log E[phi'^2] moves by B_l u_l with B = d log E[phi'^2] / d log q. Summing a_k + B_k u_k over the layers k that
delta passes on its way down to layer l gives a sum of independent noises, one pair (a_k, e_k) a layer: `variance`.
E[X] is what mean-field theory states, so E log X lies below it by half that variance.

The same weights carry z up and delta down, so g is not quite independent of h: its component along h_l is
(W h_l . delta_(l+1)) h_l / ||h_l||^2. Let t = z . delta and r = E t^2 / (q ||delta||^2), 1 without alignment; the
biases leave a_l = s_l (r_(l+1) - 1) of it in W h . delta. Splitting z phi'(z) into its part along phi(z), T phi(z),
and an independent rest gives, layer by layer,

    r_l = (T_l^2 E[phi^2] / (q_l E[phi'^2]) a_l + 1 + 2 B_l) / (1 + x_l)

with the rise x_l = K_l a_l / n of ||delta_l||^2; `shift` sums log(1 + x) over the layers passed. It is 0
for ReLU, and large where delta's component along the signal outgrows the rest (softplus under He).

Samples of a batch share the weights, and where phi is not centred they share most of the signal as well, so the
batch mean does not average these fluctuations: they are taken as fully correlated, the conservative choice.
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
FIRST_ORDER = (
    1.0  # where a relative variance reaches this, units die or explode one by one: no statement is made
)
SMALLEST_DEVIATION = 1e-70  # its fourth power is still a normal number; the ratios below it are constant
LARGEST_DEVIATION = 1e70  # and here it is a number still

Reference = Literal["top", "output"]


@dataclass(frozen=True)
class Band:
    """[depth] each. measured / predicted delta_rms lies in [low, high]; (0, inf) where first order says nothing.

    variance: variance of log(delta_rms^2) in one net; shift: how far its mean lies from the prediction's log,
    beside minus half the variance
    """

    low: Array
    high: Array
    variance: Array
    shift: Array


def band(
    prediction: Prediction,
    *,
    width: int | None = None,
    replicas: int = 1,
    reference: Reference = "top",
    deviations: float = DEVIATIONS,
) -> Band:
    """The band for the mean over `replicas` nets of log(measured / predicted delta_rms), as factors.

    width:     units of every hidden layer; by default the prediction's own fans
    reference: what both are relative to: the top hidden layer's delta_rms, or the readout's

    >>> from gradlab import theory
    >>> net = theory.predict("relu", depth=3, sigma_w=2**0.5)
    >>> band = theory.band(net, width=100)  # wider for the layers further down
    >>> [round(float(low), 2) for low in band.low]
    [0.52, 0.63, 1.0]
    """
    depth = len(prediction.q)
    if width is not None:
        units = np.full(depth, float(width))
    else:
        assert prediction.fans is not None, "a band needs a width or the layers' fans"
        units = np.array([fan_out for _, fan_out in prediction.fans[:-1]], dtype=np.float64)
    last = depth - 1 if reference == "output" else depth - 2
    noise = _noise(prediction, units)
    with np.errstate(invalid="ignore", over="ignore"):
        variances = np.where(_lost(noise, last), inf, _variance(noise, last))
        shifts = _shift(prediction, noise, units, last)
        # each input counts by its share of the layer's mean delta^2
        weights = prediction.factor / prediction.factor.max(axis=0)
        weights = np.nan_to_num(weights / weights.sum(axis=0), nan=1 / len(weights))
        variance = (weights * np.sqrt(variances)).sum(axis=0) ** 2
        shift = (weights * shifts).sum(axis=0)
        spread = deviations * np.sqrt(variance / replicas)
        known = np.isfinite(variance) & np.isfinite(shift)
        low = np.where(known, np.exp((np.minimum(shift, 0) - variance / 2 - spread) / 2), 0.0)
        high = np.where(known, np.exp((np.maximum(shift, 0) + spread) / 2), inf)
    return Band(low, high, np.where(known, variance, inf), shift)


@dataclass(frozen=True)
class _Noise:
    """[samples, depth]: A, E, C, B, T, K, s (the weights' share of the next q) and Var u, as above."""

    delta: Array
    signal: Array
    joint: Array
    slope: Array
    growth: Array
    overlap: Array
    share: Array
    carried: Array


def _variance(noise: _Noise, last: int) -> Array:
    """Variance of the log, [samples, depth], of the noises of layers l ... last."""
    result = np.zeros_like(noise.delta)
    samples = len(result)
    below = np.zeros(samples)  # what the noise of h_l does to all the layers above it
    total = np.zeros(samples)
    for layer in range(last, -1, -1):
        slope, growth = noise.slope[:, layer], noise.growth[:, layer]
        total = total + (
            noise.delta[:, layer] + 2 * below * noise.joint[:, layer] + below**2 * noise.signal[:, layer]
        )
        above = slope + growth * below
        result[:, layer] = total + noise.carried[:, layer] * above**2
        if layer > 0:
            below = noise.share[:, layer - 1] * above
    return result


def _shift(prediction: Prediction, noise: _Noise, units: Array, last: int) -> Array:
    """Mean of the log from the alignment of delta with the signal, [samples, depth]."""
    depth = len(units)
    result = np.zeros_like(noise.delta)
    aligned = np.ones(len(result))
    total = np.zeros(len(result))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        slope_sq = prediction.slope_sq_samples
        chi = prediction.sigma_w[1:] ** 2 * slope_sq
        for layer in range(depth - 1, -1, -1):
            above = noise.share[:, layer] * (aligned - 1)
            rise = noise.overlap[:, layer] * above / units[layer]
            if layer <= last:
                total = total + np.log1p(np.maximum(rise, -0.5))
                result[:, layer] = total
            ratio = prediction.sigma_w[layer + 1] ** 2 * prediction.h_sq_samples[:, layer]
            ratio = ratio / (np.maximum(prediction.q_samples[:, layer], 1e-300) * chi[:, layer])
            own = noise.growth[:, layer] ** 2 * ratio * above + 1 + 2 * noise.slope[:, layer]
            aligned = own / np.maximum(1 + rise, 0.5)
    return result


def _lost(noise: _Noise, last: int) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    """Where delta has passed a layer whose noise is too large for first order, [samples, depth]."""
    small = (noise.delta < FIRST_ORDER) & (noise.signal < FIRST_ORDER) & (noise.carried < FIRST_ORDER)
    lost = ~small
    lost[:, last + 1 :] = False
    return np.asarray(np.logical_or.accumulate(lost[:, ::-1], axis=1)[:, ::-1])


def _noise(prediction: Prediction, units: Array) -> _Noise:
    kappa, square, overlap, slope, growth = _ratios(prediction)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        weights = prediction.sigma_w[1:] ** 2 * prediction.h_sq_samples
        alone = (prediction.sigma_b[1:] == 0) | np.isinf(weights)
        share = np.where(alone, 1.0, weights / (weights + prediction.sigma_b[1:] ** 2))
    signal = (square - 1) / units
    carried = np.zeros_like(share)
    with np.errstate(over="ignore", invalid="ignore"):
        for layer in range(1, len(units)):
            before = layer - 1
            carried[:, layer] = share[:, before] ** 2 * (
                growth[:, before] ** 2 * carried[:, before] + signal[:, before]
            )
    return _Noise(
        (3 * kappa - 1) / units, signal, (overlap - 1) / units, slope, growth, overlap, share, carried
    )


def _ratios(prediction: Prediction) -> tuple[Array, ...]:
    """E[phi'^4] / E[phi'^2]^2, E[phi^4] / E[phi^2]^2, K, B and T of the docstring, [samples, depth] each."""
    found, phi, slope = elementwise(prediction.activation)

    def integrand(z: Array, x: Array) -> Array:
        square, steep = phi(z) ** 2, slope(z) ** 2
        score = (x * x - 1) / 2
        return np.stack([square, steep, steep**2, square**2, square * steep, steep * score, square * score])

    shape = prediction.q_samples.shape
    means = np.broadcast_to(prediction.bias[:-1], shape)
    (q, mean), place = np.unique(
        np.stack([prediction.q_samples.ravel(), means.ravel()]), axis=1, return_inverse=True
    )
    value, _ = gaussian_mean(
        integrand,
        mean,
        np.clip(np.sqrt(q), SMALLEST_DEVIATION, LARGEST_DEVIATION),
        kinks=found.kinks,
        kinks_known=found.kinks_known,
        tolerance=1e-9,
    )
    v, s, s2, v2, vs, s_by, v_by = value[:, place.ravel()].reshape(7, *shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        return s2 / s**2, v2 / v**2, vs / (v * s), s_by / s, v_by / v
