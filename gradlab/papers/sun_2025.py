"""Pre-norm and the 1 / sqrt(l) scale of its norms, at birth (Sun et al. 2025, the curse of depth).

A block x + F(LN(x)) of He-like feed-forward layers adds 1/2 to the stream's variance, so that it grows linearly: the
lower end of the range Theta(L) to Theta(exp(L)) that the paper gives for pre-norm. LayerNorm scaling multiplies the
norm's output by 1 / sqrt(l); the variance then grows as the harmonic sum H_L / 2, a logarithm. A block's Jacobian
differs from the identity by sqrt(1 / (2 q)), q the stream's variance, with the scaling by another 1 / sqrt(l).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import sqrt

import torch
from torch import Tensor

from gradlab.papers.paper import Paper
from gradlab.papers.random_nets import drawn, noise
from gradlab.papers.rows import Finding, Panel, Row, Series, mean_of, relative
from gradlab.papers.transformers import normed

PAPER = Paper(
    name="sun-2025",
    title="pre-norm's variance grows with depth, and LayerNorm scaling slows it to a logarithm",
    citation="Sun et al. 2025, The curse of depth in large language models",
    order=40,
)

SOURCE = "Sun et al. 2025"
DEPTH = 64


def course(nets: int, units: int, *, scaled: bool) -> tuple[Tensor, Tensor]:
    """Variance of the stream, [net, block + 1], and rms of (J - 1) v / |v| for a random v, [net, block]."""
    x = normed(noise("tokens", nets, 8, units))
    variance, distance = [x.square().mean(dim=(1, 2))], []
    for block in range(1, DEPTH + 1):
        first = drawn(f"block {block} first", nets, units, units)
        second = drawn(f"block {block} second", nets, units, units)
        factor = block**-0.5 if scaled else 1.0

        def branch(
            x: Tensor, first: Tensor = first, second: Tensor = second, factor: float = factor
        ) -> Tensor:
            return torch.relu(factor * normed(x) @ first) @ second

        direction = noise(f"direction {block}", *x.shape)
        added, change = torch.func.jvp(branch, (x,), (direction,))[:2]
        distance.append((change.square().mean(dim=(1, 2)) / direction.square().mean(dim=(1, 2))).sqrt())
        x = x + added
        variance.append(x.square().mean(dim=(1, 2)))
    return torch.stack(variance, dim=1), torch.stack(distance, dim=1)


def expected(*, scaled: bool) -> list[float]:
    """The stream's variance by block."""
    q = [1.0]
    for block in range(1, DEPTH + 1):
        q.append(q[-1] + (1 / block if scaled else 1.0) / 2)
    return q


def reproduce(quick: bool) -> Iterator[Finding]:
    nets, units = 8, 96 if quick else 256
    lines: list[Series] = []
    distances: dict[bool, Sequence[float]] = {}
    found: dict[bool, Tensor] = {}
    for scaled in (False, True):
        name = "LayerNorm scaling" if scaled else "pre-norm"
        variance, distance = course(nets, units, scaled=scaled)
        q = expected(scaled=scaled)
        lines += [
            Series(name, list(range(DEPTH + 1)), variance.mean(dim=0).tolist(), "points"),
            Series(f"{name}, mean field", list(range(DEPTH + 1)), q),
        ]
        adds = [(1 / block if scaled else 1.0) / 2 for block in range(1, DEPTH + 1)]
        # The stream's product with what a block adds varies by 4 q add / units, the added length by 5 add^2 / units.
        spread = (
            4 * sqrt(sum(4 * a * b + 5 * a * a for a, b in zip(adds, q, strict=False)) / units / nets) / q[-1]
        )
        for blocks in (16, DEPTH):
            yield Row(
                row=f"variance after {blocks} blocks, {name}",
                statement="variance of the stream at birth, " + ("1 + H_L / 2" if scaled else "1 + L / 2"),
                published=q[blocks],
                measured=mean_of(variance[:, blocks].numpy()),
                tolerance=relative(q[blocks], spread, f"4 standard errors of {nets} nets' walks"),
                source=f"{SOURCE}, lemma on the variance; closed form at birth",
                provenance="D",
            )
        distances[scaled] = [sqrt((1 / n if scaled else 1.0) / 2 / q[n - 1]) for n in range(1, DEPTH + 1)]
        found[scaled] = distance
        yield Row(
            row=f"last block's distance from the identity, {name}",
            statement=f"rms of (J - 1) v for a random unit v at block {DEPTH}",
            published=distances[scaled][-1],
            measured=mean_of(distance[:, -1].numpy()),
            tolerance=relative(
                distances[scaled][-1],
                spread / 2 + 4 * sqrt(5 / units / nets) / 2,
                f"4 standard errors of {nets} nets",
            ),
            source=f"{SOURCE}, abstract: deep blocks become the identity; closed form at birth",
            provenance="D",
        )
    ratio = distances[True][-1] / distances[False][-1]
    yield Row(
        row="deep layers contribute more with scaling",
        statement="the last block's distance from the identity with scaling over that without, at birth: it is smaller",
        published="more, in trained models",
        measured=mean_of((found[True][:, -1] / found[False][:, -1]).numpy()),
        tolerance=None,  # the claim is of trained models; at birth the closed form gives the opposite
        source=f"{SOURCE}, abstract; {ratio:.2f} by the closed form",
        provenance="P",
    )
    yield Panel("Variance of the stream at birth", "block", "variance", lines)
    yield Panel(
        "Distance of a block's Jacobian from the identity",
        "block",
        "rms of (J - 1) v",
        [
            Series(name, list(range(1, DEPTH + 1)), found[scaled].mean(dim=0).tolist())
            for name, scaled in (("pre-norm", False), ("LayerNorm scaling", True))
        ],
        log_y=True,
    )
