"""Order and chaos in random deep nets (Poole, Lahiri, Raghu, Sohl-Dickstein & Ganguli 2016).

The length q of the signal runs to a fixed point within a few layers; then two inputs either become alike (c* = 1,
order) or are torn apart (c* < 1, chaos), depending on sigma_w and sigma_b. Both fixed points follow from Gaussian
integrals, and finite nets obey them.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import sqrt

import numpy as np
import torch

from gradlab import theory
from gradlab.papers.paper import Paper
from gradlab.papers.random_nets import forward_backward, random_nets, unit_inputs
from gradlab.papers.rows import Finding, Panel, Row, Series, absolute, exactly, mean_of, relative
from gradlab.theory import correlation_fixed_point, correlation_map, curve, fixed_points

PAPER = Paper(
    name="poole-2016",
    title="order and chaos: where signal and correlation settle",
    citation="Poole et al. 2016, Exponential expressivity through transient chaos",
    order=4,
)

SOURCE = "Poole et al. 2016"
SIGMA_B = sqrt(0.05)
TABLE = {  # sigma_w^2 -> q*, c*, from adaptive quadrature of the paper's equations in float64
    1.0: (0.19359252, 1.0),
    1.5: (0.41803720, 1.0),
    2.0: (0.72176187, 0.74408242),
    4.0: (2.19549393, 0.16506496),
}


def settled(square: float) -> float:
    """q* of tanh at sigma_w^2 = `square`."""
    (point,) = fixed_points(curve("tanh"), sqrt(square), SIGMA_B).points
    return point.q


def reproduce(quick: bool) -> Iterator[Finding]:
    lines = []
    for square, (q_star, c_star) in TABLE.items():
        q = settled(square)
        found = correlation_fixed_point("tanh", q=q, sigma_w=sqrt(square), sigma_b=SIGMA_B)
        assert found.c is not None
        yield Row(
            row=f"q*, sigma_w^2 = {square:g}",
            statement="fixed point of the length map, tanh, sigma_b^2 = 0.05",
            published=q_star,
            measured=exactly(q),
            tolerance=absolute(q_star, 2e-8, "computed independently to 8 decimals"),
            source=f"{SOURCE}, eq. 3-4",
            provenance="D",
        )
        yield Row(
            row=f"c*, sigma_w^2 = {square:g}",
            statement="stable fixed point of the correlation map, tanh, sigma_b^2 = 0.05",
            published=c_star,
            measured=exactly(found.c),
            tolerance=absolute(c_star, 2e-8, "computed independently to 8 decimals"),
            source=f"{SOURCE}, eq. 5",
            provenance="D",
        )
        c = np.linspace(0, 1, 11)
        image = correlation_map("tanh", c, q=q, sigma_w=sqrt(square), sigma_b=SIGMA_B)
        lines.append(Series(f"sigma_w^2 = {square:g}", list(c), list(image)))
    yield Row(
        row="edge at sigma_b = 0",
        statement="without biases tanh turns chaotic at sigma_w = 1",
        published=1.0,
        measured=exactly(theory.critical("tanh").sigma_w or 0.0),
        tolerance=absolute(1.0, 1e-9, "quadrature error"),
        source=f"{SOURCE}, section 2.2",
        provenance="P",
    )
    yield from _nets(300 if quick else 600)
    yield Panel("Correlation map of tanh, sigma_b^2 = 0.05", "c of a layer", "c of the next", lines)


def _nets(width: int) -> Iterator[Finding]:
    depth, rows = 20, 8
    shown = []
    for square in (1.5, 2.0, 4.0):
        init = f"gaussian:sigma_w={sqrt(square)!r}:sigma_b={SIGMA_B!r}"
        mlp = random_nets("tanh", init, depth=depth, width=width, seeds=4)
        x = unit_inputs(mlp, rows)
        inputs = _cosine(x)[0]
        z = forward_backward(mlp, x).z
        q = np.stack([each.double().square().mean(dim=(1, 2)).numpy() for each in z[:depth]], axis=1)
        cosine = np.stack([_cosine(each) for each in z[:depth]], axis=1)
        shown.append(Series(f"sigma_w^2 = {square:g}", list(range(1, depth + 1)), list(cosine.mean(axis=0))))
        q_star, c_star = TABLE[square]
        late = slice(depth // 2, depth)
        yield Row(
            row=f"q in nets, sigma_w^2 = {square:g}",
            statement=f"z^2 in layers 11 to 20 of random nets of width {width} sits at q*",
            published=q_star,
            measured=mean_of(q[:, late].mean(axis=1)),
            tolerance=relative(
                q_star, 60 / width, "4 standard errors of 4 nets' settled layers, about 60 / width"
            ),
            source=f"{SOURCE}, figure 1",
            provenance="D",
        )
        if c_star < 1:
            prediction = theory.predict("tanh", depth=depth, sigma_w=sqrt(square), sigma_b=SIGMA_B)
            expected = float(theory.correlations(prediction, float(inputs))[-1])
            xi = correlation_fixed_point("tanh", q=q_star, sigma_w=sqrt(square), sigma_b=SIGMA_B).xi
            # each layer adds a cosine's own noise, 1 / width, and the map keeps exp(-1 / xi) of the noise below
            kept = np.exp(-2 / xi) ** np.arange(depth)
            yield Row(
                row=f"c in nets, sigma_w^2 = {square:g}",
                statement=f"two unrelated inputs are at c = {expected:.3f} in layer 20, on the way to {c_star:g}",
                published=expected,
                measured=mean_of(cosine[:, -1]),
                tolerance=absolute(
                    expected, 4 * sqrt(kept.sum() / width / len(q)), "4 standard errors of a cosine in 4 nets"
                ),
                source=f"{SOURCE}, figure 2",
                provenance="D",
            )
    yield Panel("Correlation of two inputs in nets", "layer", "cosine", shown)


def _cosine(z: torch.Tensor) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Mean cosine between the first row of z [replica, row, unit] and the others: [replica]."""
    wide = torch.nn.functional.normalize(z.double(), dim=2)
    cosine = torch.einsum("ru,rbu->rb", wide[:, 0], wide[:, 1:])
    result: np.ndarray[tuple[int], np.dtype[np.float64]] = cosine.mean(dim=1).numpy()
    return result
