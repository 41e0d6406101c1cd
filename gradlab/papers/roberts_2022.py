"""Half-stable criticality of GELU and SiLU (Roberts, Yaida & Hanin 2022, The principles of deep learning theory).

Neither has a critical point without biases: at their chi_1 = 1 the variance runs away. The best that can be done is
a point where the length map touches the diagonal: chi_1 = 1 and dq'/dq = 1 together. C_W = sigma_w^2 and
C_b = sigma_b^2 of that point follow from quadrature alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isnan, nan, pi

import numpy as np

from gradlab import theory
from gradlab.papers.paper import Paper
from gradlab.papers.rows import Finding, Panel, Row, Series, absolute, exactly, relative

PAPER = Paper(
    name="roberts-2022",
    title="half-stable criticality of GELU and SiLU",
    citation="Roberts, Yaida & Hanin 2022, The principles of deep learning theory",
    order=17,
)

SOURCE = "Roberts, Yaida & Hanin 2022, section 5.3.4"
POINTS = {  # C_W, C_b, K*
    "gelu": (1.98305826, 0.17292239, 3.56155281),
    "silu": (1.98800468, 0.55514317, 14.32017362),
}
# phi(z) = z / 2 + a z^2 + O(z^4) gives E[phi^2] = q / 4 + 3 a^2 q^2, with a = 1 / sqrt(2 pi) and 1 / 4
GROWTH = {"gelu": 6 / pi, "silu": 3 / 4}


def reproduce(quick: bool) -> Iterator[Finding]:
    panels = []
    for activation, (weight, bias, kernel) in POINTS.items():
        critical = theory.critical(activation)
        found = critical.half_stable
        if found is None:  # what a broken quadrature would say: every row below then fails on nan
            found = theory.HalfStable(nan, nan, nan)
        values = (found.sigma_w**2, found.sigma_b**2, found.q)
        for name, expected, value in zip(("C_W", "C_b", "K*"), (weight, bias, kernel), values, strict=True):
            yield Row(
                row=f"{name} of {activation}",
                statement=f"{name} of the point where {activation}'s length map touches the diagonal",
                published=expected,
                measured=exactly(value),
                tolerance=relative(expected, 1e-7, "8 significant digits by an independent quadrature"),
                source=SOURCE,
                provenance="D",
            )
        slope = nan if isnan(found.q) else float(theory.slope_map(activation, found.q, sigma_w=found.sigma_w))
        yield Row(
            row=f"chi_1 of {activation}",
            statement="the gradient's factor a layer at that point",
            published=1.0,
            measured=exactly(slope),
            tolerance=absolute(1.0, 1e-9, "it defines the point"),
            source=SOURCE,
            provenance="D",
        )
        small, growth = 1e-4, GROWTH[activation]
        after = float(theory.length_map(activation, small, sigma_w=2.0))
        yield Row(
            row=f"{activation} without biases",
            statement="at sigma_w = 2, where chi_1(0) = 1, q grows just above 0: (q' / q - 1) / q",
            published=growth,
            measured=exactly((after / small - 1) / small),
            tolerance=relative(growth, 1e-3, "the next order of the series, at q = 1e-4"),
            source=SOURCE,
            provenance="D",
        )
        if isnan(found.q):
            continue
        q = np.linspace(0.5, 2, 25) * found.q
        image = theory.length_map(activation, q, sigma_w=found.sigma_w, sigma_b=found.sigma_b)
        panels.append(Series(activation, list(q / found.q), list((image - q) / found.q)))
    yield Panel("Touching the diagonal", "q / K*", "(q' - q) / K*", panels)
