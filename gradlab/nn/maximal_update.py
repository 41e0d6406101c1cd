"""The rates of the maximal update parametrisation: which part of the learning rate each parameter of a stack gets.

Yang & Hu 2021; the table is that of Yang et al. 2022 (Tensor Programs V) without multipliers, with m = width / base:

| parameter                                    | SGD and momentum | Adam and its like | variance        |
|----------------------------------------------|------------------|-------------------|-----------------|
| weights from the inputs, what is of one unit | m                | 1                 | 1 / fan_in      |
| weights from width to width                  | 1                | 1 / m             | 1 / fan_in      |
| the readout's weights                        | 1 / m            | 1 / m             | base / fan_in^2 |

What is of one unit: biases, a norm's scale and shift, a slope of its own. The readout's bias, factors of branches and
slopes of whole layers do not grow with the width and keep the rate. At the base width everything does.
"""

from __future__ import annotations

from gradlab.nn.mlp import StackedMLP


def rate_factors(mlp: StackedMLP, base: float, *, scale_free: bool) -> list[float]:
    """The factor of the learning rate of each trained parameter, in the order of `mlp.owners()`.

    scale_free: whether the optimiser's step does not depend on the gradient's size, as Adam's
    """
    width = mlp.readout.weight.shape[1]
    m = width / base
    unit, between, readout = (1.0, 1 / m, 1 / m) if scale_free else (m, 1.0, 1 / m)
    known = {
        id(mlp.readout.weight): readout,
        id(mlp.readout.bias): 1.0,
        id(mlp.layers[0].linear.weight): unit,
    }
    for layer in mlp.layers[1:]:
        known[id(layer.linear.weight)] = between

    def factor(parameter: object, shape: tuple[int, ...]) -> float:
        """By its role, else by how many of its axes grow with the width."""
        return known.get(id(parameter), (1.0, unit, between)[min(shape.count(width), 2)])

    # a parameter of the whole stack has the replicas' axis before its own
    return [
        factor(each, tuple(each.shape[1:] if owner is None else each.shape)) for each, owner in mlp.owners()
    ]
