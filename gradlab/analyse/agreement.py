"""Measured against predicted delta of one cell at step 0, and whether finite width explains the difference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gradlab import activations, theory
from gradlab.base.errors import ConfigError
from gradlab.parts import inits
from gradlab.theory import Prediction

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Agreement:
    """One entry a hidden layer, layer 1 first.

    layers:    layer numbers
    ratio:     measured / predicted delta_rms, geometric mean over seeds; NaN where nothing is predicted
    low, high: the 4 sigma band of that ratio for nets of this width, depth and number of seeds (gradlab.theory.band);
               NaN where the theory states none
    """

    layers: NDArray[np.int64]
    ratio: Array
    low: Array
    high: Array

    @property
    def outside(self) -> NDArray[np.bool_]:
        """Where finite width does not explain the difference."""
        return (self.ratio < self.low) | (self.ratio > self.high)


def agreement(layers: pd.DataFrame) -> Agreement | None:
    """Of the rows of one cell in layers.csv; None where nothing is predicted.

    The band is the table's own, of one net, where it has one. Else it is that of a plain net; its inputs count as
    equally large, of the mean square that layer 1's z shows.
    """
    first = layers[layers["step"] == layers["step"].min()]
    if "delta_rms_predicted" not in first or not first["delta_rms_predicted"].notna().any():
        return None
    hidden = first[first["layer"] < first["layer"].max()].sort_values("layer")
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(hidden["delta_rms"] / hidden["delta_rms_predicted"])
        ratio = np.exp(logs.groupby(hidden["layer"]).mean())
    numbers = ratio.index.to_numpy(dtype=np.int64)
    low = high = np.full(len(ratio), np.nan)
    prediction = _plain_prediction(first)
    if "delta_rms_band" in hidden and hidden["delta_rms_band"].notna().any():
        high = hidden.groupby("layer")["delta_rms_band"].max().to_numpy(dtype=np.float64)
        low = 1 / high
    elif prediction is not None:
        found = theory.band(prediction, replicas=first["seed"].nunique(), reference="output")
        low, high = found.low, found.high
    return Agreement(numbers, ratio.to_numpy(dtype=np.float64), low, high)


def _plain_prediction(first: pd.DataFrame) -> Prediction | None:
    """The prediction whose band applies, from the cell columns and the fans; None for anything but a plain net."""
    row = first.iloc[0]
    activation = activations.registered(str(row["activation"]))
    if activation is None or (row["norm"], row["residual"]) != ("none", "none"):
        return None  # a table must not make gradlab import the user's module that it names
    try:
        init = inits.get(str(row["init"]), activation)
    except ConfigError:
        return None
    if not (init.predicted and activation.elementwise):
        return None
    assert init.sigma_w is not None
    one = first[first["seed"] == first["seed"].iloc[0]].sort_values("layer")
    fans = [(int(i), int(o)) for i, o in zip(one["fan_in"], one["fan_out"], strict=True)]
    sigma_w = [init.sigma_w(*fan) for fan in fans]
    sigma_w[-1] *= init.readout_factor(fans[-1][0])
    sigma_b = [init.sigma_b(*fan) for fan in fans]
    spread = float((first.loc[first["layer"] == 1, "z_std"] ** 2).mean())
    if not np.isfinite(spread):
        return None
    q0 = max(spread - sigma_b[0] ** 2, 0.0) / sigma_w[0] ** 2
    return theory.predict(
        activation, depth=len(fans) - 1, sigma_w=sigma_w, sigma_b=sigma_b, bias=init.bias, q0=q0, fans=fans
    )
