"""The kernel of an erf layer (Williams 1998, Computation with infinite neural networks).

For erf E[phi(u) phi(v)] is (2 / pi) arcsin(2 q c / (1 + 2 q)): the closed form of a saturating activation, and with
c = 1 its length map.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradlab import theory
from gradlab.papers.paper import Paper
from gradlab.papers.rows import Finding, Panel, Row, Series, absolute, exactly

PAPER = Paper(
    name="williams-1998",
    title="the kernel of an erf layer",
    citation="Williams 1998, Computation with infinite neural networks",
    order=20,
)

SOURCE = "Williams 1998"


def closed(q: float, c: float) -> float:
    """E[erf(u) erf(v)] for u, v of variance q and correlation c."""
    return float(2 / np.pi * np.arcsin(2 * q * c / (1 + 2 * q)))


def reproduce(quick: bool) -> Iterator[Finding]:
    lines = []
    correlations = np.linspace(-1, 1, 5 if quick else 11)
    for q in (0.1, 1.0, 10.0):
        found = [theory.pair_means("erf", q, float(c))[0] for c in correlations]
        expected = [closed(q, float(c)) for c in correlations]
        yield Row(
            row=f"E[erf erf], q = {q:g}",
            statement=f"largest error of the quadrature over {len(correlations)} correlations",
            published=0.0,
            measured=exactly(float(np.abs(np.subtract(found, expected)).max())),
            tolerance=absolute(0.0, 1e-8, "the quadrature's own tolerance"),
            source=f"{SOURCE}, eq. 11",
            provenance="P",
        )
        lines += [
            Series(f"q = {q:g}, closed form", list(correlations), expected),
            Series(f"q = {q:g}, quadrature", list(correlations), found, "points"),
        ]
    prediction = theory.predict("erf", depth=12, sigma_w=1.3, sigma_b=0.3)
    q = 1.3**2 + 0.3**2
    for _ in range(11):
        q = 1.3**2 * closed(q, 1.0) + 0.3**2
    yield Row(
        row="length map",
        statement="q of layer 12 of an erf net (sigma_w 1.3, sigma_b 0.3), layer by layer from the closed form",
        published=q,
        measured=exactly(float(prediction.q[-1])),
        tolerance=absolute(q, 1e-9, "quadrature error"),
        source=f"{SOURCE}, eq. 11",
        provenance="D",
    )
    yield Panel("Kernel of erf", "correlation c", "E[erf(u) erf(v)]", lines)
