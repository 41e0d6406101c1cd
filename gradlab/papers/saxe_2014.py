"""Dynamical isometry of orthogonal linear nets (Saxe, McClelland & Ganguli 2014, Exact solutions ...).

A product of orthogonal matrices is orthogonal: every direction of the gradient keeps its length at any depth. With
Gaussian weights of the same scale only the mean of the squared lengths is kept; most directions vanish.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from gradlab.papers.paper import Paper
from gradlab.papers.random_nets import Array, jacobians, random_nets, unit_inputs
from gradlab.papers.rows import Finding, Panel, Row, Series, absolute, at_least, exactly, mean_of

PAPER = Paper(
    name="saxe-2014",
    title="orthogonal weights keep every direction",
    citation="Saxe, McClelland & Ganguli 2014, Exact solutions to the nonlinear dynamics of learning",
    order=7,
)

SOURCE = "Saxe, McClelland & Ganguli 2014"


def singular_values(
    activation: str, init: str, *, depth: int, width: int, seeds: int, scale: float = 1.0
) -> Array:
    """Singular values of the input-output Jacobian of the hidden layers, descending: [replica, unit]."""
    mlp = random_nets(activation, init, depth=depth, width=width, seeds=seeds)
    found = jacobians(mlp, unit_inputs(mlp, 1, mean_square=scale))
    values: Array = torch.linalg.svdvals(found.double()).numpy()
    return values


def reproduce(quick: bool) -> Iterator[Finding]:
    depth, width = (30, 64) if quick else (100, 100)
    orthogonal = singular_values("linear", "orthogonal", depth=depth, width=width, seeds=2)
    yield Row(
        row="orthogonal linear net",
        statement=f"all singular values of the Jacobian are 1: largest distance ({depth} layers)",
        published=0.0,
        measured=exactly(float(np.abs(orthogonal - 1).max())),
        tolerance=absolute(0.0, 1e-5 * depth, "float32 rounding, 1e-5 a layer"),
        source=f"{SOURCE}, section 3",
        provenance="P",
    )
    shallow = 6
    gaussian = singular_values("linear", "lecun", depth=shallow, width=width, seeds=8)
    mean = (gaussian**2).mean(axis=1)
    yield Row(
        row="Gaussian linear net, mean",
        statement=f"with Gaussian weights the squared singular values keep mean 1 ({shallow} layers)",
        published=1.0,
        measured=mean_of(mean),
        # each layer adds 2 sum(s^4) / sum(s^2)^2 / n to the relative variance, and that ratio grows as l / n
        tolerance=absolute(
            1.0, 4 * np.sqrt(shallow * (shallow + 1) / 8) / width, "4 standard errors of 8 nets"
        ),
        source=f"{SOURCE}, section 3",
        provenance="D",
    )
    yield Row(
        row="Gaussian linear net, median",
        statement="mean over median of the squared singular values: most directions are lost",
        published="a large number of very small singular values",
        measured=mean_of(mean / np.median(gaussian**2, axis=1)),
        tolerance=at_least(20.0, "an order of magnitude and more; without spread it is 1"),
        source=f"{SOURCE}, figure 6",
        provenance="P",
    )
    rank = list(np.linspace(0, 1, width))
    yield Panel(
        "Singular values of the Jacobian",
        "rank",
        "singular value",
        [
            Series(f"orthogonal, {depth} layers", rank, list(orthogonal[0])),
            Series(f"Gaussian, {shallow} layers", rank, list(gaussian[0])),
        ],
        log_y=True,
    )
