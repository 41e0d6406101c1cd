"""A recurrent layer of rectifiers that starts as the identity (Le, Jaitly & Hinton 2015).

With W = 1 and no bias a unit that stays active adds up its inputs, and its gradient comes back through time as it
went in: factor 1 at every step. An inactive step cuts it to exactly 0. For symmetric independent inputs h is a random
walk that is reflected at 0, of which the theorems of Sparre Andersen (1953) and Spitzer (1956) say everything: from h
= 0 a unit stays active for k steps with probability C(2k, k) / 4^k, whatever the inputs' distribution, and E h_T is
the sum over k of E max(S_k, 0) / k.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import comb, pi, sqrt

import torch

from gradlab.papers.paper import Paper
from gradlab.papers.random_nets import noise
from gradlab.papers.recurrent_nets import through_time
from gradlab.papers.rows import Finding, Panel, Row, Series, absolute, exactly, mean_of, relative, share_of

PAPER = Paper(
    name="le-2015",
    title="recurrent rectifiers that start as the identity carry the gradient unchanged while active",
    citation="Le, Jaitly & Hinton 2015, A simple way to initialize recurrent networks of rectified linear units",
    order=25,
)

SOURCE = "Le, Jaitly & Hinton 2015"
LATER = (10, 100)


def survival(steps: int) -> float:
    """P(S_1 > 0, ..., S_k > 0) of a walk with symmetric continuous steps."""
    return float(comb(2 * steps, steps) / 4**steps)


def reproduce(quick: bool) -> Iterator[Finding]:
    nets, units, steps = 4, 200 if quick else 1000, 100
    identity = torch.eye(units, dtype=torch.float64).expand(nets, -1, -1)
    x = noise("inputs", steps, nets, 1, units)
    cotangent = noise("cotangent", nets, 1, units)
    active = through_time("relu", identity, list(x.abs()))
    kept = active.back(cotangent, steps) / cotangent
    yield Row(
        row="factor of the gradient",
        statement=f"over {steps} steps of positive inputs, the gradient's factor furthest from 1",
        published=1.0,
        measured=exactly(float(kept.flatten()[(kept - 1).abs().argmax()])),
        tolerance=absolute(1.0, 0.0, "multiplication by 1 and addition of 0"),
        source=f"{SOURCE}, abstract: the identity as the recurrent matrix; derived for active units",
        provenance="D",
    )
    total = active.h[-1] / x.abs().sum(dim=0)
    yield Row(
        row="state",
        statement="h of an active unit is the sum of its inputs: the ratio furthest from 1",
        published=1.0,
        measured=exactly(float(total.flatten()[(total - 1).abs().argmax()])),
        tolerance=absolute(1.0, 1e-13, "rounding of 100 additions"),
        source=f"{SOURCE}, abstract: the identity as the recurrent matrix; derived for active units",
        provenance="D",
    )
    scaled = through_time("relu", 0.9 * identity, list(x.abs())).back(cotangent, 20) / cotangent
    yield Row(
        row="scaled identity",
        statement="0.9 times the identity forgets: factor of the gradient over 20 steps",
        published=0.9**20,
        measured=exactly(float(scaled.mean())),
        tolerance=relative(0.9**20, 1e-12, "rounding"),
        source=f"{SOURCE}, abstract: the identity or its scaled version",
        provenance="D",
    )
    walk = through_time("relu", identity, list(x))
    shares = []
    for later in LATER:
        first = through_time("relu", identity, list(x[:later]))
        count = int((first.back(torch.ones_like(cotangent), later) == 1).sum())
        shares.append(count / (nets * units))
        yield Row(
            row=f"active for {later} steps",
            statement=f"share of units whose gradient comes back {later} steps at full size from symmetric inputs",
            published=survival(later),
            measured=share_of(count, nets * units),
            tolerance=absolute(
                survival(later),
                4 * sqrt(survival(later) * (1 - survival(later)) / (nets * units)),
                "4 standard errors of a share",
            ),
            source=f"{SOURCE}, derived; Sparre Andersen 1953",
            provenance="D",
        )
    expected = sum(1 / sqrt(2 * pi * k) for k in range(1, steps + 1))
    means = torch.stack([h.mean(dim=(1, 2)) for h in walk.h], dim=1)
    yield Row(
        row="growth of the state",
        statement=f"mean h after {steps} steps of standard normal inputs, about sqrt(2 t / pi)",
        published=expected,
        measured=mean_of(means[:, -1].numpy()),
        tolerance=absolute(
            expected,
            4 * sqrt(steps * (1 - 2 / pi) / (nets * units)),
            "4 standard errors: h is about sqrt(t) |x|",
        ),
        source=f"{SOURCE}, derived; Spitzer 1956",
        provenance="D",
    )
    times = list(range(1, steps + 1))
    yield Panel(
        "Units whose gradient comes back whole",
        "steps",
        "share",
        [
            Series("C(2k, k) / 4^k", times, [survival(k) for k in times]),
            Series("nets", list(LATER), shares, "points"),
        ],
        log_x=True,
        log_y=True,
    )
    yield Panel(
        "State of symmetric inputs", "step", "mean h", [Series("nets", times, means.mean(dim=0).tolist())]
    )
