"""What homogeneity conserves (Du, Hu & Lee 2018, Algorithmic regularization in learning deep homogeneous models).

Scaling one layer's weights of a bias-free linear, ReLU or leaky ReLU net scales its output by the same factor,
whichever layer it is. So the sum of W * dL/dW over a layer is one number for all layers: the sharpest test there is
of anything that reads gradients. It is also why weight gradients can look flat while delta vanishes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from gradlab.papers.paper import Paper
from gradlab.papers.random_nets import forward_backward, random_nets, unit_inputs
from gradlab.papers.rows import Finding, Panel, Row, Series, absolute, at_most, exactly, relative

PAPER = Paper(
    name="du-2018",
    title="sum(W dL/dW) is one number for all layers",
    citation="Du, Hu & Lee 2018, Algorithmic regularization in learning deep homogeneous models",
    order=3,
)

SOURCE = "Du, Hu & Lee 2018"
DEPTH, WIDTH = 20, 64


def reproduce(quick: bool) -> Iterator[Finding]:
    yield from _spread()
    yield from _flat_weight_gradients()


def _spread() -> Iterator[Row]:
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-4)):
        for activation in ("linear", "relu", "leaky_relu:negative_slope=0.2"):
            mlp = random_nets(activation, "lecun", depth=DEPTH, width=WIDTH, seeds=3, dtype=dtype)
            found = forward_backward(mlp, unit_inputs(mlp, 32), weights=True)
            pairs = zip(mlp.linears, found.weight_gradients, strict=True)
            products = [linear.weight.detach().double() * gradient.double() for linear, gradient in pairs]
            sums = torch.stack([each.sum(dim=(1, 2)) for each in products], dim=1)
            # relative to the terms of the sum: the sum itself may happen to be small
            scale = torch.stack([each.flatten(1).norm(dim=1) for each in products], dim=1).max(dim=1).values
            spread = ((sums.amax(dim=1) - sums.amin(dim=1)) / torch.maximum(sums[:, 0].abs(), scale)).max()
            yield Row(
                row=f"sum of W dL/dW, {activation.partition(':')[0]}, {dtype}".replace("torch.", ""),
                statement="the sum of W * dL/dW is the same number in every layer: largest relative spread",
                published=0.0,
                measured=exactly(float(spread)),
                tolerance=absolute(0.0, tolerance, f"rounding of {dtype} over {DEPTH} layers"),
                source=f"{SOURCE}, theorem 2.1 and its proof",
                provenance="D",
            )


def _flat_weight_gradients() -> Iterator[Finding]:
    mlp = random_nets("relu", "lecun", depth=DEPTH, width=300, seeds=3)
    found = forward_backward(mlp, unit_inputs(mlp, 32), weights=True)
    delta = np.exp(np.log(found.delta_rms()).mean(axis=0))[:DEPTH]
    norms = [float(gradient.double().norm()) for gradient in found.weight_gradients][1:DEPTH]
    expected = 2.0 ** (-(DEPTH - 2) / 2)
    yield Row(
        row="delta of layer 2 over layer 20",
        statement="ReLU at sigma_w^2 = 1: delta shrinks by 2^(-1/2) a layer on its way down",
        published=expected,
        measured=exactly(delta[1] / delta[-1]),
        tolerance=relative(
            expected, 0.35, "exp(3 sqrt(5 * 18 / 300 / 3 / 4)): the spread of 3 nets of width 300"
        ),
        source="He et al. 2015, section 2.2",
        provenance="D",
    )
    yield Row(
        row="weight gradients stay flat",
        statement="the norms of the weight gradients of layers 2 to 20 stay within a factor of 2 of each other",
        published="flat",
        measured=exactly(max(norms) / min(norms)),
        tolerance=at_most(2.0, "the signal shrinks upward as delta does downward: the product is constant"),
        source=f"{SOURCE}; Glorot & Bengio 2010, figure 7",
        provenance="D",
    )
    layers = list(range(2, DEPTH + 1))
    yield Panel(
        "ReLU at sigma_w^2 = 1",
        "layer",
        "relative to layer 20",
        [
            Series("delta_rms", layers, list(delta[1:] / delta[-1])),
            Series("weight gradient norm", layers, [norm / norms[-1] for norm in norms]),
        ],
        log_y=True,
    )
