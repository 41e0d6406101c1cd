"""Attention alone loses rank doubly exponentially with depth (Dong, Cordonnier & Loukas 2021).

res(X) is what is left of the tokens X without their mean. Of scores only the part that depends on both tokens moves
the tokens apart, so it is of second order in res(X), and what attention leaves is of third: |res(f(X))| ~ |res(X)|^3.
The log of the residual triples at each layer. A skip connection keeps the residual itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import log

import torch
from torch import Tensor

from gradlab.papers.paper import Paper
from gradlab.papers.random_nets import drawn, noise
from gradlab.papers.rows import Finding, Panel, Row, Series, absolute, at_least, mean_of
from gradlab.papers.transformers import attention

PAPER = Paper(
    name="dong-2021",
    title="pure attention loses rank doubly exponentially",
    citation="Dong, Cordonnier & Loukas 2021, Attention is not all you need",
    order=37,
)

SOURCE = "Dong, Cordonnier & Loukas 2021"


def residual(x: Tensor) -> Tensor:
    """Norm of what is left without the tokens' mean, [net]."""
    left: Tensor = torch.linalg.matrix_norm(x - x.mean(dim=1, keepdim=True))
    return left


def layer(x: Tensor, nth: int, *, skip: bool = False) -> Tensor:
    nets, _, units = x.shape
    query, key, value = (
        drawn(f"attention {nth} {name}", nets, units, units) for name in ("query", "key", "value")
    )
    mixed = attention(x, query, key) @ (x @ value)
    return x + mixed if skip else mixed


def reproduce(quick: bool) -> Iterator[Finding]:
    nets, tokens, units = 20, 12, 24 if quick else 64
    common, apart = noise("common", nets, 1, units), noise("apart", nets, tokens, units)
    sizes = (0.003, 0.001)
    left = [residual(layer(common + size * apart, 0)) for size in sizes]
    found = (torch.log(left[0] / left[1]) / log(sizes[0] / sizes[1])).numpy()
    yield Row(
        row="order of one layer",
        statement="exponent of the residual after attention in the residual before it",
        published=3.0,
        measured=mean_of(found),
        tolerance=absolute(
            3.0, 0.05, "corrections are of the order of the residual, 0.003 times a few units' norms"
        ),
        source=f"{SOURCE}, its bound |res(f(X))| <= c |res(X)|^3; the order derived",
        provenance="D",
    )
    x = common + 0.02 * apart
    course = [residual(x)]
    for nth in range(3):
        x = layer(x, nth)
        course.append(residual(x))
    logs = torch.stack(course, dim=1).log()
    steps = logs.diff(dim=1)
    yield Row(
        row="doubly exponential",
        statement="the step of log |res| of a layer over that of the layer before, as log |res| triples",
        published=3.0,
        measured=mean_of((steps[:, 1] / steps[:, 0]).numpy()),
        tolerance=absolute(
            3.0,
            1.0,
            "the constants of two layers differ by their weights, of order 1 against steps of order log 50",
        ),
        source=f"{SOURCE}, abstract: converges doubly exponentially to a rank-1 matrix",
        provenance="P",
    )
    with_skip, kept = common + 0.02 * apart, [course[0]]
    for nth in range(12):
        with_skip = layer(with_skip, nth, skip=True)
        kept.append(residual(with_skip))
    skips = torch.stack(kept, dim=1).log()
    yield Row(
        row="skip connections",
        statement="log of the residual after 12 layers with skip connections over the first",
        published=0.0,
        measured=mean_of((skips[:, -1] - skips[:, 0]).numpy()),
        tolerance=absolute(
            0.0, 1e-3, "the path of length 0 keeps the residual; what attention adds is of third order"
        ),
        source=f"{SOURCE}, abstract: skip connections stop the output from degeneration",
        provenance="P",
    )
    yield Row(
        row="attention alone",
        statement="log10 of the residual after 3 layers without skip connections over the first",
        published="rank collapse",
        measured=mean_of(-(logs[:, -1] - logs[:, 0]).numpy() / log(10)),
        tolerance=at_least(
            6.0, "0.02^(27) is below float64; three triplings of log 50 are more than 6 decades"
        ),
        source=f"{SOURCE}, abstract",
        provenance="P",
    )
    yield Panel(
        "Residual of the tokens",
        "layer",
        "|res(X)|",
        [
            Series("attention", [0, 1, 2, 3], logs.mean(dim=0).exp().tolist(), "points"),
            Series("attention and skip connections", list(range(13)), skips.mean(dim=0).exp().tolist()),
        ],
        log_y=True,
    )
