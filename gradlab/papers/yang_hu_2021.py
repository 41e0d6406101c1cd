"""The coordinate check: how far one step moves a layer, against the width (Yang & Hu 2021; Yang et al. 2022).

With weights of variance 1 / fan_in and one rate for all of them, Adam's first step changes every weight by the rate
with the sign of its gradient. The gradient's rank is that of the batch, so that a hidden layer's z moves by the sum
over fan_in of |h|: in proportion to the width n. The output moves by n directly, and by n^(3/2) through the hidden
layer, whose moves have the signs of the output's weights. The maximal update parametrisation divides the rate of
weights whose fan_in grows by fan_in, and the variance of the output's weights by fan_in once more: every layer then
moves by an amount that does not depend on the width.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import log, pi, sqrt

import torch
from torch import Tensor

from gradlab.papers.paper import Paper
from gradlab.papers.random_nets import drawn, noise
from gradlab.papers.rows import Finding, Panel, Row, Series, between, mean_of

PAPER = Paper(
    name="yang-hu-2021",
    title="the coordinate check: one step's move against the width, standard and maximal update",
    citation="Yang & Hu 2021, Feature learning in infinite-width neural networks",
    order=43,
)

SOURCE = "Yang & Hu 2021"
FEATURES, OUTPUTS, ROWS = 16, 1, 4
RATE = 1e-3
LAYERS = ("first layer", "hidden layer", "output")


def moves(width: int, *, nets: int, maximal: bool) -> Tensor:
    """rms change of z of each layer in one step of Adam for the squared error, [net, layer]."""
    weights = [
        drawn(f"mup 0 {width}", nets, FEATURES, width),
        drawn(f"mup 1 {width}", nets, width, width),
        drawn(f"mup 2 {width}", nets, width, OUTPUTS) / (width**0.5 if maximal else 1.0),
    ]
    rates = [RATE, *([RATE / width] * 2 if maximal else [RATE] * 2)]
    x, y = noise("mup x", nets, ROWS, FEATURES), 10 + noise("mup y", nets, ROWS, OUTPUTS)
    for weight in weights:
        weight.requires_grad_(True)
    before = _passed(x, weights)
    gradients = torch.autograd.grad((before[-1] - y).square().sum(), weights)
    with torch.no_grad():  # the first step of Adam, whose two moments are then those of one gradient
        after = _passed(
            x, [w - rate * g.sign() for w, rate, g in zip(weights, rates, gradients, strict=True)]
        )
    return torch.stack(
        [(b - a).square().mean(dim=(1, 2)).sqrt() for a, b in zip(before, after, strict=True)], dim=1
    )


def _passed(x: Tensor, weights: list[Tensor]) -> list[Tensor]:
    """z of the three layers."""
    found = [x @ weights[0]]
    for weight in weights[1:]:
        found.append(torch.tanh(found[-1]) @ weight)
    return [z.detach() if not z.requires_grad else z for z in found]


def reproduce(quick: bool) -> Iterator[Finding]:
    nets = 8
    widths = (64, 128, 256, 512) if quick else (64, 128, 256, 512, 1024, 2048)
    low, high = 0, len(widths) - 1
    lines = []
    for name, maximal, slopes in (
        ("standard", False, ((0.0, 0.0), (1.0, 1.0), (1.0, 1.5))),
        ("maximal update", True, ((0.0, 0.0),) * 3),
    ):
        found = torch.stack([moves(width, nets=nets, maximal=maximal) for width in widths], dim=2)
        for at, (layer, (least, most)) in enumerate(zip(LAYERS, slopes, strict=True)):
            exponents = torch.log(found[:, at, high] / found[:, at, low]) / log(widths[high] / widths[low])
            lines.append(Series(f"{name}, {layer}", list(widths), found[:, at].mean(dim=0).tolist()))
            spread = 4 * sqrt(2 * (pi / 2 - 1) / FEATURES / nets) / log(widths[high] / widths[low])
            yield Row(
                row=f"{name}, {layer}",
                statement=f"exponent in the width ({widths[low]} to {widths[high]}) of z's change in a step of Adam",
                published=least if least == most else f"{least:g} to {most:g}",
                measured=mean_of(exponents.detach().numpy()),
                tolerance=between(
                    least - spread,
                    most + spread,
                    f"4 standard errors of {nets} nets at two widths: a mean of |x| over {FEATURES} features",
                ),
                source=f"{SOURCE}; table of Yang et al. 2022 for Adam, derived from the sign of the gradient",
                provenance="D",
            )
    yield Panel("Change of z in one step of Adam", "width", "rms change", lines, log_x=True, log_y=True)
