"""Even at the critical point tanh's gradient fades, but as a power law (Roberts, Yaida & Hanin 2022, chapter 5).

At sigma_w = 1 and no bias tanh's length map is q - 2 q^2 + O(q^3): q falls as 1 / (2 l) instead of exponentially,
chi = 1 - 2 q follows, and the product of all chi falls as 1 / l.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradlab import theory
from gradlab.papers.paper import Paper
from gradlab.papers.random_nets import forward_backward, random_nets, unit_inputs
from gradlab.papers.rows import Finding, Panel, Row, Series, absolute, exactly, mean_of, relative

PAPER = Paper(
    name="marginal-tanh",
    title="critical tanh fades as a power law",
    citation="Roberts, Yaida & Hanin 2022, The principles of deep learning theory",
    order=6,
)

SOURCE = "Roberts, Yaida & Hanin 2022"
DEEP = 5_000


def reproduce(quick: bool) -> Iterator[Finding]:
    limit = theory.predict("tanh", depth=1_000 if quick else DEEP, sigma_w=1.0)
    layers = np.arange(1, len(limit.q) + 1)
    scaled = 2 * layers * limit.q
    product = layers * np.cumprod(limit.chi)
    yield Row(
        row="2 l q_l, deep limit",
        statement="q_l of tanh at sigma_w = 1 falls as 1 / (2 l)",
        published=1.0,
        measured=exactly(scaled[-1]),
        tolerance=absolute(1.0, 3 * np.log(layers[-1]) / layers[-1], "the correction is of order log(l) / l"),
        source=f"{SOURCE}, section 5.3.3",
        provenance="D",
    )
    yield Row(
        row="2 l q_l at l = 50",
        statement="how far layer 50 still is from the limit",
        published=1.043,
        measured=exactly(scaled[49]),
        tolerance=absolute(1.043, 5e-4, "half of the last digit of an independent quadrature"),
        source=f"{SOURCE}, section 5.3.3",
        provenance="D",
    )
    yield Row(
        row="exponent of the product of chi",
        statement="the product of chi over l layers falls as 1 / l: slope in the logarithms",
        published=-1.0,
        measured=exactly(float(np.log(product[-1] / product[len(product) // 4]) / np.log(4) - 1)),
        tolerance=absolute(-1.0, 0.01, "the correction is of order log(l) / l"),
        source=f"{SOURCE}, section 5.3.3",
        provenance="D",
    )
    yield from _nets(300 if quick else 800, scaled, product)


def _nets(
    width: int,
    scaled: np.ndarray[tuple[int], np.dtype[np.float64]],
    product: np.ndarray[tuple[int], np.dtype[np.float64]],
) -> Iterator[Finding]:
    depth = 50
    mlp = random_nets("tanh", "lecun", depth=depth, width=width, seeds=3)
    found = forward_backward(mlp, unit_inputs(mlp, 8))
    q = found.z_sq()[:, :depth]
    gain = (found.delta_rms()[:, :1] / found.delta_rms()[:, depth : depth + 1]) ** 2
    noise = 100 / width
    yield Row(
        row="2 l q_l at l = 50, nets",
        statement=f"the same in random nets of width {width}",
        published=float(scaled[49]),
        measured=mean_of(100 * q[:, -1]),
        tolerance=relative(float(scaled[49]), noise, "10 % at width 1000, in proportion to 1 / width"),
        source=f"{SOURCE}, section 5.3.3",
        provenance="D",
    )
    yield Row(
        row="l times the product of chi at l = 50, nets",
        statement="||delta||^2 of layer 1 over the readout's, times 50",
        published=float(product[49]),
        measured=mean_of(50 * gain[:, 0]),
        tolerance=relative(
            float(product[49]), 4 * noise, "4 standard errors: the log varies by 5 * 50 / (2 width)"
        ),
        source=f"{SOURCE}, section 5.3.3",
        provenance="D",
    )
    layers = list(range(1, depth + 1))
    yield Panel(
        "tanh at sigma_w = 1",
        "layer",
        "2 l q_l",
        [
            Series("mean field", layers, list(scaled[:depth])),
            Series("nets", layers, list((2 * np.arange(1, depth + 1) * q).mean(axis=0)), "points"),
        ],
        log_x=True,
    )
