"""Which deep nets have exploding gradients when the signal's own scale is divided out (Philipp, Song & Carbonell 2017).

The gradient scale coefficient of layer k with respect to layer l is GSC = ||J||_qm |f_k| / |f_l|, with J = d f_l / d
f_k and ||J||_qm the root mean square of its singular values: how much a relative change of f_k changes f_l,
relatively. No rescaling of weights or loss changes it. In a wide net a layer multiplies its square by chi q_l /
q_(l+1), with norms by E[phi'^2] over the mean square (layer norm) or the variance (batch norm) of phi at N(0, 1).
"""

from __future__ import annotations

from collections.abc import Iterator
from math import pi, sqrt

import numpy as np

from gradlab import theory
from gradlab.papers.paper import Paper
from gradlab.papers.random_nets import Array, forward_backward, log_noise, random_nets, unit_inputs
from gradlab.papers.rows import Finding, Panel, Row, Series, at_least, between, exactly, mean_of, relative

PAPER = Paper(
    name="philipp-2017",
    title="which fifty-layer nets explode by the gradient scale coefficient",
    citation="Philipp, Song & Carbonell 2017, The exploding gradient problem demystified",
    order=32,
)

SOURCE = "Philipp, Song & Carbonell 2017"
DEPTH, FIRST = 50, 10  # the first layers, where inputs are not yet as batch norm leaves them, are left out
BATCH, NETS = 128, 3


def coefficients(
    activation: str, init: str, *, width: int, norm: str = "none", residual: str = "none"
) -> Array:
    """GSC of each layer with respect to the output, [net, layer].

    ||J||_qm by an independent cotangent v of the output: E |J^T v|^2 = ||J||_F^2.
    """
    mlp = random_nets(activation, init, depth=DEPTH, width=width, seeds=NETS, norm=norm, residual=residual)
    found = forward_backward(mlp, unit_inputs(mlp, BATCH if norm == "batch" else 32))
    delta, size = found.delta_rms(), np.sqrt(found.z_sq())
    return (delta[:, :DEPTH] / delta[:, DEPTH:]) * size[:, :DEPTH] / size[:, DEPTH:]


def normed_growth(activation: str, *, batch: bool) -> float:
    """Factor of GSC a layer, from one normalised z to the next."""
    (slope,), _ = theory.expectation(activation, [1.0], of=lambda phi, slope: slope**2)
    (square,), _ = theory.expectation(activation, [1.0])
    (average,), _ = theory.expectation(activation, [1.0], of=lambda phi, slope: phi)
    return sqrt(slope / (square - average**2 if batch else square))


def reproduce(quick: bool) -> Iterator[Finding]:
    width, steps = 200 if quick else 400, DEPTH - FIRST
    cases = (
        ("ReLU", "relu", "he", "none", 1.0, "a ReLU layer is as steep as it is long: no explosion"),
        ("layer ReLU", "relu", "he", "layer", normed_growth("relu", batch=False), "nor with layer norm"),
        (
            "layer tanh",
            "tanh",
            "lecun",
            "layer",
            normed_growth("tanh", batch=False),
            "layer norm holds tanh off 0",
        ),
        ("SELU", "selu", "lecun", "none", sqrt(1.07157499), "SELU explodes by sqrt(E phi'^2)"),
        (
            "batch tanh",
            "tanh",
            "lecun",
            "batch",
            normed_growth("tanh", batch=True),
            "batch norm explodes with tanh",
        ),
        ("batch ReLU", "relu", "he", "batch", sqrt(pi / (pi - 1)), "batch norm explodes most with ReLU"),
    )
    lines, whole = [], {}
    for name, activation, init, norm, expected, statement in cases:
        gsc = coefficients(activation, init, width=width, norm=norm)
        whole[name] = float(np.exp(np.log(gsc[:, 0]).mean()))
        lines.append(Series(name, list(range(1, DEPTH + 1)), list(np.exp(np.log(gsc).mean(axis=0)))))
        yield Row(
            row=f"factor a layer, {name}",
            statement=f"{statement} (width {width}, layers {FIRST} to {DEPTH})",
            published=expected,
            measured=mean_of((gsc[:, FIRST - 1] / gsc[:, DEPTH - 1]) ** (1 / steps)),
            tolerance=relative(
                expected,
                log_noise(np.ones(steps), width=width, nets=NETS) / 2 / steps,
                f"3 standard errors of {NETS} nets whose log ||delta||^2 varies by 5 / width a layer, and its shift",
            ),
            source=f"{SOURCE}, the coefficient's definition; closed form of a wide layer",
            provenance="D",
        )
    yield Row(
        row="exploding architectures",
        statement="a range of popular MLPs explode: of SELU, batch tanh and batch ReLU those with GSC(0, 50) above 5",
        published=3.0,
        measured=exactly(sum(whole[name] > 5 for name in ("SELU", "batch tanh", "batch ReLU"))),
        tolerance=between(3.0, 3.0, "1.0352^50 = 5.6 is the least of the three"),
        source=f"{SOURCE}, abstract",
        provenance="P",
    )
    plain = coefficients("relu", "he", width=width, norm="batch")
    skips = coefficients("relu", "he", width=width, norm="batch", residual="pre")
    shrunk = np.log(plain[:, 0]) / np.log(skips[:, 0])
    lines.append(
        Series("batch ReLU with skips", list(range(1, DEPTH + 1)), list(np.exp(np.log(skips).mean(axis=0))))
    )
    yield Row(
        row="skip connections",
        statement="ResNets have significantly lower gradients: log GSC of batch ReLU over that with skip connections",
        published="significantly lower with skips",
        measured=mean_of(shrunk),
        tolerance=at_least(2.0, "a stream of l blocks grows by 1 + 1 / l: a power of 50 against 1.21^50"),
        source=f"{SOURCE}, abstract",
        provenance="P",
    )
    yield Panel("Gradient scale coefficient to the output", "layer", "GSC", lines, log_y=True)
