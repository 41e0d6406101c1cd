"""All you need is a good init (Mishkin & Matas 2016): layer-sequential unit variance.

Orthogonal weights, then each layer divided by the standard deviation it shows on a batch: whatever the activation,
every layer starts at variance 1, in one pass.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradlab.papers.paper import Paper
from gradlab.papers.rows import Finding, Panel, Row, Series, at_most, exactly
from gradlab.papers.training import trained

PAPER = Paper(
    name="mishkin-2016",
    title="unit variance layer by layer",
    citation="Mishkin & Matas 2016, All you need is a good init",
    order=22,
)

SOURCE = "Mishkin & Matas 2016"


def reproduce(quick: bool) -> Iterator[Finding]:
    depth = 10 if quick else 20
    names = ["tanh", "relu", "sigmoid", "gelu"]
    result = trained(activation=names, init=["lsuv", "orthogonal"], depth=depth, steps=0, seeds=3)
    hidden = result.layers[result.layers["layer"] <= depth]
    lines = []
    for name in names:
        cell = hidden[(hidden["activation"] == name) & (hidden["init"] == "lsuv")]
        variance = cell.pivot(index="seed", columns="layer", values="z_std").to_numpy() ** 2
        lines.append(Series(name, list(range(1, depth + 1)), list(variance.mean(axis=0))))
        yield Row(
            row=name,
            statement=f"largest distance of a layer's variance from 1 after the pass, {depth} layers (digits)",
            published=0.1,
            measured=exactly(float(np.abs(variance - 1).max())),
            tolerance=at_most(0.1 * (1 + 1e-6), "the tolerance that gradlab's lsuv is asked for, by default"),
            source=f"{SOURCE}, the authors' code (ducha-aiki/LSUVinit): layers are rescaled until |Var - 1| is within "
            "a margin, there 0.02",
            provenance="D",
        )
    yield Panel("Variance of z after LSUV", "layer", "variance", lines)
