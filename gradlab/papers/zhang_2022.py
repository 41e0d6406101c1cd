"""Tailored Activation Transformations: rectifiers for deep nets without skips or norms (Zhang, Botev & Martens 2022).

A deep ReLU net maps every pair of inputs to nearly the same output. Leaky ReLU scaled by sqrt(2 / (1 + a^2)) keeps
the variance, and a slope a below 0 can be found so that the whole net takes two orthogonal inputs to a given
correlation eta. Smooth activations are shifted and scaled instead, C'(1) = 1 and a given curvature tau / depth.
`--activation tat:leaky_relu:depth=50` trains with it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from scipy.optimize import brentq
from torch import Tensor

from gradlab import theory
from gradlab.activations import shaping
from gradlab.activations.registry import tat
from gradlab.nn.mlp import StackedMLP
from gradlab.papers.martens_2021 import through_residual_net
from gradlab.papers.paper import Paper
from gradlab.papers.random_nets import random_nets
from gradlab.papers.rows import Finding, Panel, Row, Series, absolute, exactly, mean_of, relative

PAPER = Paper(
    name="zhang-2022",
    title="Tailored Activation Transformations: the slope below 0 that a deep net needs",
    citation="Zhang, Botev & Martens 2022, Deep learning without shortcuts",
    order=42,
)

SOURCE = "Zhang, Botev & Martens 2022"
CODE = "the authors' code (google-deepmind/dks), its test of parameters"
ETA, TAU = 0.75, 0.2
PRINTED = {
    "softplus": {
        "input_scale": 0.15011489794748328,
        "input_shift": 0.5374599901127068,
        "output_scale": 10.54880187880574,
        "output_shift": -0.996481014465811,
    },
    "tanh": {
        "input_scale": 0.0580205218578313,
        "input_shift": 0.5218639804099805,
        "output_scale": 22.36066261763117,
        "output_shift": -0.4796430704354356,
    },
}
SLOPE, SCALE = 0.6291800290346146, 1.196996549778802
DEPTH = 50


def reproduce(quick: bool) -> Iterator[Finding]:
    slope = shaping.negative_slope(lambda layer: through_residual_net(0.0, layer), ETA)
    for name, printed, value in (
        ("slope below 0", SLOPE, slope),
        ("output scale", SCALE, shaping.tat_leaky(slope).output_scale),
    ):
        yield Row(
            row=f"leaky ReLU, {name}",
            statement=f"with which their ResNet takes orthogonal inputs to correlation {ETA} at most",
            published=printed,
            measured=exactly(value),
            tolerance=relative(printed, 2e-8, "the printed search stops 1e-8 from the target"),
            source=f"{SOURCE}, {CODE}",
            provenance="P",
        )
    curve = float(brentq(lambda t: through_residual_net(0.0, lambda x: x + t) - TAU, 0.0, 1.0, xtol=1e-15))
    for name, constants in PRINTED.items():
        shaped = tat(name, curve)
        for constant, value in constants.items():
            yield Row(
                row=f"{name}, {constant.replace('_', ' ')}",
                statement=f"the constants that make the curvature of their ResNet's map of correlations {TAU}",
                published=value,
                measured=exactly(getattr(shaped, constant)),
                tolerance=relative(value, 1e-7, "the printed search stops 1e-8 from the target, 5e-8 of it"),
                source=f"{SOURCE}, {CODE}",
                provenance="P",
            )
    yield from _correlations(200 if quick else 500)


def _correlations(width: int) -> Iterator[Finding]:
    """Two orthogonal inputs through fifty layers, tailored and plain."""
    lines, nets = [], 6
    for name, text, init, expected in (
        ("tailored", f"tat:leaky_relu:depth={DEPTH}", "lecun", 0.9),
        ("plain ReLU", "relu", "he", _relu(DEPTH)),
    ):
        here = theory.moments(text, [1.0])
        if name == "tailored":
            yield Row(
                row="variance kept",
                statement="E phi^2 of the tailored leaky ReLU, by an independent quadrature",
                published=1.0,
                measured=exactly(float(here.phi_sq[0])),
                tolerance=absolute(1.0, 1e-9, "quadrature error"),
                source=f"{SOURCE}, Q(1) = 1",
                provenance="P",
            )
        mlp = random_nets(text, init, depth=DEPTH, width=width, seeds=nets, dtype=torch.float64)
        x = torch.zeros(nets, 2, width, dtype=torch.float64)
        x[:, 0, : width // 2], x[:, 1, width // 2 :] = 1.0, 1.0
        course = _cosines(mlp, x)
        lines.append(Series(name, list(range(1, DEPTH + 1)), course.mean(dim=0).tolist()))
        # each layer's cosine has the noise sqrt((1 - c^2)^2 / width), most of it from the first layers, as in a walk of
        # fifty steps that shrink with 1 - c
        spread = 3 * (1 - expected) * float(np.sqrt(2 * DEPTH / width / nets))
        yield Row(
            row=f"orthogonal inputs, {name}",
            statement=f"cosine of two orthogonal inputs after {DEPTH} layers (width {width})",
            published=expected,
            measured=mean_of(course[:, -1].numpy()),
            tolerance=absolute(
                expected, spread, f"3 standard errors of {nets} nets: 2 (1 - c)^2 / width a layer"
            ),
            source=f"{SOURCE}, C(0) of the net is eta",
            provenance="D",
        )
    yield Panel("Two orthogonal inputs", "layer", "cosine", lines)


def _cosines(mlp: StackedMLP, x: Tensor) -> Tensor:
    """Cosine of two inputs, x [net, 2, unit], in each hidden layer: [net, layer]."""
    found: list[Tensor] = []
    for layer in mlp.layers:
        layer.register_forward_hook(
            lambda _, args, out: found.append(torch.cosine_similarity(out[0][:, 0], out[0][:, 1]))
        )
    with torch.no_grad():
        mlp(x)
    return torch.stack(found, dim=1)


def _relu(depth: int) -> float:
    c = 0.0
    for _ in range(depth):
        c = shaping.leaky_correlation(c, 0.0)
    return c
