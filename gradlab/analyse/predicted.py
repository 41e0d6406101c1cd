"""The mean-field prediction of a trained cell: from the initialiser it used and the inputs it saw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradlab import activations, theory
from gradlab.activations import Activation
from gradlab.config.plan import Cell
from gradlab.parts import inits, norms, residuals
from gradlab.parts.norms import Norm
from gradlab.parts.residuals import Residual
from gradlab.store.stack_result import StackResult
from gradlab.theory import Prediction, StreamPrediction

Array = NDArray[np.float64]

SLOWEST_MIXING = 0.95  # tanh has 0.93 and comes within 3 % a layer on real data, sigmoid 0.98 and does not


def predicted_delta(cell: Cell, result: StackResult) -> Array | None:
    """delta_rms at step 0 of every layer, [replica, layer], the readout NaN; None where the theory is silent.

    Anchored at the readout's measured delta_rms, which no random-matrix argument gives, and fed with the mean square
    of each input of the replica's first batch. No prediction for softmax, initialisers without a variance, the
    residual scheme `post`, a constant bias beside a norm or residual scheme, and where `theory.normed` has none.
    Under batch norm the prediction is that of its fixed point, where the samples of a batch are independent: layer 1,
    which normalises raw inputs, has none, nor has an activation that leaves the batch about as alike as they are.
    """
    net = _Net.of(cell, result)
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
    if net.norm.name == "batch":
        predicted[:, 0] = np.nan
    return predicted


def predicted_jacobian(cell: Cell, result: StackResult, x: Array) -> Array | None:
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
    net = _Net.of(cell, result)
    if net is None or net.norm.name == "batch" or net.residual.name != "none":
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

    activation: Activation
    norm: Norm
    residual: Residual
    depth: int
    fans: list[tuple[int, int]]
    sigma_w: list[float]
    sigma_b: list[float]
    bias: float

    @classmethod
    def of(cls, cell: Cell, result: StackResult) -> _Net | None:
        """None where no theory speaks about the activation or the initialiser."""
        network = cell.network
        activation = activations.get(network.activation)
        init = inits.get(network.init, activation)
        if not (activation.elementwise and init.predicted):
            return None
        assert init.sigma_w is not None
        places = result.layers.places
        fans = list(zip(places["fan_in"], places["fan_out"], strict=True))
        residual = residuals.get(network.residual, network.depth)
        factors = [residual.weight_factor(layer, network.depth) for layer in range(1, network.depth + 1)]
        return cls(
            activation,
            norms.get(network.norm),
            residual,
            network.depth,
            fans,
            [init.sigma_w(*fan) * factor for fan, factor in zip(fans, [*factors, 1.0], strict=True)],
            [init.sigma_b(*fan) for fan in fans],
            init.bias,
        )

    @property
    def plain(self) -> bool:
        return self.norm.name == "none" and self.residual.name == "none"

    def predict(self, q0: Array, batch: int) -> Prediction | StreamPrediction | None:
        """The prediction for inputs of mean squares q0, in batches of `batch`."""
        if self.plain:
            return theory.predict(
                self.activation,
                depth=self.depth,
                sigma_w=self.sigma_w,
                sigma_b=self.sigma_b,
                bias=self.bias,
                q0=q0,
                fans=self.fans,
            )
        skip = SKIPS[self.residual.name]
        if self.bias != 0 or skip is None:
            return None
        norm = theory.LayerNormalisation(self.norm.name, self.norm.position, self.norm.eps, batch)
        hidden_w = max(self.sigma_w[:-1])  # Fixup's factors aside
        if norm.name == "batch" and theory.mixing(self.activation, norm, hidden_w) > SLOWEST_MIXING:
            return None
        return theory.predict_stream(
            self.activation,
            depth=self.depth,
            sigma_w=self.sigma_w,
            sigma_b=self.sigma_b,
            q0=q0,
            fans=self.fans,
            norm=norm,
            skip=skip,
            block=self.residual.block,
            alpha=self.residual.branch_factor(self.depth),
        )


SKIPS: dict[str, theory.Skip | None] = {
    "none": "none",
    "pre": "sum",
    "scaled": "sum",
    "skipinit": "sum",
    "fixup": "sum",
    "rezero": "rezero",
    "post": None,
}
