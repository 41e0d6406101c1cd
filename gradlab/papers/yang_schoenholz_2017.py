"""Skip connections turn exponentials into powers and stretched exponentials (Yang & Schoenholz 2017).

For x_l = x_(l-1) + W phi(x_(l-1)) without biases the variance p grows by sigma_w^2 E[phi(x)^2] and the squared
gradient, going down, by 1 + sigma_w^2 E[phi'(x)^2] at each block. tanh saturates, so p ~ sigma_w^2 l; then E[phi'^2]
falls as (4 / 3) / sqrt(2 pi p), and log of the squared gradient's growth is A sqrt(l) with A = (4 / 3) sqrt(2 / pi)
sigma_w. ReLU stays exponential: (1 + sigma_w^2 / 2)^l. A power a < 1 of ReLU gives p ~ l^(1 / (1 - a)).
"""

from __future__ import annotations

from collections.abc import Iterator
from math import log, pi, sqrt

import numpy as np
from numpy.typing import ArrayLike

from gradlab import theory
from gradlab.papers.paper import Paper
from gradlab.papers.random_nets import Array, forward_backward, log_noise, random_nets, unit_inputs
from gradlab.papers.rows import Finding, Panel, Row, Series, absolute, exactly, mean_of, relative

PAPER = Paper(
    name="yang-schoenholz-2017",
    title="residual nets grow as powers, not as exponentials",
    citation="Yang & Schoenholz 2017, Mean field residual networks: on the edge of chaos",
    order=34,
)

SOURCE = "Yang & Schoenholz 2017"
SIGMA_W = 1.5
LOSS = 4 / 3 * sqrt(2 / pi)  # A / sigma_w; the integral of (1 - tanh^2)^2 is 4 / 3


