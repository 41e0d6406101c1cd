"""Rectifiers are sparse (Glorot, Bordes & Bengio 2011, Deep sparse rectifier neural networks).

Symmetric weights and zero biases switch every ReLU off for half of the inputs, at every layer and every scale.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradlab.papers.paper import Paper
from gradlab.papers.rows import Finding, Panel, Row, Series, absolute, exactly, mean_of
from gradlab.papers.training import trained

PAPER = Paper(
    name="glorot-2011",
    title="rectifiers are sparse",
    citation="Glorot, Bordes & Bengio 2011, Deep sparse rectifier neural networks",
    order=21,
)

SOURCE = "Glorot, Bordes & Bengio 2011"


def reproduce(quick: bool) -> Iterator[Finding]:
    depth, width, seeds = 4, 200, 8
    result = trained(
        activation=["relu", "softplus"],
        init=["he_uniform", "lecun_uniform"],
        depth=depth,
        width=width,
        steps=0,
        seeds=seeds,
    )
    hidden = result.layers[result.layers["layer"] <= depth]
    lines = []
    for init in ("he_uniform", "lecun_uniform"):
        cell = hidden[(hidden["activation"] == "relu") & (hidden["init"] == init)]
        zeros = cell.pivot(index="seed", columns="layer", values="zero_fraction").to_numpy()
        lines.append(Series(f"ReLU, {init}", list(range(1, depth + 1)), list(zeros.mean(axis=0))))
        yield Row(
            row=f"share of zeros, {init}",
            statement="after uniform initialisation about half of the hidden units' outputs are exactly 0 (digits)",
            published=0.5,
            measured=mean_of(zeros.mean(axis=1)),
            tolerance=absolute(
                0.5, 4 * 0.5 / np.sqrt(depth * width * seeds), "4 standard errors, units as the samples"
            ),
            source=f"{SOURCE}, section 3.1",
            provenance="P",
        )
    softplus = hidden[hidden["activation"] == "softplus"]["zero_fraction"]
    yield Row(
        row="share of zeros, softplus",
        statement="softplus, the smooth rectifier, is never exactly 0",
        published=0.0,
        measured=exactly(float(softplus.max())),
        tolerance=absolute(0.0, 0.0, "exact"),
        source=f"{SOURCE}, section 3.2",
        provenance="P",
    )
    yield Panel("Zeros at birth", "layer", "share of outputs that are 0", lines)
