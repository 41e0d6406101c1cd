"""The mean-field prediction of a net with norms or a residual stream: variance and delta, layer by layer.

Layer 1 is the stem, the others form blocks of K layers. `sum` schemes (pre, scaled, skipinit, fixup) keep a stream
x_l = x_(l-K) + alpha z_l at the end of each block, and the next layer reads phi(norm(x)); with independent weights
the branch is uncorrelated with the stream, so variances add going up and squared gradients add going down:

    q(x_l) = q(x_(l-K)) + alpha^2 q(z_l),
    E||dL/dx_(l-K)||^2 = E||dL/dx_l||^2 + gain E||dL/dh||^2,    E delta_l^2 = alpha^2 E||dL/dx_l||^2,

with q(z) = sigma_w^2 E[h^2] + sigma_b^2 and the gain of `theory.normed`. It is the argument of Yang & Schoenholz 2017
(section 3, "Mean field residual networks") for this order of operations. Without norm q doubles for He-ReLU at each
layer; with a norm before phi it grows by 1 (Hanin & Rolnick 2018, De & Smith 2020, section 3), with alpha^2 =
1 / blocks to at most e times (Hayou et al. 2021). Factors that start at 0 (rezero, skipinit) and Fixup's last layers
cut the branch: delta is exactly 0 in what lies below the cut, and the stream carries one gradient to every block.

There is no prediction for `post`, phi(x + F(x)): its stream is not Gaussian (for ReLU a sum of rectified numbers), and
the literature has no closed form.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from gradlab.activations import Activation
from gradlab.activations.spec import Array
from gradlab.theory.normed import EPS_SHARE, LayerNormalisation, stages

Skip = Literal["none", "sum", "rezero"]


@dataclass(frozen=True)
class StreamPrediction:
    """[samples, depth] each, layer 1 first; under batch norm one sample stands for the batch.

    variance: of what enters the layer's norm and activation: z, or the stream where the layer ends a block
    gain:     E||dL/d(what enters)||^2 / E||dL/dh||^2
    factor:   E||delta||^2 per unit of the layer over that of the readout
    """

    variance: Array
    gain: Array
    factor: Array


def predict_stream(
    activation: Activation | str,
    *,
    depth: int,
    sigma_w: ArrayLike,
    sigma_b: ArrayLike = 0.0,
    q0: ArrayLike = 1.0,
    fans: Sequence[tuple[int, int]] | None = None,
    norm: LayerNormalisation | None = None,
    skip: Skip = "none",
    block: int = 1,
    alpha: float = 1.0,
) -> StreamPrediction | None:
    """The prediction of a random net with a norm, a residual stream or both; None where no prediction is sound.

    sigma_w, sigma_b, q0, fans: as in `theory.predict`; Fixup's factors are part of sigma_w
    skip: "sum" as above with K = block; "rezero": x + a phi(W x) with a = 0, a net of the stem alone
    alpha: factor of every branch at the start

    Raises ConfigError for an unknown activation and for softmax.

    >>> from gradlab import theory
    >>> net = theory.predict_stream("relu", depth=4, sigma_w=2**0.5, skip="sum")
    >>> [round(float(each), 3) for each in net.factor[0]]  # the stream doubles the gradient in each block
    [8.0, 4.0, 2.0, 1.0]
    """
    norm = norm or LayerNormalisation()
    weights, biases = (
        np.broadcast_to(np.asarray(v, dtype=np.float64), depth + 1) for v in (sigma_w, sigma_b)
    )
    widths = np.ones(depth + 1) if fans is None else np.array([fan_out / fan_in for fan_in, fan_out in fans])
    to_h = stages(activation, norm)
    over_batch = norm.kind == "batch"
    if to_h is None or (over_batch and norm.position == "post" and np.any(biases != 0)):
        return None  # a bias, shared by the batch, moves each unit's Var phi(z)
    cancels_biases = over_batch and norm.position == "pre"
    inputs = np.atleast_1d(np.asarray(q0, dtype=np.float64))
    inputs = inputs.mean(keepdims=True) if over_batch else inputs
    variance, gain, h_sq = (np.empty((inputs.size, depth)) for _ in range(3))
    ends = [skip == "sum" and layer > 0 and layer % block == 0 for layer in range(depth)]
    top = 1 if skip == "rezero" else depth  # layers that the signal passes
    stream = below = inputs
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        for layer in range(top):
            z = weights[layer] ** 2 * below + (0.0 if cancels_biases else biases[layer] ** 2)
            stream = stream + alpha**2 * z if ends[layer] else z if layer == 0 else stream
            variance[:, layer] = stream if ends[layer] else z
            if cancels_biases and np.any(norm.eps > EPS_SHARE * variance[:, layer]):
                return None
            here = to_h(variance[:, layer])
            gain[:, layer], h_sq[:, layer] = here.gain, here.h_sq
            below = here.h_sq
        variance[:, top:], gain[:, top:] = np.nan, np.nan
        factor = _backward(gain[:, :top], weights**2 * widths, ends, alpha)
    return StreamPrediction(variance, gain, np.pad(factor, ((0, 0), (0, depth - top))))


def _backward(gain: Array, into: Array, ends: Sequence[bool], alpha: float) -> Array:
    """E||delta||^2 per unit over the readout's, [samples, layers passed].

    into: sigma_w^2 fan_out / fan_in of each linear map, the readout last
    """
    factor = np.empty_like(gain)
    from_h = np.full(len(gain), into[-1])
    stream = np.zeros(len(gain))
    for layer in range(gain.shape[1] - 1, -1, -1):
        own = gain[:, layer] * from_h
        if ends[layer]:
            stream = stream + own
            own = alpha**2 * stream
        elif layer == 0:
            own = own + stream
        factor[:, layer] = own
        from_h = into[layer] * own
    return factor
