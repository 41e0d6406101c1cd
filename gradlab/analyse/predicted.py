"""The mean-field prediction of a trained cell: from the initialiser it used and the inputs it saw."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gradlab import activations, theory
from gradlab.network import inits
from gradlab.plan import Cell
from gradlab.train.result import StackResult


def predicted_delta(cell: Cell, result: StackResult) -> NDArray[np.float64] | None:
    """delta_rms at step 0 of every layer, [replica, layer], the readout NaN; None where the theory is silent.

    Anchored at the readout's measured delta_rms, which no random-matrix argument gives, and fed with the mean square
    of each input of the replica's first batch. No prediction for softmax, norms, residual schemes, and initialisers
    without a variance.
    """
    network = cell.network
    activation = activations.get(network.activation)
    init = inits.get(network.init, activation)
    plain = network.norm == "none" and network.residual == "none"
    if not (activation.elementwise and init.predicted and plain and len(result.layers)):
        return None
    assert init.sigma_w is not None
    fans = list(zip(result.fan_in, result.fan_out, strict=True))
    sigma_w = [init.sigma_w(*fan) for fan in fans]
    sigma_b = [init.sigma_b(*fan) for fan in fans]
    top = result.layers[0, -1, :, result.layer_columns.index("delta_rms")]
    rows = []
    for replica in range(len(result.seeds)):
        prediction = theory.predict(
            activation,
            depth=network.depth,
            sigma_w=sigma_w,
            sigma_b=sigma_b,
            bias=init.bias,
            q0=result.input_sq[replica],
            fans=fans,
        )
        rows.append(np.append(theory.delta_rms(prediction, top[replica])[:-1], np.nan))
    return np.array(rows)
