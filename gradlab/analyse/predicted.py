"""The mean-field prediction of a trained cell: from the initialiser it used and the inputs it saw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradlab import theory
from gradlab.config.bound import Bound
from gradlab.store.stack_result import StackResult
from gradlab.theory import Prediction, StreamPrediction

Array = NDArray[np.float64]

SLOWEST_MIXING = 0.95  # tanh has 0.93 and comes within 3 % a layer on real data, sigmoid 0.98 and does not


def predicted_delta(bound: Bound, result: StackResult) -> Array | None:
    """delta_rms at step 0 of every layer, [replica, layer], the readout NaN; None where the theory is silent.

    Anchored at the readout's measured delta_rms, which no random-matrix argument gives, and fed with the mean square
    of each input of the replica's first batch. No prediction for softmax, initialisers without a variance, the
    residual scheme `post`, a constant bias beside a norm or residual scheme, and where `theory.normed` has none.
    Under batch norm the prediction is that of its fixed point, where the samples of a batch are independent: layer 1,
    which normalises raw inputs, has none, nor has an activation that leaves the batch about as alike as they are.
    """
    net = _Net.of(bound, result)
    if net is None or not len(result.layers):
        return None
    top = result.layers.column("delta_rms")[:, 0, -1]
    rows = []
    for replica in range(len(result.seeds)):
        prediction = net.predict(result.input_sq[replica], result.layers.places["batch"])
        if prediction is None:
            return None
        rows.append(np.append(theory.delta_rms(prediction, top[replica])[:-1], np.nan))
    predicted = np.array(rows)
    if bound.norm.over_batch:
        predicted[:, 0] = np.nan
    return predicted


def predicted_jacobian(bound: Bound, result: StackResult, x: Array) -> Array | None:
    """singular_sq_mean at step 0 of each row of jacobian.csv, [depth + 1], the whole net first; None without Jacobians.

    E||J||_F^2 over the number of singular values: for layer l sigma_w^2 E[phi'^2] fan_out / min(fan_in, fan_out), chi_1
    in a square layer, and the product of the layers' for the whole net (Pennington, Schoenholz & Ganguli 2017, eqs. 5
    and 16). With layer or rms norm the slope is over the norm's scale, all wide (`theory.normed`). NaN for batch norm,
    which in eval mode has not seen a batch at step 0, and for residual schemes.

    x: [row, feature], the training rows
    """
    if "jacobian" not in result.blocks:
        return None
    silent = np.full(len(result.layers.places["name"]), np.nan)
    net = _Net.of(bound, result)
    if net is None or bound.norm.over_batch or not bound.residual.none:
        return silent
    prediction = net.predict(np.square(x[: result.blocks["jacobian"].places["samples"]]).mean(axis=1), 0)
    if prediction is None:
        return silent
    gain = prediction.slope_sq_samples if isinstance(prediction, Prediction) else prediction.gain
    fan_in, fan_out = np.array(net.fans).T
    layers = np.square(net.sigma_w[:-1]) * gain.mean(axis=0) * fan_out[:-1] / np.minimum(fan_in, fan_out)[:-1]
    whole = net.sigma_w[0] ** 2 * fan_out[0] * prediction.factor[:, 0].mean() / min(fan_in[0], fan_out[-1])
    return np.append(whole, layers)


@dataclass(frozen=True)
class _Net:
    """The random net of a cell, as the theory takes it."""

    bound: Bound
    fans: list[tuple[int, int]]
    sigma_w: list[float]
    sigma_b: list[float]

    @classmethod
    def of(cls, bound: Bound, result: StackResult) -> _Net | None:
        """None where no theory speaks about the activation or the initialiser."""
        init = bound.init
        if not (bound.activation.elementwise and init.predicted):
            return None
        assert init.sigma_w is not None
        places = result.layers.places
        fans = list(zip(places["fan_in"], places["fan_out"], strict=True))
        factors = [bound.residual.weight_factor(layer) for layer in range(1, bound.network.depth + 1)]
        return cls(
            bound,
            fans,
            [init.sigma_w(*fan) * factor for fan, factor in zip(fans, [*factors, 1.0], strict=True)],
            [init.sigma_b(*fan) for fan in fans],
        )

    def predict(self, q0: Array, batch: int) -> Prediction | StreamPrediction | None:
        """The prediction for inputs of mean squares q0, in batches of `batch`."""
        activation, norm, residual = self.bound.activation, self.bound.norm, self.bound.residual
        bias, depth = self.bound.init.bias, self.bound.network.depth
        if norm.none and residual.none:
            return theory.predict(
                activation,
                depth=depth,
                sigma_w=self.sigma_w,
                sigma_b=self.sigma_b,
                bias=bias,
                q0=q0,
                fans=self.fans,
            )
        if bias != 0 or norm.theory is None or residual.theory is None:
            return None
        normalisation = theory.LayerNormalisation(norm.theory, norm.position, norm.eps, batch)
        hidden_w = max(self.sigma_w[:-1])  # Fixup's factors aside
        if norm.over_batch and theory.mixing(activation, normalisation, hidden_w) > SLOWEST_MIXING:
            return None
        return theory.predict_stream(
            activation,
            depth=depth,
            sigma_w=self.sigma_w,
            sigma_b=self.sigma_b,
            q0=q0,
            fans=self.fans,
            norm=normalisation,
            skip=residual.theory,
            block=max(residual.block, 1),
            alpha=residual.branch_factor,
        )
