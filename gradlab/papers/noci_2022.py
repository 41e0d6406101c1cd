"""What rank collapse does to the gradient, and which branch scale prevents it (Noci et al. 2022).

Where all tokens are equal, the attention matrix multiplies equal values: queries and keys change nothing and get no
gradient. Near there both factors that make their gradients, the differences of values and of keys or queries, are of
the order of the tokens' distance, so it falls as its square. With even attention two tokens of correlation rho and n
tokens in all go, at a block x + a F(x) of attention and a linear map, to (rho + a^2 m) / (1 + a^2 m), m = (1 + (n -
1) rho) / n: rho runs to 1 with a = 1 and stays below 1 with a = 1 / sqrt(L).
"""

from __future__ import annotations

from collections.abc import Iterator
from math import log, sqrt

import torch
from torch import Tensor

from gradlab.papers.paper import Paper
from gradlab.papers.random_nets import drawn, noise
from gradlab.papers.rows import Finding, Panel, Row, Series, absolute, at_most, exactly, mean_of
from gradlab.papers.transformers import attention

PAPER = Paper(
    name="noci-2022",
    title="equal tokens leave queries and keys without gradient; branches of 1 / sqrt(L) keep tokens apart",
    citation="Noci et al. 2022, Signal propagation in transformers",
    order=38,
)

SOURCE = "Noci et al. 2022"
NAMES = ("query", "key", "value")


def gradients(x: Tensor) -> dict[str, Tensor]:
    """Norms of the gradients of one attention layer's weights, [net], for an independent cotangent."""
    nets, _, units = x.shape
    weights = [drawn(f"attention {name}", nets, units, units).requires_grad_(True) for name in NAMES]
    query, key, value = weights
    mixed = attention(x, query, key) @ (x @ value)
    found = torch.autograd.grad(mixed, weights, noise("cotangent", *mixed.shape))
    return dict(zip(NAMES, (torch.linalg.matrix_norm(each) for each in found), strict=True))


def alike(depth: int, scale: float, tokens: int) -> list[float]:
    """Correlation of two tokens by block, from 0."""
    rho = [0.0]
    for _ in range(depth):
        mean = scale**2 * (1 + (tokens - 1) * rho[-1]) / tokens
        rho.append((rho[-1] + mean) / (1 + mean))
    return rho


def reproduce(quick: bool) -> Iterator[Finding]:
    nets, tokens, units = 10, 8, 32 if quick else 64
    common, apart = noise("common", nets, 1, units), noise("apart", nets, tokens, units)
    collapsed = gradients(common.expand(-1, tokens, -1))
    for name in ("query", "key"):
        yield Row(
            row=f"gradient at rank one, {name}",
            statement=f"largest gradient of the {name} weights over that of the values where all tokens are equal",
            published=0.0,
            measured=exactly(float((collapsed[name] / collapsed["value"]).max())),
            tolerance=at_most(1e-12, "rounding in float64"),
            source=f"{SOURCE}, gradients of queries and keys vanish; derived: equal values are multiplied",
            provenance="D",
        )
    sizes = (1e-2, 1e-3)
    near = [gradients(common + size * apart) for size in sizes]
    for name, order in (("query", 2.0), ("key", 2.0), ("value", 0.0)):
        found = (torch.log(near[0][name] / near[1][name]) / log(sizes[0] / sizes[1])).numpy()
        yield Row(
            row=f"order near rank one, {name}",
            statement=f"exponent of the {name} weights' gradient in the distance of the tokens",
            published=order,
            measured=mean_of(found),
            tolerance=absolute(
                order, 0.1, "corrections are of the order of the distance, 0.01 times a norm of units"
            ),
            source=f"{SOURCE}, derived from the softmax",
            provenance="D",
        )
    yield from _correlations(40, 64 if quick else 256)


def _correlations(nets: int, units: int) -> Iterator[Finding]:
    depth, tokens = 24, 8
    lines = []
    for name, scale in (("1", 1.0), ("1 / sqrt(L)", 1 / sqrt(depth))):
        x = noise("tokens", nets, tokens, units)
        courses = [_alike(x)]
        for block in range(depth):
            value, linear = (
                drawn(f"block {block} {kind}", nets, units, units) for kind in ("value", "linear")
            )
            x = x + scale * (x.mean(dim=1, keepdim=True) @ value)
            x = x + scale * (x @ linear)
            courses.append(_alike(x))
        course = torch.stack(courses, dim=1)
        expected = alike(depth, scale, tokens)
        lines += [
            Series(f"branches times {name}, theory", list(range(depth + 1)), expected),
            Series(
                f"branches times {name}, nets", list(range(depth + 1)), course.mean(dim=0).tolist(), "points"
            ),
        ]
        # a branch's product with the stream, and its own length, vary by 4 a^2 / units and less than 5 a^4 / units
        walk = 3 * sqrt(2 * depth * 5 * scale**2 / units / nets)
        first = 3 * sqrt(2 / (tokens * (tokens - 1) * units * nets))
        apart, far = 1 - expected[-1], scale == 1.0
        yield Row(
            row=f"tokens alike, branches times {name}",
            statement=f"{'log of 1 less the' if far else 'the'} cosine of two tokens after {depth} blocks, from 0",
            published=log(apart) if far else expected[-1],
            measured=mean_of((torch.log1p(-course[:, -1]) if far else course[:, -1]).numpy()),
            tolerance=absolute(log(apart), walk, f"3 standard errors of {nets} nets: 5 / units a branch")
            if far
            else absolute(
                expected[-1],
                walk * expected[-1] * apart + first,
                f"3 standard errors of {nets} nets: 5 a^2 / units",
            ),
            source=f"{SOURCE}, depth-dependent scaling of the residual branches; derived",
            provenance="D",
        )
    yield Panel("Correlation of two tokens", "block", "cosine", lines)


def _alike(x: Tensor) -> Tensor:
    """Mean product of two different tokens over the mean square of one, [net]."""
    tokens = x.shape[1]
    square = x.square().sum(dim=(1, 2))
    return (x.sum(dim=1).square().sum(dim=1) - square) / (tokens - 1) / square
