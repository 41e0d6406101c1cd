"""The arc-cosine kernels (Cho & Saul 2009, Kernel methods for deep learning).

For two jointly normal pre-activations at angle theta, E[relu relu] and E[relu' relu'] have closed forms in theta:
an exact check of the two-dimensional quadrature that everything about correlations rests on.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from gradlab import theory
from gradlab.papers.paper import Paper
from gradlab.papers.random_nets import last_activations, random_nets
from gradlab.papers.rows import Finding, Panel, Row, Series, absolute, exactly, mean_of

PAPER = Paper(
    name="cho-saul-2009",
    title="arc-cosine kernels of ReLU layers",
    citation="Cho & Saul 2009, Kernel methods for deep learning",
    order=19,
)

SOURCE = "Cho & Saul 2009"


def reproduce(quick: bool) -> Iterator[Finding]:
    angles = np.linspace(0.0, np.pi, 9 if quick else 17)
    slopes = (np.pi - angles) / (2 * np.pi)
    values = (np.sin(angles) + (np.pi - angles) * np.cos(angles)) / (2 * np.pi)
    found = np.array([theory.pair_means("relu", 1.0, float(np.cos(angle))) for angle in angles])
    for name, degree, measured, closed in (
        ("E[relu' relu']", 0, found[:, 1], slopes),
        ("E[relu relu]", 1, found[:, 0], values),
    ):
        worst = float(np.abs(measured - closed).max())
        yield Row(
            row=name,
            statement=f"the kernel of degree {degree}: largest error of the quadrature over {len(angles)} angles",
            published=0.0,
            measured=exactly(worst),
            tolerance=absolute(0.0, 1e-8, "the quadrature's own tolerance"),
            source=f"{SOURCE}, eq. 3-6",
            provenance="P",
        )
    width, seeds = 1024, 8
    mlp = random_nets("relu", "he", depth=1, width=width, features=2, outputs=1, seeds=seeds)
    x = torch.tensor([[1.0, 0.0], [0.5, 0.75**0.5]]).mul(2**0.5).expand(seeds, -1, -1)
    h = last_activations(mlp, x).double()
    kernel = (h[:, 0] * h[:, 1]).mean(dim=1).numpy()
    expected = 2 * (np.sin(np.pi / 3) + 2 * np.pi / 3 * 0.5) / (2 * np.pi)
    yield Row(
        row="kernel of nets",
        statement=f"mean of h h' over {width} hidden units, He weights, inputs at 60 degrees",
        published=float(expected),
        measured=mean_of(kernel),
        tolerance=absolute(
            float(expected), 4 * 2.2 / np.sqrt(width * seeds), "4 standard errors, E[(h h')^2] < 2.2^2"
        ),
        source=f"{SOURCE}, section 2",
        provenance="D",
    )
    degrees = list(np.degrees(angles))
    yield Panel(
        "Arc-cosine kernels",
        "angle, degrees",
        "expectation",
        [
            Series("E[relu' relu'], closed form", degrees, list(slopes)),
            Series("quadrature", degrees, list(found[:, 1]), "points"),
            Series("E[relu relu], closed form", degrees, list(values)),
            Series("quadrature ", degrees, list(found[:, 0]), "points"),
        ],
    )
