"""The difficulty of training deep feedforward nets (Glorot & Bengio 2010).

The standard initialisation U[-1/sqrt(n), 1/sqrt(n)] has weight variance 1 / (3 n): delta loses two thirds of its
variance a layer, while the weight gradients hide it. The normalised one, U[+-sqrt(6 / (n_in + n_out))], has variance
1 / n and keeps it. Trained, sigmoid does worst and its top layer falls to 0; tanh gains from normalisation.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import pi
from typing import Any

import numpy as np
import torch

from gradlab import activations
from gradlab.papers.paper import Paper
from gradlab.papers.random_nets import Array, forward_backward, random_nets, unit_inputs
from gradlab.papers.rows import (
    Finding,
    Panel,
    Row,
    Series,
    at_least,
    at_most,
    between,
    mean_of,
    relative,
)
from gradlab.papers.training import last, trained

PAPER = Paper(
    name="glorot-2010",
    title="how initialisation decides what reaches the first layer",
    citation="Glorot & Bengio 2010, Understanding the difficulty of training deep feedforward neural networks",
    order=1,
)

SOURCE = "Glorot & Bengio 2010"
STANDARD = "lecun_uniform:gain=0.5773502691896258"  # variance 1 / (3 n)
NORMALISED = "glorot_uniform"
DEPTH = 5
SATURATING: dict[str, Any] = {
    "activation": "sigmoid",
    "init": STANDARD,
    "depth": 4,
    "width": 64,
    "lr": 0.5,
    "steps": 600,
    "seeds": 2,
    "record": "every:50",
}
TRAINED: dict[str, Any] = {
    "depth": DEPTH,
    "width": 64,
    "lr": 0.01,
    "steps": 600,
    "seeds": 3,
    "record": "every:50",
}


def layer_singular_values(init: str, *, width: int, seeds: int) -> Array:
    """Mean singular value of d h_l / d h_(l-1) over layers 2 to DEPTH and 4 inputs of tanh nets: [replica]."""
    mlp = random_nets("tanh", init, depth=DEPTH, width=width, seeds=seeds)
    slope = activations.get("tanh").slope
    assert slope is not None
    z = forward_backward(mlp, unit_inputs(mlp, 4)).z
    found = []
    for layer in range(1, DEPTH):
        slopes = torch.from_numpy(slope(z[layer].double().numpy()))  # [replica, row, unit]
        weight = mlp.linears[layer].weight.detach().double()
        jacobian = weight.unsqueeze(1) * slopes.unsqueeze(2)  # [replica, row, in, out]
        found.append(torch.linalg.svdvals(jacobian).mean(dim=(1, 2)))
    result: Array = torch.stack(found).mean(dim=0).numpy()
    return result


def reproduce(quick: bool) -> Iterator[Finding]:
    width = 150 if quick else 300
    for name, init, printed, low, high in (
        ("standard", STANDARD, 0.5, 0.44, 0.50),
        ("normalised", NORMALISED, 0.8, 0.69, 0.86),
    ):
        yield Row(
            row=f"singular values, {name}",
            statement="mean singular value of a tanh layer's Jacobian",
            published=printed,
            measured=mean_of(layer_singular_values(init, width=width, seeds=2)),
            tolerance=between(
                low,
                high,
                f"8 / (3 pi) sigma_w = {8 / (3 * pi) * (3**-0.5 if name == 'standard' else 1):.3f} less tanh's slope",
            ),
            source=f"{SOURCE}, section 4.2.1",
            provenance="P",
        )
    yield from _gradients(width)
    yield from _training(quick)


def _gradients(width: int) -> Iterator[Finding]:
    depth = 8
    lines = []
    for name, init in (("standard", STANDARD), ("normalised", NORMALISED)):
        mlp = random_nets("tanh", init, depth=depth, width=width, seeds=4)
        found = forward_backward(mlp, unit_inputs(mlp, 32), weights=True)
        delta = found.delta_rms()[:, :depth]
        lines.append(
            Series(f"{name}: delta_rms", list(range(1, depth + 1)), list(delta.mean(0) / delta.mean(0)[-1]))
        )
        if name == "standard":
            factor = (delta[:, 3] / delta[:, -1]) ** (2 / (depth - 4))
            yield Row(
                row="variance of delta, standard",
                statement="with the standard initialisation the variance of delta falls to 1/3 a layer once q is small",
                published=1 / 3,
                measured=mean_of(factor),
                tolerance=relative(1 / 3, 0.1, "10 %: what q leaves of tanh's slope, and 4 nets"),
                source=f"{SOURCE}, eq. 6 and 14",
                provenance="D",
            )
            norms = torch.stack(
                [g.double().flatten(1).norm(dim=1) for g in found.weight_gradients[1:depth]], dim=1
            )
            ratio = (norms[:, 0] / norms[:, -1]).numpy()
            lines.append(
                Series(
                    "standard: weight gradient",
                    list(range(2, depth + 1)),
                    list((norms / norms[:, -1:]).mean(0).numpy()),
                )
            )
            yield Row(
                row="weight gradients, standard",
                statement="meanwhile the norm of the weight gradient stays flat: layer 2 over the last hidden layer",
                published=1.0,
                measured=mean_of(ratio),
                tolerance=between(0.5, 2.0, "within a factor of 2, where delta falls by 3^3 and more"),
                source=f"{SOURCE}, section 4.2.2 and figure 8",
                provenance="P",
            )
        else:
            factor = (delta[:, 3] / delta[:, -1]) ** (2 / (depth - 4))
            yield Row(
                row="variance of delta, normalised",
                statement="with the normalised one it falls far less: factor a layer of tanh nets",
                published="approximately the same at every layer",
                measured=mean_of(factor),
                tolerance=at_least(2 / 3, "half way from the standard one's 1/3 to 1"),
                source=f"{SOURCE}, section 4.2.1 and figure 7",
                provenance="P",
            )
    yield Panel("Gradients at birth, tanh", "layer", "over the last hidden layer's", lines, log_y=True)


def _training(quick: bool) -> Iterator[Finding]:
    settings = {**TRAINED, "seeds": 2} if quick else TRAINED
    cells = (("sigmoid", STANDARD), ("tanh", STANDARD), ("tanh", NORMALISED))
    error, curves = {}, []
    for activation, init in cells:
        result = trained(activation=activation, init=init, **settings)
        name = f"{activation}, {'normalised' if init == NORMALISED else 'standard'}"
        error[name] = np.array(last(result, "val_loss"))
        curve = result.steps.groupby("step")["val_loss"].median()
        curves.append(Series(name, list(curve.index.astype(float)), list(curve)))
    source = f"{SOURCE}, table 1 and figure 11"
    yield Row(
        row="sigmoid against tanh",
        statement=f"{DEPTH} layers trained alike: loss of sigmoid over that of tanh (digits)",
        published="sigmoid is worse",
        measured=mean_of(error["sigmoid, standard"] / error["tanh, standard"]),
        tolerance=at_least(1.2, "the claim is an order: worse by a fifth or more"),
        source=source,
        provenance="P",
    )
    yield Row(
        row="standard against normalised tanh",
        statement=f"{DEPTH} layers trained alike: loss of standard over that of normalised tanh (digits)",
        published="standard is worse",
        measured=mean_of(error["tanh, standard"] / error["tanh, normalised"]),
        tolerance=at_least(1.2, "the claim is an order: worse by a fifth or more"),
        source=source,
        provenance="P",
    )
    yield Panel(f"Training {DEPTH} layers", "step", "validation loss", curves)
    yield from _saturation()


def _saturation() -> Iterator[Finding]:
    """The readout's biases learn before the layers below do, and push the top layer out of the way."""
    depth = 4
    result = trained(**SATURATING)
    hidden = result.layers[result.layers["layer"] <= depth]
    mean = hidden.groupby(["layer", "step"])["h_mean"].median()
    steps = sorted(hidden["step"].unique())
    for layer, tolerance, statement in (
        (depth, at_most(0.25, "half way from 1/2 to 0"), "the top sigmoid layer is driven towards 0"),
        (1, between(0.4, 0.6, "where it began, 1/2"), "while the first layer stays at 1/2"),
    ):
        yield Row(
            row=f"sigmoid layer {layer} of {depth}",
            statement=f"{statement}: mean activation after 600 steps (digits)",
            published="saturates at 0" if layer == depth else "stays",
            measured=mean_of(hidden[(hidden["layer"] == layer) & (hidden["step"] == steps[-1])]["h_mean"]),
            tolerance=tolerance,
            source=f"{SOURCE}, figure 2",
            provenance="P",
        )
    yield Panel(
        "Sigmoid layers in training",
        "step",
        "mean activation",
        [
            Series(f"layer {layer}", [float(step) for step in steps], list(mean[layer]))
            for layer in range(1, depth + 1)
        ],
    )
