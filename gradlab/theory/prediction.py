"""The mean-field prediction for one net: q, chi and the size of delta, layer by layer.

For the net as it is: each layer with its own fans and q, not a power of the fixed point's chi_1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from gradlab.activations import Activation
from gradlab.activations.spec import Array
from gradlab.base.errors import ConfigError, Problem
from gradlab.theory.moments import elementwise, moments

LARGEST_Q = 1e300
"""Beyond this variance phi is on its asymptotes: E[phi^2] grows as q does, and E[phi'^2] stays."""
SETTLED = 1e-15  # a relative change of q below this is rounding: the layers above repeat this one


@dataclass(frozen=True)
class Prediction:
    """Arrays are [depth] (hidden layers, layer 1 first) unless said otherwise; `samples` is the size of q0.

    sigma_w, sigma_b, bias: [depth + 1], the readout last
    q:          variance of z around the bias, mean over samples
    h_sq:       E[phi(z)^2], mean over samples
    slope_sq:   E[phi'(z)^2], mean over samples
    chi:        sigma_w^2 E[phi'(z)^2] with the sigma_w of the layer above
    delta_rms_ratio: delta_rms relative to the top hidden layer's
    factor:     [samples, depth], E||delta||^2 per unit of layer l over that of the readout, for each input
    q_samples, h_sq_samples, slope_sq_samples: [samples, depth], the same of each input
    """

    activation: Activation
    sigma_w: Array
    sigma_b: Array
    bias: Array
    fans: tuple[tuple[int, int], ...] | None
    q: Array
    h_sq: Array
    slope_sq: Array
    chi: Array
    delta_rms_ratio: Array
    factor: Array
    q_samples: Array
    h_sq_samples: Array
    slope_sq_samples: Array


def predict(
    activation: Activation | str,
    *,
    depth: int,
    sigma_w: ArrayLike,
    sigma_b: ArrayLike = 0.0,
    bias: ArrayLike = 0.0,
    q0: ArrayLike = 1.0,
    fans: Sequence[tuple[int, int]] | None = None,
) -> Prediction:
    """The mean-field prediction of a random MLP (Schoenholz et al. 2017, eqs. 3 and 9).

    sigma_w: Var W = sigma_w^2 / fan_in; one number, or one for each of the depth + 1 layers, the readout last
    sigma_b: standard deviation of the biases, and `bias` their mean; each as sigma_w
    depth:   number of hidden layers
    q0:      mean square of an input's features; one number, or one for each input: delta is then averaged
             over these inputs, which differs from the mean input's where phi is not homogeneous
    fans:    (fan_in, fan_out) of each of the depth + 1 layers; None takes them as equal

    q_1 = sigma_w^2 q0 + sigma_b^2, q_(l+1) = sigma_w^2 E[phi(z_l)^2] + sigma_b^2, and per unit
    E delta_l^2 = E[phi'(z_l)^2] sigma_w^2 fan_out / fan_in E delta_(l+1)^2
    with layer l + 1's sigma_w and fans.

    Raises ConfigError for an unknown activation, softmax, and arrays of a wrong length.

    >>> from gradlab import theory
    >>> net = theory.predict("relu", depth=3, sigma_w=1.0)
    >>> [round(float(each), 4) for each in net.delta_rms_ratio]  # sqrt(1/2) for each layer on the way down
    [0.5, 0.7071, 1.0]
    """
    found, _, _ = elementwise(activation)
    per_layer = {"sigma_w": sigma_w, "sigma_b": sigma_b, "bias": bias}
    if depth < 1:
        raise ConfigError(Problem("depth", f"{depth!r}", "a whole number >= 1"))
    arrays = {name: _per_layer(name, value, depth) for name, value in per_layer.items()}
    if fans is not None and len(fans) != depth + 1:
        raise ConfigError(
            Problem("fans", f"{len(fans)} layers", f"{depth + 1}: the hidden layers and the readout")
        )
    weights, biases, means = arrays["sigma_w"], arrays["sigma_b"], arrays["bias"]
    inputs = np.atleast_1d(np.asarray(q0, dtype=np.float64))
    q = np.empty((inputs.size, depth))
    phi_sq, slope_sq = np.empty_like(q), np.empty_like(q)
    variance = weights[0] ** 2 * inputs + biases[0] ** 2
    with np.errstate(
        over="ignore", invalid="ignore"
    ):  # a signal that grows leaves float64: q is infinite then
        for layer in range(depth):
            q[:, layer] = variance
            same = layer > 0 and all(a[layer] == a[layer - 1] for a in (weights, biases, means))
            if same and np.all(np.abs(variance - q[:, layer - 1]) <= SETTLED * variance):
                phi_sq[:, layer], slope_sq[:, layer] = phi_sq[:, layer - 1], slope_sq[:, layer - 1]
            else:
                within = np.minimum(variance, LARGEST_Q)
                here = moments(found, within, mean=means[layer])
                phi_sq[:, layer], slope_sq[:, layer] = (
                    here.phi_sq * np.where(variance > within, variance / within, 1.0),
                    here.slope_sq,
                )
            variance = weights[layer + 1] ** 2 * phi_sq[:, layer] + biases[layer + 1] ** 2
    widths = np.ones(depth) if fans is None else np.array([fan_out / fan_in for fan_in, fan_out in fans[1:]])
    with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
        # in logarithms: 10^-400 is out of float64's reach, the ratio of two such numbers is not
        log_gain = np.log(slope_sq) + np.log(weights[1:] ** 2 * widths)
        below = np.cumsum(log_gain[:, ::-1], axis=1)[:, ::-1]
        factor = np.exp(below)
        mean_log = _log_mean_exp(below)
        ratio = np.exp((mean_log - mean_log[-1]) / 2)
    return Prediction(
        activation=found,
        sigma_w=weights,
        sigma_b=biases,
        bias=means,
        fans=None if fans is None else tuple(fans),
        q=q.mean(axis=0),
        h_sq=phi_sq.mean(axis=0),
        slope_sq=slope_sq.mean(axis=0),
        chi=weights[1:] ** 2 * slope_sq.mean(axis=0),
        delta_rms_ratio=ratio,
        factor=factor,
        q_samples=q,
        h_sq_samples=phi_sq,
        slope_sq_samples=slope_sq,
    )


class HasFactor(Protocol):
    """A prediction with `factor`, [samples, depth]: E||delta||^2 per unit of each layer over the readout's."""

    @property
    def factor(self) -> Array: ...


def delta_rms(prediction: HasFactor, top: ArrayLike) -> Array:
    """delta_rms of every layer, [depth + 1], the readout last, from the readout's own.

    top: delta_rms of the readout: one number, or one for each of the prediction's inputs (over the readout's units),
         so that the inputs with large errors weigh more.

    >>> from gradlab import theory
    >>> net = theory.predict("linear", depth=2, sigma_w=1.0)
    >>> [round(float(each), 6) for each in theory.delta_rms(net, 0.3)]
    [0.3, 0.3, 0.3]
    """
    above = np.broadcast_to(np.asarray(top, dtype=np.float64) ** 2, len(prediction.factor))
    hidden = (prediction.factor * above[:, None]).mean(axis=0)
    result: Array = np.sqrt(np.append(hidden, above.mean()))
    return result


def _log_mean_exp(values: Array) -> Array:
    """log mean exp over the samples (axis 0)."""
    peak = values.max(axis=0)
    safe = np.where(np.isfinite(peak), peak, 0.0)
    result: Array = safe + np.log(np.exp(values - safe).mean(axis=0))
    return result


def _per_layer(name: str, value: ArrayLike, depth: int) -> Array:
    array = np.asarray(value, dtype=np.float64)
    if array.ndim == 0:
        return np.full(depth + 1, float(array))
    if array.shape != (depth + 1,):
        raise ConfigError(
            Problem(
                name, f"{array.size} values", f"one number, or {depth + 1}: the hidden layers and the readout"
            )
        )
    return array
