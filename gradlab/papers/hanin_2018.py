"""How much the length of the signal varies between nets (Hanin & Rolnick 2018; Hanin 2018).

With He's weights E||h||^2 is kept at every layer, but the length of one net's signal is random: its second moment
grows by 1 + 5 / n a layer (1 + 2 / n for linear nets), so deep narrow nets start far too large or far too small.
Both factors are exact: of n units k are on, k ~ Bin(n, 1/2), and the sum of their squares is chi^2 with k degrees.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import comb, sqrt

import numpy as np

from gradlab.nn import statistics as st
from gradlab.papers.paper import Paper
from gradlab.papers.random_nets import Array, last_activations, many_nets, unit_inputs
from gradlab.papers.rows import (
    Finding,
    Panel,
    Row,
    Series,
    Tolerance,
    absolute,
    mean_of,
    relative,
)

PAPER = Paper(
    name="hanin-2018",
    title="how much the signal differs from net to net",
    citation="Hanin 2018, Which neural net architectures give rise to exploding and vanishing gradients?",
    order=11,
)

SOURCE = "Hanin 2018"
SHAPES = ((30, 3), (20, 4))  # width, layers


def reproduce(quick: bool) -> Iterator[Finding]:
    points = []
    nets = 5_000 if quick else 20_000
    for activation, excess in (("relu", 5), ("linear", 2)):
        for width, depth in SHAPES:
            ratio = lengths(activation, width, depth, nets)
            expected = (1 + excess / width) ** depth
            yield Row(
                row=f"second moment, {activation}, width {width}, {depth} layers",
                statement=f"E (||h_L||^2 / ||h_0||^2)^2 is (1 + {excess} / n)^L, over {nets} nets",
                published=expected,
                measured=mean_of(ratio**2),
                tolerance=_noise(activation, width, depth, nets),
                source=f"{SOURCE}, theorem 1 and 2",
                provenance="D",
            )
            points.append((activation, depth * excess / width, np.log(mean_of(ratio**2).value)))
    width, depth, nets = 50, 10, 500 if quick else 2_000
    ratio = lengths("relu", width, depth, nets)
    yield Row(
        row="mean length",
        statement="E ||h_L||^2 / ||h_0||^2 stays 1 under He's weights (50 units, 10 layers)",
        published=1.0,
        measured=mean_of(ratio),
        tolerance=absolute(1.0, 4 * sqrt(((1 + 5 / width) ** depth - 1) / nets), "4 standard errors"),
        source=f"{SOURCE}, theorem 1",
        provenance="P",
    )
    logs = -5 / 2 * depth / width
    yield Row(
        row="mean log length",
        statement="E log of the same is about -(5/2) sum 1 / n: the typical net's signal shrinks",
        published=logs,
        measured=mean_of(np.log(ratio)),
        tolerance=relative(
            logs,
            0.1 + 4 * sqrt(5 * depth / width / nets) / abs(logs),
            "10 % for 1 / n^2, and 4 standard errors",
        ),
        source="Hanin & Nica 2019, theorem 1",
        provenance="D",
    )
    yield Panel(
        "Spread between nets",
        "excess times depth / width",
        "log of the second moment",
        [
            Series(
                name, [x for a, x, _ in points if a == name], [y for a, _, y in points if a == name], "points"
            )
            for name in ("relu", "linear")
        ]
        + [Series("to first order", [0.0, 1.0], [0.0, 1.0])],
    )


def lengths(activation: str, width: int, depth: int, nets: int) -> Array:
    """||h_L||^2 / ||h_0||^2 of each net, after `depth` layers of sigma_w that keeps its mean: [net]."""
    mlp = many_nets(
        activation, "he" if activation == "relu" else "lecun", depth=depth, width=width, outputs=1, nets=nets
    )
    x = unit_inputs(mlp, 1)
    h = last_activations(mlp, x)
    result: Array = (st.rms(h) / st.rms(x)).square().numpy()
    return result


def _noise(activation: str, width: int, depth: int, nets: int) -> Tolerance:
    """5 %, or 4 standard errors where those are wider; the moments of one layer's factor are exact."""
    second, fourth = (_moment(activation, width, power) ** depth for power in (2, 4))
    error = sqrt((fourth / second**2 - 1) / nets)
    return relative(second, max(0.05, 4 * error), f"5 % or 4 standard errors ({error:.2g})")


def _moment(activation: str, width: int, power: int) -> float:
    """E X^power for the factor X of the squared length at one layer."""

    def chi_squared(degrees: int) -> float:
        return float(np.prod([degrees + 2.0 * i for i in range(power)]))

    if activation == "linear":
        return chi_squared(width) / float(width) ** power
    binomial = [comb(width, k) / 2**width for k in range(width + 1)]
    scale: float = (2 / width) ** power
    return scale * float(sum(share * chi_squared(k) for k, share in enumerate(binomial)))
