"""Batch norm makes gradients explode at initialisation (Yang, Pennington, Rao, Sohl-Dickstein & Schoenholz 2019).

Dividing by the batch's standard deviation undoes what ReLU took from the signal, and the gradient pays for it:
E||delta||^2 grows by pi / (pi - 1) a layer in wide nets with large batches, whatever the weights' scale. For linear
nets the factor is (B - 2) / (B - 3) at batch size B. Layer 1 sees raw inputs and is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import pi

from gradlab.papers.paper import Paper
from gradlab.papers.random_nets import Array, forward_backward, random_nets, unit_inputs
from gradlab.papers.rows import Finding, Panel, Row, Series, mean_of, relative

PAPER = Paper(
    name="yang-2019",
    title="batch norm makes gradients explode at birth",
    citation="Yang, Pennington, Rao, Sohl-Dickstein & Schoenholz 2019, A mean field theory of batch "
    "normalization",
    order=12,
)

SOURCE = "Yang et al. 2019"
DEPTH = 10
RELU = pi / (pi - 1)


def profile(activation: str, init: str, *, batch: int, width: int, seeds: int, norm: str = "batch") -> Array:
    """delta^2 of the hidden layers over the top's, [replica, layer]."""
    mlp = random_nets(activation, init, depth=DEPTH, width=width, seeds=seeds, norm=norm)
    delta = forward_backward(mlp, unit_inputs(mlp, batch)).delta_rms()[:, :DEPTH]
    result: Array = (delta / delta[:, -1:]) ** 2
    return result


def factor(found: Array) -> Array:
    """Factor a layer between layers 2 and DEPTH, [replica]."""
    result: Array = found[:, 1] ** (1 / (DEPTH - 2))
    return result


def reproduce(quick: bool) -> Iterator[Finding]:
    width = 400 if quick else 700
    lines = []
    layers = list(range(1, DEPTH + 1))
    for init in ("he", "gaussian:sigma_w=0.5"):
        found = profile("relu", init, batch=256, width=width, seeds=2)
        lines.append(Series(f"ReLU, {init}", layers, list(found.mean(axis=0))))
        yield Row(
            row=f"ReLU, {init}",
            statement="batch norm, ReLU: E||delta||^2 grows by pi / (pi - 1) a layer, whatever the weights' scale",
            published=RELU,
            measured=mean_of(factor(found)),
            tolerance=relative(RELU, 0.02, "of order 1 / batch and 1 / width"),
            source=f"{SOURCE}, section 3, theorem 3.9",
            provenance="P",
        )
    without = profile("relu", "he", batch=64, width=width, seeds=2, norm="none")
    lines.append(Series("ReLU, he, no norm", layers, list(without.mean(axis=0))))
    for batch in (8, 16, 32):
        expected = (batch - 2) / (batch - 3)
        found = profile("linear", "lecun", batch=batch, width=width, seeds=3)
        yield Row(
            row=f"linear, batch {batch}",
            statement="batch norm in linear nets: the factor is (B - 2) / (B - 3)",
            published=expected,
            measured=mean_of(factor(found)),
            tolerance=relative(expected, 0.02, "of order 1 / width"),
            source=f"{SOURCE}, section 3, the linear case",
            provenance="D",
        )
    lines.append(Series("pi / (pi - 1) a layer", layers, [RELU ** (DEPTH - layer) for layer in layers]))
    yield Panel(
        "Gradients of batch-normalised nets", "layer", "delta^2 over the top layer's", lines, log_y=True
    )
