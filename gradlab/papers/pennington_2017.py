"""Resurrecting the sigmoid: whose Jacobian can be isometric (Pennington, Schoenholz & Ganguli 2017).

For J J^T scaled to mean eigenvalue 1 the variance of its eigenvalues is L (mu_2 / mu_1^2 - 1 - s_1), where mu_k are
the moments of phi'^2 and s_1 is 0 for orthogonal and -1 for Gaussian weights. ReLU has mu_2 / mu_1^2 = 2 at every
scale, so its Jacobian spreads with depth whatever the weights; tanh near its linear part has 1.
"""

from __future__ import annotations

from collections.abc import Iterator

from gradlab.papers.paper import Paper
from gradlab.papers.random_nets import Array
from gradlab.papers.rows import Finding, Panel, Row, Series, absolute, mean_of, relative
from gradlab.papers.saxe_2014 import singular_values

PAPER = Paper(
    name="pennington-2017",
    title="whose Jacobian can be isometric",
    citation="Pennington, Schoenholz & Ganguli 2017, Resurrecting the sigmoid in deep learning",
    order=8,
)

SOURCE = "Pennington, Schoenholz & Ganguli 2017"
LAYERS = 6


def spread(values: Array) -> Array:
    """Variance over squared mean of the eigenvalues of J J^T, [replica]."""
    eigenvalues = values**2
    result: Array = eigenvalues.var(axis=1) / eigenvalues.mean(axis=1) ** 2
    return result


def reproduce(quick: bool) -> Iterator[Finding]:
    width, seeds = (150, 4) if quick else (300, 4)
    panels = []
    cases = (
        ("linear", "lecun", "linear, Gaussian", LAYERS * (1 - 1 + 1)),
        ("relu", "he", "ReLU, Gaussian", LAYERS * (2 - 1 + 1)),
        ("relu", "orthogonal", "ReLU, orthogonal", LAYERS * (2 - 1)),
        ("relu", "orthogonal:gain=0.5", "ReLU, orthogonal, small weights", LAYERS * (2 - 1)),
        ("linear", "orthogonal", "linear, orthogonal", 0),
        ("tanh", "orthogonal:gain=1", "tanh near 0, orthogonal", 0),
    )
    for activation, init, name, expected in cases:
        small = 1e-4 if activation == "tanh" else 1.0
        values = singular_values(activation, init, depth=LAYERS, width=width, seeds=seeds, scale=small)
        panels.append(Series(name, [i / width for i in range(width)], list(values[0])))
        yield Row(
            row=name,
            statement=f"variance of the eigenvalues of J J^T over their squared mean, {LAYERS} layers",
            published=float(expected),
            measured=mean_of(spread(values)),
            tolerance=relative(
                float(expected), 0.35, "finite width adds up to L^2 / n and a heavy tail's noise"
            )
            if expected
            else absolute(0.0, 1e-5, "exact but for rounding and, for tanh, L q^2"),
            source=f"{SOURCE}, eq. 22-23",
            provenance="P" if "small" not in name else "D",
        )
    yield Panel("Singular values of the Jacobian", "rank", "singular value", panels, log_y=True)
