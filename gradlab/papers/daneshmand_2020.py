"""Batch norm keeps the rank of what a deep random net makes of a batch (Daneshmand, Kohler, Bach, Hofmann & Lucchi
2020).

Products of random matrices become rank one: the ratio of the second to the first singular value of a product of l
Gaussian N x N matrices falls as exp(-l (mu_1 - mu_2)) with the Lyapunov exponents mu_i = (digamma((N - i + 1) / 2) +
log(2 / N)) / 2 (Newman 1986). With batch norm the stable rank tr(M)^2 / ||M||_F^2 of the samples' Gram matrix, a
lower bound of the rank, stays of order sqrt(N) at least.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import log

import numpy as np
import torch
from scipy.special import digamma

from gradlab.papers.paper import Paper
from gradlab.papers.random_nets import Array, last_activations, many_nets, noise
from gradlab.papers.rows import (
    Finding,
    Panel,
    Row,
    Series,
    absolute,
    at_least,
    at_most,
    exactly,
    mean_of,
)

PAPER = Paper(
    name="daneshmand-2020",
    title="batch norm keeps the rank of a deep random net's features",
    citation="Daneshmand, Kohler, Bach, Hofmann & Lucchi 2020, Batch normalization provably avoids rank collapse",
    order=35,
)

SOURCE = "Daneshmand et al. 2020"
SAID = {
    "linear": f"{SOURCE}, abstract: a lower rank bound in deep linear nets; of order sqrt(d), as its reviews quote it",
    "relu": f"{SOURCE}, abstract: empirically, this rank robustness generalizes to ReLU nets",
}
SLOWER = (
    "the stable rank of ReLU nets stays at several and grows with the width, but more slowly than its square root: an "
    "exponent of about 1/4 from 16 to 256 units. The bound is proven for linear nets; the abstract extends the "
    "robustness, and not the order, to ReLU"
)


def spectra(activation: str, norm: str, *, width: int, depth: int, nets: int) -> Array:
    """Singular values of the last hidden layer's h for a batch as large as the width, [net, width]."""
    init = "he" if activation == "relu" else "lecun"
    mlp = many_nets(activation, init, depth=depth, width=width, nets=nets, norm=norm, dtype=torch.float64)
    h = last_activations(mlp, noise("rows", width, width).expand(nets, -1, -1))
    values: Array = torch.linalg.svdvals(h).numpy()
    return values


def stable_rank(values: Array) -> Array:
    """tr(M)^2 / ||M||_F^2 of the Gram matrix, [net]; at most the rank."""
    squares = values**2
    return np.asarray(squares.sum(axis=1) ** 2 / (squares**2).sum(axis=1))


def reproduce(quick: bool) -> Iterator[Finding]:
    width, nets = 16, 100 if quick else 400
    gap = float(digamma(width / 2) - digamma((width - 1) / 2)) / 2
    depth = 10 * width
    early, late = (np.log(v[:, 1] / v[:, 0]) for v in _two(width, nets, depth))
    noise_of_walk = 4 * (2 * 2 / (4 * (width / 2 - 1)) / depth / nets) ** 0.5
    yield Row(
        row="collapse of linear nets",
        statement=f"fall of log(s_2 / s_1) a layer without norm, layers {depth} to {2 * depth}, {width} units",
        published=gap,
        measured=mean_of((early - late) / depth),
        tolerance=absolute(
            gap,
            noise_of_walk,
            f"4 standard errors of {nets} differences of walks, each with variance trigamma / 4",
        ),
        source=f"{SOURCE}, abstract: it collapses quickly; Lyapunov exponents of Newman 1986",
        provenance="D",
    )
    widths = (16, 32, 64) if quick else (16, 32, 64, 128, 256)
    lines = []
    for activation in ("linear", "relu"):
        collapsed = stable_rank(spectra(activation, "none", width=width, depth=25 * width, nets=8))
        ranks = [stable_rank(spectra(activation, "batch", width=n, depth=60, nets=4)) for n in widths]
        lines.append(
            Series(f"{activation}, batch norm", list(widths), [float(r.mean()) for r in ranks], "points")
        )
        lines.append(Series(f"{activation}, no norm", [width], [float(collapsed.mean())], "points"))
        yield Row(
            row=f"rank without norm, {activation}",
            statement=f"stable rank of the features after {25 * width} layers of {width} units",
            published=1.0,
            measured=mean_of(collapsed),
            tolerance=at_most(
                1.1, "s_2 / s_1 is about exp(-13 +- 5) for linear nets; ReLU's mean adds to it"
            ),
            source=f"{SOURCE}, abstract: the rank collapses quickly with depth",
            provenance="P",
        )
        yield Row(
            row=f"rank with batch norm, {activation}",
            statement=f"stable rank after 60 layers over sqrt({widths[-1]})",
            published="of order sqrt(width) at least",
            measured=mean_of(ranks[-1] / widths[-1] ** 0.5),
            tolerance=at_least(0.5, "order sqrt(width) with a constant of order 1"),
            source=SAID[activation],
            provenance="P",
            found=SLOWER if activation == "relu" else "",
        )
        yield Row(
            row=f"no collapse with batch norm, {activation}",
            statement=f"stable rank after 60 layers of {widths[-1]} units, where it is 1 without norm",
            published="rank collapse is avoided",
            measured=mean_of(ranks[-1]),
            tolerance=at_least(2.0, "twice that of collapsed features"),
            source=f"{SOURCE}, abstract: an effective strategy for both linear and ReLU networks",
            provenance="P",
        )
        slope = log(ranks[-1].mean() / ranks[0].mean()) / log(widths[-1] / widths[0])
        yield Row(
            row=f"exponent of the rank, {activation}",
            statement="exponent of the stable rank in the width with batch norm: sqrt(width) is a lower bound",
            published=0.5,
            measured=exactly(slope),
            tolerance=at_least(
                0.5 - 0.1, "a lower bound, less the noise of 4 nets over a decade or less of widths"
            ),
            source=SAID[activation],
            provenance="P",
            found=SLOWER if activation == "relu" else "",
        )
    lines.append(Series("sqrt(width)", list(widths), [n**0.5 for n in widths]))
    yield Panel(
        "Stable rank of a batch as large as the width", "width", "stable rank", lines, log_x=True, log_y=True
    )


def _two(width: int, nets: int, depth: int) -> tuple[Array, Array]:
    return (
        spectra("linear", "none", width=width, depth=depth, nets=nets),
        spectra("linear", "none", width=width, depth=2 * depth, nets=nets),
    )