def stream(activation: str, sigma_w: float, depth: int) -> tuple[Array, Array]:
    """Mean-field p and log of the squared gradient's growth from the top, both [depth + 1], p_0 = 1.

    Exact up to layer 64, then in steps of a 64th of the layer's number: both change slowly by then.
    """
    layers, p, growth = [0], [1.0], [0.0]
    while layers[-1] < depth:
        step = min(max(1, layers[-1] // 64), depth - layers[-1])
        (square, slope) = _moments(activation, p[-1])
        middle = p[-1] + step / 2 * sigma_w**2 * square
        if step > 1:
            square, slope = _moments(activation, middle)
        p.append(p[-1] + step * sigma_w**2 * square)
        growth.append(growth[-1] + step * float(np.log1p(sigma_w**2 * slope)))
        layers.append(layers[-1] + step)
    grid = np.arange(depth + 1)
    return np.interp(grid, layers, p), np.interp(grid, layers, growth)


def _moments(activation: str, q: float) -> tuple[float, float]:
    found = theory.moments(activation, [q])
    return float(found.phi_sq[0]), float(found.slope_sq[0])


def rectified_power(power: float, depth: int) -> Array:
    """p of each block for the power of ReLU at sigma_w = 1, [depth + 1]: E[phi^2] is p^power times that at p = 1."""
    (square,), _ = theory.expectation("relu", [1.0], of=lambda phi, slope: phi ** (2 * power))
    p = np.ones(depth + 1)
    for layer in range(depth):
        p[layer + 1] = p[layer] + square * p[layer] ** power
    return p


def slope_between(x: ArrayLike, y: ArrayLike, low: int, high: int) -> float:
    x, y = np.asarray(x), np.asarray(y)
    return float((y[high] - y[low]) / (x[high] - x[low]))


def reproduce(quick: bool) -> Iterator[Finding]:
    depth = 4_000 if quick else 40_000
    layers = np.arange(depth + 1)
    p, growth = stream("tanh", SIGMA_W, depth)
    slack = 2 / sqrt(depth)
    yield Row(
        row="tanh, slope of p",
        statement="the stream's variance grows linearly: p / (sigma_w^2 l)",
        published=1.0,
        measured=exactly(slope_between(layers * SIGMA_W**2, p, depth // 4, depth)),
        tolerance=absolute(1.0, slack, "1 - E tanh^2 is sqrt(2 / (pi p)): of order l^(-1/2)"),
        source=f"{SOURCE}, abstract: polynomial; derived for x + W phi(x)",
        provenance="D",
    )
    yield Row(
        row="tanh, growth of the gradient",
        statement="log of the squared gradient's growth is A sqrt(l), A = (4/3) sqrt(2/pi) sigma_w: A / sigma_w",
        published=LOSS,
        measured=exactly(slope_between(np.sqrt(layers) * SIGMA_W, growth, depth // 4, depth)),
        tolerance=relative(LOSS, slack + log(depth) / sqrt(depth), "the corrections are of order log(l)"),
        source=f"{SOURCE}, abstract: subexponential; derived for x + W phi(x)",
        provenance="D",
    )
    yield Row(
        row="tanh, exponent of the gradient",
        statement="the growth's log is a power of l with exponent 1/2, where without skips it is 1",
        published=0.5,
        measured=exactly(
            slope_between(np.log(np.maximum(layers, 1)), np.log(np.maximum(growth, 1e-9)), depth // 4, depth)
        ),
        tolerance=absolute(0.5, log(depth) / sqrt(depth), "the corrections are of order log(l) / sqrt(l)"),
        source=f"{SOURCE}, abstract: subexponential; derived for x + W phi(x)",
        provenance="D",
    )
    for power in (0.5, 0.75):
        grown = rectified_power(power, depth)
        expected = 1 / (1 - power)
        yield Row(
            row=f"ReLU^{power:g}, exponent of p",
            statement="the stream of the power a of ReLU grows as l^(1 / (1 - a))",
            published=expected,
            measured=exactly(slope_between(np.log(np.maximum(layers, 1)), np.log(grown), depth // 4, depth)),
            tolerance=relative(
                expected, 40 / depth, "p^(1 - a) is linear from p_0 = 1: the share of p_0 is of order 10 / l"
            ),
            source=f"{SOURCE}, abstract: powers of the ReLU; p' = sigma_w^2 E[z^2a] / 2",
            provenance="D",
        )
    yield from _nets(150 if quick else 400)
    kept = np.unique(np.geomspace(1, depth, 60).astype(int))
    yield Panel(
        "Growth of the squared gradient, mean field",
        "blocks",
        "log of the growth",
        [
            Series("tanh", list(kept), list(growth[kept])),
            Series("A sqrt(l)", list(kept), list(LOSS * SIGMA_W * np.sqrt(kept))),
            Series("ReLU", list(kept[kept < 400]), list(np.log1p(SIGMA_W**2 / 2) * kept[kept < 400])),
        ],
        log_x=True,
        log_y=True,
    )


def _nets(width: int) -> Iterator[Finding]:
    depth = 64
    init = f"gaussian:sigma_w={SIGMA_W!r}"
    for activation in ("tanh", "relu"):
        mlp = random_nets(activation, init, depth=depth, width=width, seeds=4, residual="pre")
        found = forward_backward(
            mlp, unit_inputs(mlp, 16, mean_square=1 / SIGMA_W**2)
        )  # the stem's variance is 1
        growth = 2 * np.log(found.delta_rms()[:, 1] / found.delta_rms()[:, depth - 1])
        _, expected = stream(activation, SIGMA_W, depth)
        # delta of a block's W is the stream's gradient above it: between layers 2 and 64 lie blocks 3 to 64
        between = float(expected[depth - 1] - expected[1])
        noise = log_noise(-np.expm1(-np.diff(expected[1:depth])), width=width, nets=4)
        yield Row(
            row=f"nets, {activation}",
            statement=f"log of the squared gradient's growth from layer {depth} to 2 in nets of width {width}",
            published=between,
            measured=mean_of(growth),
            tolerance=absolute(
                between, noise, "3 standard errors of 4 nets: log varies by 5 / width a layer at most"
            ),
            source=f"{SOURCE}; mean field of this order of operations",
            provenance="D",
        )
