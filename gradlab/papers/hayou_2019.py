"""The edge of chaos for smooth activations (Hayou, Doucet & Rousseau 2019, On the impact of the activation function).

For every sigma_b there is one sigma_w at which chi_1 = 1; ReLU's edge is the single point (0, sqrt(2)), while tanh
and ELU have a whole curve, on which the gradient neither grows nor shrinks.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import sqrt

import numpy as np

from gradlab import theory
from gradlab.papers.paper import Paper
from gradlab.papers.random_nets import forward_backward, random_nets, unit_inputs
from gradlab.papers.rows import Finding, Panel, Row, Series, absolute, exactly, mean_of, relative

PAPER = Paper(
    name="hayou-2019",
    title="the edge of chaos of smooth activations",
    citation="Hayou, Doucet & Rousseau 2019, On the impact of the activation function on deep neural networks "
    "training",
    order=14,
)

SOURCE = "Hayou, Doucet & Rousseau 2019"
SIGMA_B = 0.2
EDGE = {"tanh": 1.30414584, "elu": 1.22925112}


def edge(activation: str, sigma_b: float) -> float:
    """The critical sigma_w; nan without one."""
    found = theory.critical(activation, sigma_b=sigma_b).sigma_w
    return float("nan") if found is None else found


def reproduce(quick: bool) -> Iterator[Finding]:
    for activation, expected in EDGE.items():
        yield Row(
            row=f"edge of {activation} at sigma_b = 0.2",
            statement="the critical sigma_w, where chi_1 = 1 at the fixed point",
            published=expected,
            measured=exactly(edge(activation, SIGMA_B)),
            tolerance=absolute(expected, 2e-8, "computed independently to 8 decimals"),
            source=f"{SOURCE}, definition 2",
            provenance="D",
        )
    yield Row(
        row="edge of tanh, read off the figure",
        statement="the figure's legend, as remembered: (sigma_b, sigma_w) = (0.2, 1.298)",
        published=1.298,
        measured=exactly(edge("tanh", SIGMA_B)),
        tolerance=None,
        source=f"{SOURCE}, figures of section 4",
        provenance="R",
    )
    yield Row(
        row="edge of ReLU",
        statement="ReLU's edge of chaos is the one point sigma_b = 0, sigma_w = sqrt(2)",
        published=sqrt(2),
        measured=exactly(edge("relu", 0.0)),
        tolerance=absolute(sqrt(2), 1e-9, "quadrature error"),
        source=f"{SOURCE}, proposition 1",
        provenance="P",
    )
    width, depth = (300, 20) if quick else (600, 20)
    for activation in EDGE:
        mlp = random_nets(activation, f"critical:sigma_b={SIGMA_B}", depth=depth, width=width, seeds=4)
        delta = forward_backward(mlp, unit_inputs(mlp, 16)).delta_rms()
        yield Row(
            row=f"gradient on {activation}'s edge",
            statement=f"factor of delta^2 a layer between layers 6 and the readout (width {width})",
            published=1.0,
            measured=mean_of((delta[:, 5] / delta[:, depth]) ** (2 / (depth - 5))),
            tolerance=relative(1.0, 30 / width, f"3 % a layer at width 1000, here {width}"),
            source=f"{SOURCE}, definition 2",
            provenance="D",
        )
    sigma_b = np.linspace(0.02, 1.0, 6 if quick else 15)
    yield Panel(
        "Edge of chaos",
        "sigma_b",
        "critical sigma_w",
        [Series(name, list(sigma_b), [edge(name, b) for b in sigma_b]) for name in EDGE],
    )
