"""Self-normalising networks (Klambauer, Unterthiner, Mayr & Hochreiter 2017).

SELU's two constants make mean 0 and variance 1 of the signal a fixed point, and an attracting one: the Jacobian of
the map of (mean, variance) has spectral norm 0.7877 there. What the constants do not hold is the gradient: its
squared norm still grows by E[phi'^2] = 1.0716 a layer.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradlab import activations, theory
from gradlab.papers.paper import Paper
from gradlab.papers.random_nets import forward_backward, random_nets, unit_inputs
from gradlab.papers.rows import Finding, Panel, Row, Series, absolute, exactly, mean_of, relative

PAPER = Paper(
    name="klambauer-2017",
    title="SELU holds the signal, not the gradient",
    citation="Klambauer, Unterthiner, Mayr & Hochreiter 2017, Self-normalizing neural networks",
    order=13,
)

SOURCE = "Klambauer et al. 2017"
ALPHA, SCALE = 1.6732632423543772, 1.0507009873554805
CHI_1 = 1.07157499


def moments(mean: float, variance: float) -> tuple[float, float]:
    """Mean and variance of SELU of a normal number."""
    first, _ = theory.expectation("selu", variance, of=lambda phi, slope: phi, mean=mean)
    second, _ = theory.expectation("selu", variance, mean=mean)
    return float(first), float(second - first**2)


def reproduce(quick: bool) -> Iterator[Finding]:
    phi = activations.get("selu").phi
    assert phi is not None
    far_below, one = phi(np.array([-60.0, 1.0]))
    for name, printed, value in (("lambda", SCALE, one), ("alpha", ALPHA, -far_below / one)):
        yield Row(
            row=name,
            statement=f"SELU's {name}, read off the function: lambda = SELU(1), alpha = -SELU(-inf) / lambda",
            published=printed,
            measured=exactly(value),
            tolerance=absolute(printed, 1e-12, "rounding"),
            source=f"{SOURCE}, eq. 14",
            provenance="P",
        )
    mean, variance = moments(0.0, 1.0)
    for name, printed, value in (("mean", 0.0, mean), ("variance", 1.0, variance)):
        yield Row(
            row=f"fixed point, {name}",
            statement=f"standard normal z leave SELU with {name} {printed:g}",
            published=printed,
            measured=exactly(value),
            tolerance=absolute(printed, 1e-9, "quadrature error"),
            source=f"{SOURCE}, eq. 3-5",
            provenance="P",
        )
    step = 1e-4
    high, low = moments(0.0, 1 + step), moments(0.0, 1 - step)
    # With weights that sum to 0 the mean of h does not reach z, so the column of d / d mean is 0.
    norm = np.hypot((high[0] - low[0]) / (2 * step), (high[1] - low[1]) / (2 * step))
    yield Row(
        row="spectral norm",
        statement="the Jacobian of the map of (mean, variance) at (0, 1) has spectral norm 0.7877: it contracts",
        published=0.7877,
        measured=exactly(float(norm)),
        tolerance=absolute(0.7877, 5e-5, "half of the last printed digit"),
        source=f"{SOURCE}, section 2.2",
        provenance="P",
    )
    yield Row(
        row="growth of the gradient",
        statement="E||delta||^2 still grows by this factor a layer at the fixed point",
        published=CHI_1,
        measured=exactly(float(theory.slope_map("selu", 1.0, sigma_w=1.0))),
        tolerance=absolute(CHI_1, 1e-8, "computed independently to 8 decimals (Gauss-Hermite gives 1.0660)"),
        source=f"{SOURCE}, eq. 2 with the slope of SELU",
        provenance="D",
    )
    yield from _nets(300 if quick else 600)


def _nets(width: int) -> Iterator[Finding]:
    depth = 20
    mlp = random_nets("selu", "lecun", depth=depth, width=width, seeds=4)
    found = forward_backward(mlp, unit_inputs(mlp, 16, mean_square=2.0))
    q = found.z_sq()[:, :depth]
    delta = found.delta_rms()
    yield Row(
        row="variance in nets",
        statement=f"started at variance 2, z of layers 11 to 20 has variance 1 again (width {width})",
        published=1.0,
        measured=mean_of(q[:, 10:].mean(axis=1)),
        tolerance=relative(1.0, 60 / width, "4 standard errors of 4 nets"),
        source=f"{SOURCE}, theorem 1",
        provenance="P",
    )
    upper = delta[:, depth // 2] / delta[:, depth]
    factor = upper ** (2 / (depth - depth // 2))
    yield Row(
        row="growth of the gradient in nets",
        statement=f"factor of delta^2 a layer between layers 11 and the readout (width {width})",
        published=CHI_1,
        measured=mean_of(factor),
        tolerance=relative(CHI_1, 30 / width, f"3 % a layer at width 1000, here {width}"),
        source=f"{SOURCE}, eq. 2 with the slope of SELU",
        provenance="D",
    )
    layers = list(range(1, depth + 1))
    yield Panel(
        "SELU nets started at variance 2", "layer", "variance of z", [Series("nets", layers, list(q.mean(0)))]
    )
