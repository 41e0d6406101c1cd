"""Rectifiers need weights of variance 2 / fan_in (He, Zhang, Ren & Sun 2015, Delving deep into rectifiers).

Half of a ReLU's inputs are cut, so each layer passes on half of sigma_w^2: with sigma_w^2 = 2 the gradient keeps its
size at any depth, with 1 (Glorot's rule on square layers) it halves in square at every layer. ReLU is homogeneous,
so for the same draws the two differ by exactly a power of two.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import log, prod, sqrt
from typing import Any

import numpy as np

from gradlab import activations, theory
from gradlab.papers.paper import Paper
from gradlab.papers.random_nets import forward_backward, random_nets, unit_inputs
from gradlab.papers.rows import (
    Finding,
    Measured,
    Panel,
    Row,
    Series,
    at_least,
    at_most,
    between,
    exactly,
    mean_of,
    relative,
)
from gradlab.papers.training import last, trained
from gradlab.parts import inits

PAPER = Paper(
    name="he-2015",
    title="rectifiers need weights of variance 2 / fan_in",
    citation="He, Zhang, Ren & Sun 2015, Delving deep into rectifiers",
    order=2,
)

SOURCE = "He et al. 2015"
SETTINGS: dict[str, Any] = {
    "activation": "relu",
    "init": ["glorot", "he"],
    "depth": 30,
    "width": 128,
    "lr": 0.01,
    "steps": 300,
    "seeds": 3,
    "record": "every:25",
}


def reproduce(quick: bool) -> Iterator[Finding]:
    yield from _exact_ratio()
    yield from _factor_a_layer(300 if quick else 600)
    yield from _vgg()
    yield from _training(quick)


def _exact_ratio() -> Iterator[Finding]:
    profiles = []
    for depth in (20, 30):
        delta = {}
        for square in (2, 1):
            mlp = random_nets("relu", f"gaussian:sigma_w={sqrt(square)!r}", depth=depth, width=64, seeds=3)
            delta[square] = forward_backward(mlp, unit_inputs(mlp, 32)).delta_rms()[:, :depth]
            profiles.append((depth, square, np.median(delta[square] / delta[square][:, -1:], axis=0)))
        first, top = delta[1] / delta[2], -1
        ratio = first[:, 0] / first[:, top]
        expected = 2.0 ** (-(depth - 1) / 2)
        worst = ratio[np.argmax(np.abs(ratio / expected - 1))]
        yield Row(
            row=f"exact power of two, {depth} layers",
            statement="same draws, sigma_w^2 from 2 to 1: delta of layer 1 over the top's falls by 2^(-(L-1)/2)",
            published=expected,
            measured=exactly(worst),
            tolerance=relative(expected, 1e-4, "homogeneity is exact; float32 rounding over 30 layers"),
            source=f"{SOURCE}, section 2.2 with the homogeneity of ReLU",
            provenance="D",
        )
    yield Panel(
        "delta_rms over the top layer's",
        "layer",
        "ratio",
        [
            Series(f"{depth} layers, sigma_w^2 = {square}", list(range(1, depth + 1)), list(profile))
            for depth, square, profile in profiles
        ],
        log_y=True,
    )


def _factor_a_layer(width: int) -> Iterator[Row]:
    depth = 20
    for init, expected in (("he", 1.0), ("glorot", 0.5)):
        mlp = random_nets("relu", init, depth=depth, width=width, seeds=4)
        delta = forward_backward(mlp, unit_inputs(mlp, 16)).delta_rms()
        factors = (delta[:, 0] / delta[:, depth - 1]) ** (2 / (depth - 1))
        yield Row(
            row=f"factor of delta^2 a layer, {init}",
            statement="E||delta||^2 is multiplied by sigma_w^2 / 2 at each ReLU layer",
            published=expected,
            measured=mean_of(factors),
            tolerance=relative(
                expected, 30 / width, f"3 % a layer at width 1000 (E log lies below log E), here {width}"
            ),
            source=f"{SOURCE}, eq. 13-14",
            provenance="P",
        )
    prelu = activations.get("prelu")
    gain = inits.get("he", prelu)
    assert gain.sigma_w is not None
    chi = theory.slope_map(prelu, 1.0, sigma_w=gain.sigma_w(1, 1))
    yield Row(
        row="gain for a slope a below 0",
        statement="2 / (1 + a^2) keeps the gradient where the rectifier leaks a = 0.25: the factor is 1",
        published=1.0,
        measured=exactly(float(chi)),
        tolerance=relative(1.0, 1e-9, "quadrature error"),
        source=f"{SOURCE}, eq. 15",
        provenance="P",
    )


def _vgg() -> Iterator[Row]:
    """Weights of standard deviation 0.01 in VGG's 3 x 3 convolutions: sigma_w^2 = 9 channels 0.01^2."""
    channels = [64, *[128] * 2, *[256] * 2, *[512] * 4]
    factors = [
        sqrt(float(theory.slope_map("relu", 1.0, sigma_w=0.01 * sqrt(9 * width)))) for width in channels
    ]
    yield Row(
        row="VGG with std 0.01",
        statement="from conv10 to conv2 the gradient shrinks by 1 / (5.9 * 4.2^2 * 2.9^2 * 2.1^4) = 1 / 1.7e4",
        published=1.7e4,
        measured=exactly(1 / prod(factors)),
        tolerance=between(1.65e4, 1.75e4, "printed to two digits"),
        source=f"{SOURCE}, section 2.2, comparison with Xavier",
        provenance="P",
    )


def _training(quick: bool) -> Iterator[Finding]:
    settings = {**SETTINGS, "seeds": 1} if quick else SETTINGS
    result = trained(**settings)
    chance = log(10)
    curves = []
    for init in ("glorot", "he"):
        cell = result.steps[result.steps["init"] == init]
        curve = cell.groupby("step")["train_loss"].median()
        curves.append(Series(init, list(curve.index.astype(float)), list(curve)))
        values = last(result, "val_loss", init=init)
        measured = mean_of(values) if len(values) > 1 else Measured(values[0])
        stalls = init == "glorot"
        yield Row(
            row=f"30 layers, {init}",
            statement="30 ReLU layers stall with Glorot's initialisation and converge with He's (digits, width 128)",
            published="stalls" if stalls else "converges",
            measured=measured,
            tolerance=at_least(0.98 * chance, "within 2 % of the loss of guessing, ln 10")
            if stalls
            else at_most(0.6 * chance, "below 0.6 of the loss of guessing, ln 10"),
            source=f"{SOURCE}, figure 3",
            provenance="P",
        )
    yield Panel("Training 30 ReLU layers", "step", "training loss", curves)
