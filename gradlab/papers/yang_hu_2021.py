"""The coordinate check: how far one step moves a layer, against the width (Yang & Hu 2021; Yang et al. 2022).

The nets are those that `gradlab run --init lecun` and `--init mup` train, with the same optimisers and rates. In the
standard parametrisation, weights of variance 1 / fan_in and one rate for all of them, a width n gives:

- Adam's first step changes every weight by the rate with the sign of its gradient. The gradient's rank is that of the
  batch, so that a hidden layer's z moves by the sum over fan_in of |h|: by n. The output moves by n directly, and by
  n^(3/2) through the hidden layer, whose moves have the signs of the output's weights.
- Gradient descent moves z of layer l by h h' delta_l. delta is of the order n^(-1/2) below the output, so that the
  first layer moves by n^(-1/2), the hidden one by n n^(-1/2), and the output by n, directly and through the hidden
  layer. What comes to the hidden layer and the output through the first one does not grow (`beside_the_width`).

The maximal update parametrisation has the rates of `gradlab.nn.maximal_update` and divides the variance of the output's
weights by the width once more: every layer then moves by an amount that does not depend on the width.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import log, pi, sqrt

import torch
from torch import Tensor

from gradlab import activations, theory
from gradlab.papers.paper import Paper
from gradlab.papers.random_nets import forward_only, many_nets, noise
from gradlab.papers.rows import Finding, Panel, Row, Series, between, mean_of
from gradlab.parts import inits, optimizers
from gradlab.train.loop import stack_optimizer

PAPER = Paper(
    name="yang-hu-2021",
    title="the coordinate check: one step's move against the width, standard and maximal update",
    citation="Yang & Hu 2021, Feature learning in infinite-width neural networks",
    order=43,
)

SOURCE = "Yang & Hu 2021"
FEATURES, OUTPUTS, ROWS, BASE = 16, 1, 4, 64
RATES = {"adam": 1e-3, "sgd": 1e-5}
LAYERS = ("first layer", "hidden layer", "output")
EXPONENTS = {
    ("adam", "lecun"): ((0.0, 0.0), (1.0, 1.0), (1.0, 1.5)),
    ("sgd", "lecun"): ((-0.5, -0.5), (0.5, 0.5), (1.0, 1.0)),
    ("adam", "mup"): ((0.0, 0.0),) * 3,
    ("sgd", "mup"): ((0.0, 0.0),) * 3,
}
REST = (
    "the tolerance first had no room for what does not grow with the width, and the first measurement was below it; "
    "the room is derived from the kernel of the move"
)
CHANGED = {
    (
        "adam",
        "lecun",
        "output",
    ): "the exponent was first derived as 1, and the first measurement was above it: the way "
    "through the hidden layer, n^(3/2), had been left out",
    ("sgd", "lecun", "hidden layer"): REST,
    ("sgd", "lecun", "output"): REST,
}


def moves(width: int, *, nets: int, init: str, optimizer: str) -> Tensor:
    """rms change of z of each layer in the first step for the squared error, [net, layer]."""
    text = f"mup:base={BASE}" if init == "mup" else init
    mlp = many_nets(
        "tanh",
        text,
        depth=2,
        width=width,
        features=FEATURES,
        outputs=OUTPUTS,
        nets=nets,
        dtype=torch.float64,
    )
    x, y = noise("mup x", nets, ROWS, FEATURES), 10 + noise("mup y", nets, ROWS, OUTPUTS)
    before = forward_only(mlp, x)
    parameters = [parameter for parameter, _ in mlp.owners()]
    gradients = torch.autograd.grad((mlp(x) - y).square().sum(), parameters)
    rate = RATES[optimizer]
    bound = inits.get(text, activations.get("tanh"))
    stack_optimizer(mlp, bound, optimizers.get(optimizer), rate).step(gradients, rate)
    after = forward_only(mlp, x)
    return torch.stack(
        [(b - a).square().mean(dim=(1, 2)).sqrt() for a, b in zip(before, after, strict=True)], dim=1
    )


def beside_the_width() -> dict[str, float]:
    """Of the moves under gradient descent the part that does not grow with the width, over what a unit of width adds.

    The move of z is delta times a kernel: Q_1 n + 1 + S_1 (|x|^2 + 1) for the hidden layer, (Q_2 + S_2 Q_1) n + 1 + S_2
    + S_2 S_1 (|x|^2 + 1) for the output, Q = E[phi^2], S = E[phi'^2] of a layer, and 1 for each bias.
    """
    first = theory.moments("tanh", [1.0])
    q_1, s_1 = float(first.phi_sq[0]), float(first.slope_sq[0])
    second = theory.moments("tanh", [q_1])
    q_2, s_2 = float(second.phi_sq[0]), float(second.slope_sq[0])
    through = s_1 * (FEATURES + 1)
    return {"hidden layer": (1 + through) / q_1, "output": (1 + s_2 + s_2 * through) / (q_2 + s_2 * q_1)}


def reproduce(quick: bool) -> Iterator[Finding]:
    nets = 8
    widths = (64, 128, 256, 512) if quick else (64, 128, 256, 512, 1024, 2048)
    span = log(widths[-1] / widths[0])
    spread = 4 * sqrt(2 * (pi / 2 - 1) / FEATURES / nets) / span
    panels: dict[str, list[Series]] = {}
    for (optimizer, init), exponents in EXPONENTS.items():
        name = "maximal update" if init == "mup" else "standard"
        found = torch.stack(
            [moves(width, nets=nets, init=init, optimizer=optimizer) for width in widths], dim=2
        )
        for at, (layer, (least, most)) in enumerate(zip(LAYERS, exponents, strict=True)):
            growing = least > 0 and optimizer == "sgd"
            rest = log(1 + beside_the_width()[layer] / widths[0]) / span if growing else 0.0
            why = f"4 standard errors of {nets} nets at two widths: a mean of |x| over {FEATURES} features"
            if growing:
                why += "; and below by what does not grow with the width"
            lines = panels.setdefault(optimizer, [])
            lines.append(Series(f"{name}, {layer}", list(widths), found[:, at].mean(dim=0).tolist()))
            yield Row(
                row=f"{name}, {optimizer}, {layer}",
                statement=f"exponent in the width ({widths[0]} to {widths[-1]}) of z's change in a step of {optimizer}",
                published=least if least == most else f"{least:g} to {most:g}",
                measured=mean_of((torch.log(found[:, at, -1] / found[:, at, 0]) / span).numpy()),
                tolerance=between(
                    least - spread - rest,
                    most + spread,
                    why,
                ),
                source=f"{SOURCE}; rates of the authors' package (microsoft/mup, mup/optim.py); exponents derived",
                provenance="D",
                changed=CHANGED.get((optimizer, init, layer), ""),
            )
    for optimizer, lines in panels.items():
        title = f"Change of z in one step of {optimizer}"
        yield Panel(title, "width", "rms change", lines, log_x=True, log_y=True)
