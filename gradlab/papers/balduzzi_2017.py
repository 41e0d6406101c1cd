"""Shattered gradients (Balduzzi, Frean, Leary, Lewis, Ma & McWilliams 2017).

In a deep ReLU net the gradients at two unrelated inputs decorrelate with depth. The paper's rule of thumb is 2^-L;
the mean field gives the product of 1 - theta_l / pi over the layers, theta_l being the angle between the two
pre-activations. It starts at 1/2 for orthogonal inputs, but the layers pull inputs together, so it falls more slowly.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import sqrt

import numpy as np
import torch

from gradlab import theory
from gradlab.papers.paper import Paper
from gradlab.papers.random_nets import Array, random_nets
from gradlab.papers.rows import Finding, Panel, Row, Series, absolute, exactly, mean_of

PAPER = Paper(
    name="balduzzi-2017",
    title="shattered gradients",
    citation="Balduzzi, Frean, Leary, Lewis, Ma & McWilliams 2017, The shattered gradients problem",
    order=18,
)

SOURCE = "Balduzzi et al. 2017"
DEPTH = 5


def predicted(depth: int) -> Array:
    """Correlation of the input gradients for orthogonal inputs, after 1 ... depth layers."""
    c = theory.correlations(theory.predict("relu", depth=depth, sigma_w=sqrt(2)), 0.0)
    layers: Array = np.array([2.0 * theory.pair_means("relu", 1.0, float(each))[1] for each in c])
    result: Array = np.cumprod(layers, dtype=np.float64)
    return result


def measured(depth: int, width: int, seeds: int) -> Array:
    """Cosine between df/dx at orthogonal inputs, mean over pairs: [replica]."""
    mlp = random_nets("relu", "he", depth=depth, width=width, outputs=1, seeds=seeds)
    x = (torch.eye(width)[:16] * sqrt(width)).expand(seeds, -1, -1).clone().requires_grad_(True)
    # the readout's weights are independent of everything below: a fair cotangent
    gradient = torch.autograd.grad(mlp(x).sum(), x)[0].double()
    unit = torch.nn.functional.normalize(gradient, dim=2)
    cosine = unit @ unit.mT
    pairs = ~torch.eye(16, dtype=torch.bool)
    result: Array = cosine[:, pairs].mean(dim=1).numpy()
    return result


def reproduce(quick: bool) -> Iterator[Finding]:
    theory_line = predicted(10)
    yield Row(
        row="mean field, 5 layers",
        statement="product of 1 - theta_l / pi over 5 layers, orthogonal inputs",
        published=0.1046,
        measured=exactly(theory_line[DEPTH - 1]),
        tolerance=absolute(0.1046, 5e-5, "half of the last digit of the closed form"),
        source=f"{SOURCE}, section 3, with Cho & Saul 2009",
        provenance="D",
    )
    width = 256 if quick else 512
    depths = (1, 2, DEPTH) if quick else (1, 2, 3, DEPTH, 8)
    found = {depth: measured(depth, width, 8) for depth in depths}
    for depth in (1, 2, DEPTH):
        expected = float(theory_line[depth - 1])
        yield Row(
            row=f"nets, {depth} layers",
            statement=f"cosine between df/dx at orthogonal inputs, He weights, width {width}",
            published=expected,
            measured=mean_of(found[depth]),
            tolerance=absolute(
                expected, 0.6 / sqrt(width), "half a cosine's own scale, 1 / sqrt(width): 8 nets, 120 pairs"
            ),
            source=f"{SOURCE}, section 3",
            provenance="D",
        )
    yield Row(
        row="the rule 2^-L at 5 layers",
        statement="the paper's 2^-L for feedforward nets, against the same nets: not an invariant of orthogonal inputs",
        published=2.0**-DEPTH,
        measured=mean_of(found[DEPTH]),
        tolerance=None,
        source=f"{SOURCE}, theorem 1",
        provenance="P",
    )
    layers = list(range(1, 11))
    yield Panel(
        "Gradients at orthogonal inputs",
        "layers",
        "correlation",
        [
            Series("mean field", layers, list(theory_line)),
            Series("2^-L", layers, [2.0**-layer for layer in layers]),
            Series("nets", list(depths), [float(found[d].mean()) for d in depths], "points"),
        ],
        log_y=True,
    )
