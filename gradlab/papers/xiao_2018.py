"""10,000 layers (Xiao, Bahri, Sohl-Dickstein, Schoenholz & Pennington 2018, Dynamical isometry ... 10,000-layer).

With biases of variance 2.01e-5 tanh is critical at sigma_w^2 = 1.05, the setting of the paper's deepest nets. The
printed number is rounded; over 10,000 layers that rounding costs two per mille. Random orthogonal weights add what
Gaussian ones lack: no singular value strays.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import sqrt

import numpy as np

from gradlab import theory
from gradlab.papers.paper import Paper
from gradlab.papers.random_nets import forward_backward, random_nets, unit_inputs
from gradlab.papers.rows import Finding, Panel, Row, Series, absolute, between, exactly

PAPER = Paper(
    name="xiao-2018",
    title="tanh at the point that trains 10,000 layers",
    citation="Xiao et al. 2018, Dynamical isometry and a mean field theory of CNNs",
    order=9,
)

SOURCE = "Xiao et al. 2018"
SIGMA_B = sqrt(2.01e-5)
DEPTH = 10_000


def reproduce(quick: bool) -> Iterator[Finding]:
    critical = theory.critical("tanh", sigma_b=SIGMA_B)
    assert critical.sigma_w is not None
    square = critical.sigma_w**2
    yield Row(
        row="critical sigma_w^2",
        statement="tanh with sigma_b^2 = 2.01e-5 is critical at sigma_w^2 = 1.05",
        published=1.05,
        measured=exactly(square),
        tolerance=absolute(1.05, 0.005, "half of the last printed digit"),
        source=f"{SOURCE}, section 4 (figure 4's nets)",
        provenance="P",
    )
    yield Row(
        row="critical sigma_w^2, to 8 digits",
        statement="the same, as the paper's own equations give it",
        published=1.0499956,
        measured=exactly(square),
        tolerance=absolute(1.0499956, 6e-8, "half of the last digit of an independent quadrature"),
        source=f"{SOURCE}, section 2, the mean-field equations",
        provenance="D",
    )
    (point,) = theory.fixed_points(theory.curve("tanh"), sqrt(1.05), SIGMA_B).points
    chi = float(theory.slope_map("tanh", point.q, sigma_w=sqrt(1.05)))
    yield Row(
        row="factor over 10,000 layers",
        statement="E||delta||^2 over 10,000 layers at the printed sigma_w^2 = 1.05",
        published=1.0019,
        measured=exactly(chi**DEPTH),
        tolerance=absolute(1.0019, 5e-5, "half of the last digit of an independent quadrature"),
        source=f"{SOURCE}, section 4",
        provenance="D",
    )
    yield from _orthogonal(60 if quick else 200)


def _orthogonal(depth: int) -> Iterator[Finding]:
    """Orthogonal against Gaussian weights at one scale, in nets that a test can wait for."""
    width, spread = 128, {}
    layers = list(range(1, depth + 1))
    lines = []
    for name, init in (("orthogonal", "orthogonal:gain=1"), ("Gaussian", "lecun")):
        mlp = random_nets("tanh", init, depth=depth, width=width, seeds=8)
        delta = forward_backward(mlp, unit_inputs(mlp, 1, mean_square=1e-6)).delta_rms()
        logs = np.log(delta[:, 0] / delta[:, depth])
        spread[name] = float(logs.std(ddof=1))
        lines.append(Series(name, layers, list(delta[0, :depth] / delta[0, depth])))
        if name == "orthogonal":
            yield Row(
                row=f"orthogonal, {depth} layers",
                statement="log of delta_rms of layer 1 over the readout's, tanh near its linear part",
                published=0.0,
                measured=exactly(float(logs.mean())),
                tolerance=absolute(
                    0.0, 0.01, f"chi = 1 - 2 q with q = 1e-6: {depth} layers cost {depth * 1e-6:g}"
                ),
                source=f"{SOURCE}, section 3",
                provenance="D",
            )
    expected = sqrt(2 * depth / width) / 2
    yield Row(
        row=f"Gaussian, {depth} layers",
        statement="with Gaussian weights the same logarithm scatters between nets by sqrt(2 L / n) / 2",
        published=expected,
        measured=exactly(spread["Gaussian"]),
        tolerance=between(
            0.29 * expected,
            1.86 * expected,
            "where a standard deviation from 8 normal numbers lies in 99.8 %",
        ),
        source="Hanin 2018 for linear nets",
        provenance="D",
    )
    yield Panel(
        "tanh near its linear part, one net each", "layer", "delta_rms over the readout's", lines, log_y=True
    )
