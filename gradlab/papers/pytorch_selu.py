"""PyTorch's gain for SELU, 3/4: what it does to a deep net, beside 1 and the gain that keeps the gradient.

Klambauer et al. 2017 derive gain 1: the signal stays at variance 1, and the gradient grows by 1.0716 in square at
each layer. PyTorch recommends 3/4 and says why: "sacrifices the normalization effect for more stable gradient flow".
Its fixed point has a smaller variance, and its gradient a factor nearer to 1 but above it. Below 0.6905, where SELU
is critical without biases, the signal dies out.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from gradlab import theory
from gradlab.papers.paper import Paper
from gradlab.papers.random_nets import Array, forward_backward, log_noise, random_nets, unit_inputs
from gradlab.papers.rows import Finding, Panel, Row, Series, absolute, at_most, exactly, mean_of, relative
from gradlab.theory import curve, fixed_points

PAPER = Paper(
    name="pytorch-selu",
    title="what PyTorch's gain 3/4 for SELU does to fifty layers",
    citation="PyTorch documentation, torch.nn.init.calculate_gain",
    order=31,
)

SOURCE = "PyTorch documentation, torch.nn.init.calculate_gain"
DEPTH = 50
Q_STAR, CHI_1 = 0.02303378, 1.00367035  # of gain 3/4, from adaptive quadrature in float64
CRITICAL = 0.69048607


def reproduce(quick: bool) -> Iterator[Finding]:
    yield Row(
        row="gain",
        statement="what the installed torch recommends for SELU",
        published=0.75,
        measured=exactly(float(torch.nn.init.calculate_gain("selu"))),
        tolerance=absolute(0.75, 0.0, "printed as 3/4"),
        source=SOURCE,
        provenance="P",
    )
    (point,) = [each for each in fixed_points(curve("selu"), 0.75, 0.0).points if each.q > 0]
    yield Row(
        row="variance at the fixed point",
        statement="z of wide SELU nets of gain 3/4 settles at this variance instead of at 1",
        published=Q_STAR,
        measured=exactly(point.q),
        tolerance=absolute(Q_STAR, 2e-8, "computed independently to 8 decimals"),
        source=f"{SOURCE}; length map of SELU",
        provenance="D",
    )
    yield Row(
        row="growth of the gradient",
        statement="factor of E||delta||^2 a layer there: less than the 1.0716 of gain 1, still above 1",
        published=CHI_1,
        measured=exactly(float(theory.slope_map("selu", point.q, sigma_w=0.75))),
        tolerance=absolute(CHI_1, 2e-8, "computed independently to 8 decimals"),
        source=f"{SOURCE}; slope of SELU",
        provenance="D",
    )
    yield Row(
        row="gain that keeps the gradient",
        statement="without biases the edge of chaos is at sigma_w = 0.69, where the signal fades to 0 as a power law",
        published=CRITICAL,
        measured=exactly(theory.critical("selu").sigma_w or 0.0),
        tolerance=absolute(CRITICAL, 2e-8, "computed independently to 8 decimals"),
        source=f"{SOURCE}; (1 + alpha^2) lambda^2 sigma_w^2 / 2 = 1",
        provenance="D",
    )
    yield from _nets(200 if quick else 500)


def _nets(width: int) -> Iterator[Finding]:
    lines, attenuation = [], {}
    for name, gain in (("3/4", 0.75), ("1", 1.0), ("critical", CRITICAL)):
        mlp = random_nets("selu", f"gaussian:sigma_w={gain!r}", depth=DEPTH, width=width, seeds=4)
        found = forward_backward(mlp, unit_inputs(mlp, 8))
        predicted = theory.predict("selu", depth=DEPTH, sigma_w=gain)
        decades: Array = np.log10(found.delta_rms()[:, 0] / found.delta_rms()[:, DEPTH - 1])
        attenuation[name] = float(decades.mean())
        expected = float(np.log10(predicted.chi[: DEPTH - 1]).sum() / 2)
        variance = found.z_sq()[:, DEPTH - 1]
        lines.append(
            Series(f"gain {name}", list(range(1, DEPTH + 1)), list(found.z_sq()[:, :DEPTH].mean(axis=0)))
        )
        yield Row(
            row=f"gradient over fifty layers, gain {name}",
            statement=f"log10 of ||delta|| of layer 1 over layer 50's (width {width})",
            published=expected,
            measured=mean_of(decades),
            tolerance=absolute(
                expected,
                log_noise(np.ones(DEPTH - 1), width=width, nets=4) / 2 / np.log(10),
                "3 standard errors of 4 nets whose log ||delta||^2 varies by 5 / width a layer, and its shift",
            ),
            source=f"{SOURCE}; product of chi(q_l)",
            provenance="D",
        )
        if name != "critical":
            q = float(predicted.q[DEPTH - 1])
            yield Row(
                row=f"variance in layer 50, gain {name}",
                statement=f"variance of z after fifty layers (width {width})",
                published=q,
                measured=mean_of(variance),
                tolerance=relative(q, 60 / width, "4 standard errors of 4 nets"),
                source=f"{SOURCE}; length map of SELU",
                provenance="D",
            )
    yield Row(
        row="more stable gradient flow",
        statement="decades gained or lost over fifty layers at gain 3/4, as a share of those at gain 1",
        published="less",
        measured=exactly(abs(attenuation["3/4"] / attenuation["1"])),
        tolerance=at_most(1.0, "the documentation's words: more stable gradient flow"),
        source=SOURCE,
        provenance="P",
    )
    yield Panel("SELU by gain", "layer", "variance of z", lines, log_y=True)
