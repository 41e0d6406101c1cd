"""Depth scales of trainability (Schoenholz, Gilmer, Ganguli & Sohl-Dickstein 2017, Deep information propagation).

Information about the input is forgotten over xi_c layers, the gradient grows or shrinks by chi_1 a layer, and
E||delta||^2 follows a straight line in the logarithm. A net learns where information still reaches the output, up to
about 6 xi_c layers; at the critical point chi_1 = 1 that reaches without limit.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import log, sqrt
from typing import Any

import numpy as np

from gradlab import theory
from gradlab.papers.paper import Paper
from gradlab.papers.poole_2016 import SIGMA_B, settled
from gradlab.papers.random_nets import forward_backward, random_nets, unit_inputs
from gradlab.papers.rows import (
    Finding,
    Measured,
    Panel,
    Row,
    Series,
    absolute,
    at_least,
    at_most,
    exactly,
    mean_of,
)
from gradlab.papers.training import last, trained
from gradlab.theory import correlation_fixed_point, slope_map

PAPER = Paper(
    name="schoenholz-2017",
    title="how deep a net can be trained",
    citation="Schoenholz, Gilmer, Ganguli & Sohl-Dickstein 2017, Deep information propagation",
    order=5,
)

SOURCE = "Schoenholz et al. 2017"
TABLE = {  # sigma_w^2 -> chi_1, xi_c
    1.0: (0.75903165, 3.6270),
    1.5: (0.93863627, 15.7910),
    2.0: (1.04766600, 25.2134),
    4.0: (1.34240241, 6.9803),
}
SLOPE = log(TABLE[1.5][0])
TRAINED: dict[str, Any] = {
    "activation": "tanh",
    "width": 64,
    "lr": 0.01,
    "optimizer": "momentum",
    "steps": 300,
    "seeds": 2,
    "record": "every:300",
}


def reproduce(quick: bool) -> Iterator[Finding]:
    yield from _depth_scales()
    yield from _gradient_slope(8 if quick else 20)
    yield from _trainability(quick)


def _depth_scales() -> Iterator[Finding]:
    for square, (chi_1, xi_c) in TABLE.items():
        q, sigma_w = settled(square), sqrt(square)
        yield Row(
            row=f"chi_1, sigma_w^2 = {square:g}",
            statement="factor of E||delta||^2 a layer at the fixed point, tanh, sigma_b^2 = 0.05",
            published=chi_1,
            measured=exactly(float(slope_map("tanh", q, sigma_w=sigma_w))),
            tolerance=absolute(chi_1, 2e-8, "computed independently to 8 decimals"),
            source=f"{SOURCE}, eq. 5",
            provenance="D",
        )
        yield Row(
            row=f"xi_c, sigma_w^2 = {square:g}",
            statement="layers over which a difference between two inputs falls by e, tanh, sigma_b^2 = 0.05",
            published=xi_c,
            measured=exactly(correlation_fixed_point("tanh", q=q, sigma_w=sigma_w, sigma_b=SIGMA_B).xi),
            tolerance=absolute(xi_c, 1e-4, "computed independently to 4 decimals"),
            source=f"{SOURCE}, eq. 9",
            provenance="D",
        )
    critical = theory.critical("tanh", sigma_b=SIGMA_B)
    assert critical.sigma_w is not None
    yield Row(
        row="critical sigma_w^2",
        statement="tanh with sigma_b^2 = 0.05 is critical at sigma_w^2 = 1.76",
        published=1.76,
        measured=exactly(critical.sigma_w**2),
        tolerance=absolute(1.76, 0.005, "half of the last printed digit"),
        source=f"{SOURCE}, section 3 and figure 1",
        provenance="P",
    )
    squares = np.concatenate([np.linspace(1.0, 1.7, 8), np.linspace(1.85, 4.0, 8)])
    scales = [
        correlation_fixed_point("tanh", q=settled(s), sigma_w=sqrt(s), sigma_b=SIGMA_B).xi for s in squares
    ]
    yield Panel(
        "How far information reaches",
        "sigma_w^2",
        "xi_c, layers",
        [Series("tanh", list(squares), scales)],
        log_y=True,
    )


def _gradient_slope(seeds: int) -> Iterator[Finding]:
    depth, width = 60, 300
    init = f"gaussian:sigma_w={sqrt(1.5)!r}:sigma_b={SIGMA_B!r}"
    mlp = random_nets("tanh", init, depth=depth, width=width, seeds=seeds)
    delta = forward_backward(mlp, unit_inputs(mlp, 8)).delta_rms()[:, :depth]
    layers = np.arange(1, depth + 1)
    settled_part = layers > 10  # q has reached its fixed point
    slopes = [np.polyfit(-layers[settled_part], np.log(each[settled_part] ** 2), 1)[0] for each in delta]
    yield Row(
        row="slope of log delta^2",
        statement="log E||delta||^2 against depth is a line of slope log chi_1 = -0.0633 (sigma_w^2 = 1.5, 60 layers)",
        published=SLOPE,
        measured=mean_of(slopes),
        tolerance=absolute(
            SLOPE,
            0.012,
            "E log lies below log E by about 5 / (2 * 300), and 3 standard errors of 8 nets or more",
        ),
        source=f"{SOURCE}, section 4, figure 4",
        provenance="D",
    )
    theory_line = np.exp((layers - depth) * -SLOPE)
    yield Panel(
        "Gradient on its way down",
        "layer",
        "delta^2 over the top layer's",
        [
            Series(
                "nets (geometric mean)",
                list(layers),
                list(np.exp(2 * np.log(delta / delta[:, -1:]).mean(axis=0))),
            ),
            Series("chi_1 a layer", list(layers), list(1 / theory_line)),
        ],
        log_y=True,
    )


def _trainability(quick: bool) -> Iterator[Row]:
    settings = {**TRAINED, "seeds": 1, "steps": 150, "record": "every:150"} if quick else TRAINED
    nets = (
        (30, 1.76, "critical: 30 layers learn", at_least(0.7, "well above guessing, 0.1")),
        (150, 1.3, "ordered, 20 xi_c deep: 150 layers stay at chance", at_most(0.2, "twice guessing, 0.1")),
        (
            20,
            1.3,
            "ordered, but only 3 xi_c deep: 20 layers learn",
            at_least(0.7, "well above guessing, 0.1"),
        ),
    )
    for depth, square, statement, tolerance in nets:
        init = f"gaussian:sigma_w={sqrt(square)!r}:sigma_b={SIGMA_B!r}"
        accuracy = last(trained(depth=depth, init=init, **settings), "val_accuracy")
        yield Row(
            row=f"{depth} layers at sigma_w^2 = {square:g}",
            statement=f"{statement} (digits, width 64)",
            published="learns" if tolerance.low > 0 else "does not learn",
            measured=mean_of(accuracy) if len(accuracy) > 1 else Measured(accuracy[0]),
            tolerance=tolerance,
            source=f"{SOURCE}, figure 5",
            provenance="P",
        )
