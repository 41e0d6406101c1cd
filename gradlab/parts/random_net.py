"""The random net of a cell as the theory takes it: what the mean field says of it before any training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradlab import theory
from gradlab.activations import Activation
from gradlab.parts.inits import Init
from gradlab.parts.norms import Norm
from gradlab.parts.residuals import Residual
from gradlab.theory import Prediction, StreamPrediction

Array = NDArray[np.float64]

SLOWEST_MIXING = 0.95  # tanh has 0.93 and comes within 3 % a layer on real data, sigmoid 0.98 and does not


@dataclass(frozen=True)
class RandomNet:
    """fans: (fan_in, fan_out) of every linear map, the readout's last; sigma_w, sigma_b: one a linear map."""

    activation: Activation
    norm: Norm
    residual: Residual
    fans: Sequence[tuple[int, int]]
    sigma_w: Sequence[float]
    sigma_b: Sequence[float]
    bias: float

    @classmethod
    def of(
        cls,
        activation: Activation,
        init: Init,
        norm: Norm,
        residual: Residual,
        fans: Sequence[tuple[int, int]],
    ) -> RandomNet | None:
        """None where no theory speaks about the activation or the initialiser."""
        if not (activation.elementwise and init.predicted):
            return None
        assert init.sigma_w is not None
        hidden = (residual.weight_factor(layer) for layer in range(1, len(fans)))
        factors = [*hidden, init.readout_factor(fans[-1][0])]
        sigma_w = [init.sigma_w(*fan) * factor for fan, factor in zip(fans, factors, strict=True)]
        return cls(activation, norm, residual, fans, sigma_w, [init.sigma_b(*fan) for fan in fans], init.bias)

    @property
    def plain(self) -> bool:
        return self.norm.none and self.residual.none

    def predict(self, q0: Array, batch: int) -> Prediction | StreamPrediction | None:
        """The prediction for inputs of mean squares q0, in batches of `batch`; None where the theory is silent."""
        depth = len(self.fans) - 1
        if self.plain:
            return theory.predict(
                self.activation,
                depth=depth,
                sigma_w=self.sigma_w,
                sigma_b=self.sigma_b,
                bias=self.bias,
                q0=q0,
                fans=self.fans,
            )
        if self.bias != 0 or self.norm.theory is None or self.residual.theory is None:
            return None
        norm = theory.LayerNormalisation(self.norm.theory, self.norm.position, self.norm.eps, batch)
        hidden_w = max(self.sigma_w[:-1])  # Fixup's factors aside
        if self.norm.over_batch and theory.mixing(self.activation, norm, hidden_w) > SLOWEST_MIXING:
            return None
        return theory.predict_stream(
            self.activation,
            depth=depth,
            sigma_w=self.sigma_w,
            sigma_b=self.sigma_b,
            q0=q0,
            fans=self.fans,
            norm=norm,
            skip=self.residual.theory,
            block=max(self.residual.block, 1),
            alpha=self.residual.branch_factor,
        )
