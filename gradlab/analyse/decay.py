"""How delta_rms falls or grows from the top hidden layer down to layer 1: its total and its rate per layer.

Every function takes delta_rms as [..., depth], layer 1 first, the top hidden layer last (no readout).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


class Line(NamedTuple):
    """The least-squares line through log10 delta_rms against distance from the top hidden layer.

    slope:     decades per layer, going down; nan with fewer than two layers to fit
    r_squared: share of the variance of log10 delta_rms that the line explains; nan where there is none to explain
    layers:    number of layers in the fit
    """

    slope: Array
    r_squared: Array
    layers: Array


def attenuation(delta_rms: ArrayLike) -> Array:
    """log10(delta_rms of layer 1 / delta_rms of the top hidden layer), shape [...], in decades.

    Negative when the gradient vanishes, `-inf` when layer 1's is exactly 0, `inf` when only the top's is, nan when
    either is not a number or both are infinite.
    """
    delta = np.asarray(delta_rms, dtype=np.float64)
    bottom, top = delta[..., 0], delta[..., -1]
    with np.errstate(divide="ignore", invalid="ignore"):
        decades = np.log10(bottom) - np.log10(top)  # the ratio itself may leave float64
    unknown = np.isnan(bottom) | np.isnan(top)
    return np.where((bottom == 0) & ~unknown, -np.inf, decades)


def fit_line(delta_rms: ArrayLike) -> Line:
    """The line through log10 delta_rms of the layers whose delta_rms is finite and > 0; each field has shape [...]."""
    delta = np.asarray(delta_rms, dtype=np.float64)
    used = np.isfinite(delta) & (delta > 0)
    count = used.sum(-1).astype(np.float64)
    x = np.arange(delta.shape[-1])[::-1].astype(np.float64)  # distance from the top hidden layer
    y = np.log10(np.where(used, delta, 1.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        x_mean = (used * x).sum(-1) / count
        y_mean = (used * y).sum(-1) / count
        dx = np.where(used, x - x_mean[..., None], 0.0)
        dy = np.where(used, y - y_mean[..., None], 0.0)
        slope = (dx * dy).sum(-1) / (dx * dx).sum(-1)
        r_squared = slope**2 * (dx * dx).sum(-1) / (dy * dy).sum(-1)
    return Line(slope, r_squared, count)


def decay_per_layer(delta_rms: ArrayLike) -> Array:
    """The factor by which delta_rms changes per layer, going down: 10^slope of `fit_line`, shape [...].

    Below 1 vanishing, above 1 exploding, nan with fewer than two layers whose delta_rms is finite and > 0.
    """
    result: Array = 10.0 ** fit_line(delta_rms).slope
    return result
