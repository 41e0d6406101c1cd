"""Where layer norm stands in a transformer decides how large the last layers' gradients are (Xiong et al. 2020).

At birth, with even attention and d-dimensional square weights: before its last norm a post-norm block's stream has E
|x|^2 = 3 d / 2 at every depth; a pre-norm stream grows, (1 + l/2) d <= E |x_l|^2 <= (1 + 3 l/2) d, where the upper
bound holds for equal tokens: of normed tokens, |LN(x)|^2 = d, attention adds the square of their mean value, from
nearly 0 to d, and the rectified sub-layer d / 2. The norm behind the stream divides the gradient by its length: for
the last feed-forward weights it does not depend on the depth L with post-norm, and falls as 1 / sqrt(L) with pre-norm.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import log, sqrt

import torch
from torch import Tensor

from gradlab.papers.paper import Paper
from gradlab.papers.random_nets import noise
from gradlab.papers.rows import Finding, Panel, Row, Series, absolute, between, mean_of, relative
from gradlab.papers.transformers import Order, blocks, even_attention, feed_forward, normed, streams

PAPER = Paper(
    name="xiong-2020",
    title="pre-norm and post-norm transformers: length of the stream, gradient of the last layer",
    citation="Xiong et al. 2020, On layer normalization in the transformer architecture",
    order=36,
)

SOURCE = "Xiong et al. 2020"
TOKENS = 16
EQUAL = (
    "taken for equal tokens after a first look: independent ones have a shorter stream, between the two bounds, and no "
    "single number to be held to (its fall there is 0.32 at width 192)"
)


def last_gradients(order: Order, layers: int, *, nets: int, units: int) -> Tensor:
    """Norm of the gradient of the last block's second feed-forward weight, [net], for an independent cotangent and
    equal tokens, whose stream has the lemma's largest length."""
    *before, last = blocks(layers, nets=nets, units=units)
    x = streams(order, normed(noise("tokens", nets, 1, units)).expand(-1, TOKENS, -1), before)[-1]
    second = last.second.clone().requires_grad_(True)
    if order == "post":
        x = normed(x + even_attention(x, last))
        output = normed(x + torch.relu(x @ last.first) @ second)
    else:
        x = x + even_attention(normed(x), last)
        output = normed(x + torch.relu(normed(x) @ last.first) @ second)
    (gradient,) = torch.autograd.grad(output, second, noise("cotangent", nets, TOKENS, units))
    norms: Tensor = torch.linalg.matrix_norm(gradient)
    return norms


def reproduce(quick: bool) -> Iterator[Finding]:
    nets, units, depth = 16, 96 if quick else 192, 32
    every = blocks(depth, nets=nets, units=units)
    tokens = normed(noise("tokens", nets, TOKENS, units))
    x = streams("post", tokens, every[:6])[-1]
    x = normed(x + even_attention(x, every[6]))
    length = (x + feed_forward(x, every[6])).square().mean(dim=(1, 2))
    yield Row(
        row="post-norm, length before the last norm",
        statement="E |x|^2 / d of a post-norm block before its last norm, whatever the layer",
        published=1.5,
        measured=mean_of(length.numpy()),
        tolerance=relative(
            1.5, 4 * sqrt(5 / units / nets), "4 standard errors: tokens are alike, a block adds 5 / d"
        ),
        source=f"{SOURCE}, its lemma on the stream's length; derived",
        provenance="D",
    )
    lines = []
    for name, start in (
        ("independent tokens", tokens),
        ("equal tokens", tokens[:, :1].expand(-1, TOKENS, -1)),
    ):
        lengths = torch.stack(
            [each.square().mean(dim=(1, 2)) for each in streams("pre", start, every)], dim=1
        )
        lines.append(Series(f"pre-norm, {name}", list(range(depth + 1)), lengths.mean(dim=0).tolist()))
        for layer in (8, depth):
            low, high = 1 + layer / 2, 1 + 1.5 * layer
            # the stream's product with what a layer adds has the variance 4 |x|^2 |F|^2 / d
            spread = 4 * sqrt(sum(4 * (1 + 1.5 * n) * 1.5 for n in range(layer)) / units / nets)
            equal = name == "equal tokens"
            why = f"4 standard errors of {nets} nets: 4 |x|^2 |F|^2 / d a layer"
            yield Row(
                row=f"pre-norm, length after {layer} blocks, {name}",
                statement="E |x_l|^2 / d, between 1 + l/2 and 1 + 3 l/2; equal tokens reach the upper bound",
                published=high if equal else f"{low:g} to {high:g}",
                measured=mean_of(lengths[:, layer].numpy()),
                tolerance=absolute(high, spread, why) if equal else between(low - spread, high + spread, why),
                source=f"{SOURCE}, its lemma on the stream's length; derived",
                provenance="D",
            )
    few, many = 4, 32
    spread = 4 * sqrt(2 * 5 / units / nets)
    ratios = {}
    for order in ("post", "pre"):
        found = {layers: last_gradients(order, layers, nets=nets, units=units) for layers in (few, many)}
        ratios[order] = torch.log(found[many] / found[few]).numpy()
        lines.append(
            Series(
                f"{order}-norm, gradient of the last layer",
                list(found),
                [float(v.mean()) for v in found.values()],
            )
        )
    yield Row(
        row="post-norm, exponent of the last gradient",
        statement=f"exponent in the depth, {few} to {many} blocks, of the last feed-forward weight's gradient",
        published=0.0,
        measured=mean_of(ratios["post"] / log(many / few)),
        tolerance=absolute(0.0, spread / log(many / few), f"4 standard errors of two norms in {nets} nets"),
        source=f"{SOURCE}, abstract: gradients near the output are large with post-norm; derived",
        provenance="D",
        changed=EQUAL,
    )
    fall = sqrt((1 + 1.5 * few) / (1 + 1.5 * many))
    yield Row(
        row="pre-norm, fall of the last gradient",
        statement=f"its ratio at {many} blocks to {few}, equal tokens: as 1 / sqrt(1 + 3 L / 2)",
        published=fall,
        measured=mean_of(torch.tensor(ratios["pre"]).exp().numpy()),
        tolerance=relative(fall, spread, f"4 standard errors of two norms in {nets} nets"),
        source=f"{SOURCE}, abstract: they are well-behaved with pre-norm; derived from the stream's length",
        provenance="D",
        changed=EQUAL,
    )
    yield Panel("Stream of pre-norm blocks", "block", "E |x|^2 / d", lines[:2])
    yield Panel("Gradient of the last weight", "blocks", "norm", lines[2:], log_x=True, log_y=True)
