"""Why early layers learn slowly (Nielsen 2015, Neural networks and deep learning, chapter 5).

Sigmoid layers of 30 units, weights N(0, 1 / fan_in), biases N(0, 1): the book measures each layer's speed, the norm
of the gradient of its biases over the training images, and finds each layer about five times slower than the next.
The mean field says why: delta_rms is multiplied by 0.205 a layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import sqrt
from typing import Any

import numpy as np

from gradlab import theory
from gradlab.papers.paper import Paper
from gradlab.papers.rows import Finding, Panel, Row, Series, absolute, between, exactly, mean_of
from gradlab.papers.training import trained

PAPER = Paper(
    name="nielsen-2015",
    title="why early layers learn slowly",
    citation="Nielsen 2015, Neural networks and deep learning, chapter 5",
    order=16,
)

SOURCE = "Nielsen 2015, chapter 5"
SPEEDS = {2: (0.07, 0.31), 3: (0.012, 0.060, 0.283), 4: (0.003, 0.017, 0.070, 0.285)}
SETTINGS: dict[str, Any] = {
    "activation": "sigmoid",
    "width": 30,
    "init": "gaussian:sigma_w=1:sigma_b=1",
    "loss": "mse",
    "steps": 0,
    "batch_size": 256,
}


def reproduce(quick: bool) -> Iterator[Finding]:
    point = theory.fixed_points(theory.curve("sigmoid"), 1.0, 1.0).points[0]
    factor = sqrt(float(theory.slope_map("sigmoid", point.q, sigma_w=1.0)))
    yield Row(
        row="factor of the mean field",
        statement="factor of delta_rms a layer at the fixed point of sigmoid, sigma_w = sigma_b = 1",
        published=0.20484,
        measured=exactly(factor),
        tolerance=absolute(0.20484, 5e-6, "half of the last digit of an independent quadrature"),
        source=SOURCE,
        provenance="D",
    )
    result = trained(depth=list(SPEEDS), seeds=8 if quick else 24, **SETTINGS)
    series = []
    for depth, printed in SPEEDS.items():
        cell = result.layers[(result.layers["depth"] == depth) & (result.layers["layer"] <= depth)]
        speed = cell.pivot(index="seed", columns="layer", values="bias_grad_norm").to_numpy()
        ratio = (speed[:, 0] / speed[:, -1]) ** (1 / (depth - 1))
        book = (printed[0] / printed[-1]) ** (1 / (depth - 1))
        yield Row(
            row=f"{depth} hidden layers",
            statement="speed of a layer over that of the next, geometric mean from layer 1 to the last hidden (digits)",
            published=book,
            measured=mean_of(ratio),
            tolerance=between(
                0.17, 0.25, "the mean field's 0.205 give or take 2 / sqrt(30 units) over a layer or more"
            ),
            source=f"{SOURCE}, 'What's causing the vanishing gradient problem?'",
            provenance="P",
        )
        layers = list(range(1, depth + 1))
        median = np.median(speed / speed[:, -1:], axis=0)
        series += [
            Series(f"{depth} layers, gradlab", layers, list(median)),
            Series(f"{depth} layers, book", layers, [value / printed[-1] for value in printed], "points"),
        ]
    yield Panel(
        "Speed of learning at birth", "layer", "speed over the last hidden layer's", series, log_y=True
    )
