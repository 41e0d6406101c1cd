"""Layer norm before the activation and skip connections: critical for any initialisation (Doshi, He & Gromov 2023).

The averaged partial Jacobian norm J from layer k to layer l grows by chi = 1 + sigma_w^2 E[phi'^2] / K at a block x +
W phi(LN(x)), where K = sigma_w^2 (m + (l - 1) E[phi^2]) is the stream's variance: sigma_w cancels, and the product
over layers is a power of l with the exponent E[phi'^2] / E[phi^2]. Without the norm it is exponential in sigma_w^2,
without the skip exponential in E[phi'^2] / E[phi^2].
"""

from __future__ import annotations

from collections.abc import Iterator
from math import log

import numpy as np

from gradlab import theory
from gradlab.papers.paper import Paper
from gradlab.papers.random_nets import Array, forward_backward, log_noise, random_nets, unit_inputs
from gradlab.papers.rows import Finding, Panel, Row, Series, absolute, mean_of

PAPER = Paper(
    name="doshi-2023",
    title="layer norm and skip connections are critical for any initialisation",
    citation="Doshi, He & Gromov 2023, Critical initialization of wide and deep neural networks",
    order=33,
)

SOURCE = "Doshi, He & Gromov 2023"
DEPTH = 40
SCALES = (0.5, 1.0, 3.0)


def moments(activation: str) -> tuple[float, float]:
    """E[phi^2] and E[phi'^2] at N(0, 1)."""
    (square,), _ = theory.expectation(activation, [1.0])
    (slope,), _ = theory.expectation(activation, [1.0], of=lambda phi, slope: slope**2)
    return float(square), float(slope)


def growth(activation: str, sigma_w: float, *, width: int, norm: str, residual: str) -> Array:
    """log of the averaged partial Jacobian norm from each layer to layer DEPTH, [net, layer]: by one cotangent."""
    init = f"gaussian:sigma_w={sigma_w!r}"
    mlp = random_nets(activation, init, depth=DEPTH, width=width, seeds=4, norm=norm, residual=residual)
    delta = forward_backward(mlp, unit_inputs(mlp, 16)).delta_rms()[:, :DEPTH]
    jacobian: Array = 2 * np.log(delta / delta[:, -1:])
    return jacobian


def reproduce(quick: bool) -> Iterator[Finding]:
    width = 150 if quick else 400
    why = (
        "3 standard errors of 4 nets whose log ||delta||^2 varies by 5 / width a layer at most, and its shift"
    )
    lines = []
    for activation in ("relu", "tanh"):
        square, slope = moments(activation)
        layers = np.arange(2, DEPTH)
        branch = slope / (1 + (layers - 1) * square)
        expected = float(np.log1p(branch).sum())
        noise = log_noise(branch / (1 + branch), width=width, nets=4)
        for sigma_w in SCALES:
            found = growth(activation, sigma_w, width=width, norm="layer", residual="pre")
            lines.append(
                Series(f"{activation}, sigma_w = {sigma_w:g}", list(range(1, DEPTH + 1)), list(found.mean(0)))
            )
            yield Row(
                row=f"both, {activation}, sigma_w = {sigma_w:g}",
                statement=f"log of the partial Jacobian norm from layer 2 to {DEPTH}: the same for every sigma_w",
                published=expected,
                measured=mean_of(found[:, 1]),
                tolerance=absolute(expected, noise, why),
                source=f"{SOURCE}, abstract; recurrence with K linear in the layer",
                provenance="D",
            )
    square, slope = moments("tanh")
    alone = (DEPTH - 2) * log(slope / square)
    noise = log_noise(np.ones(DEPTH - 2), width=width, nets=4)
    found = growth("tanh", 1.0, width=width, norm="layer", residual="none")
    lines.append(Series("tanh without skips", list(range(1, DEPTH + 1)), list(found.mean(axis=0))))
    yield Row(
        row="layer norm alone, tanh",
        statement="without skip connections the Jacobian norm is exponential: (E phi'^2 / E phi^2) a layer",
        published=alone,
        measured=mean_of(found[:, 1]),
        tolerance=absolute(alone, noise, why),
        source=f"{SOURCE}, recurrence without skip connections",
        provenance="D",
    )
    found = growth("relu", 1.0, width=width, norm="none", residual="pre")
    lines.append(Series("ReLU without norm", list(range(1, DEPTH + 1)), list(found.mean(axis=0))))
    skips = (DEPTH - 2) * log(1.5)
    noise = log_noise(np.full(DEPTH - 2, 1 / 3), width=width, nets=4)
    yield Row(
        row="skip connections alone, ReLU",
        statement="without the norm it is exponential: 1 + sigma_w^2 / 2 a layer",
        published=skips,
        measured=mean_of(found[:, 1]),
        tolerance=absolute(skips, noise, why),
        source=f"{SOURCE}, recurrence without norm",
        provenance="D",
    )
    yield Panel("Partial Jacobian norm to the last layer", "layer", "log J", lines)
