"""Residual nets at initialisation: who starts as the identity, and how fast the signal grows.

ReZero (Bachlechner et al. 2020), SkipInit (De & Smith 2020) and Fixup (Zhang, Dauphin & Ma 2019) begin with branches
that contribute nothing: the blocks pass signal and gradient through bit for bit. Plain residual blocks double the
variance at each block; a norm on the branch makes it grow by 1 a block; branches scaled by 1 / sqrt(L) keep it below
e (Hayou et al. 2021). Veit, Wilber & Belongie 2016 count the paths through 54 blocks: almost none of the 2^54 are
short, but short ones carry the gradient.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import comb, e

import numpy as np
import torch
from torch import Tensor

from gradlab.papers.paper import Paper
from gradlab.papers.random_nets import Array, many_nets, random_nets, unit_inputs
from gradlab.papers.rows import Finding, Panel, Row, Series, absolute, exactly, mean_of, relative

PAPER = Paper(
    name="residual-schemes",
    title="residual nets at birth",
    citation="Bachlechner et al. 2020; De & Smith 2020; Zhang et al. 2019; Hayou et al. 2021; Veit et al. "
    "2016",
    order=15,
)

BLOCKS, WIDTH = 16, 100
IDENTITY = {
    "rezero": "Bachlechner et al. 2020, abstract: an arbitrary layer starts as the identity map",
    "skipinit": "De & Smith 2020, derived: a factor of 0 ends every branch",
    "fixup": "Zhang, Dauphin & Ma 2019, the authors' code (hongyi-zhang/Fixup): a branch's last weights start at 0",
}


def reproduce(quick: bool) -> Iterator[Finding]:
    for scheme, source in IDENTITY.items():
        yield from _identity(scheme, source)
    yield from _growth(300, 0.08) if quick else _growth(800, 0.05)
    yield from _paths()


def _identity(scheme: str, source: str) -> Iterator[Row]:
    """Signal and gradient at the first and the last block's output, compared bit for bit."""
    depth = 1 + 2 * BLOCKS
    mlp = random_nets("relu", "he", depth=depth, width=32, seeds=3, residual=scheme)
    streams: list[Tensor] = []
    handles = [
        layer.register_forward_hook(
            lambda _, args, out: streams.append(out[1] if out[1] is not None else out[0])
        )
        for layer in mlp.layers
    ]
    try:
        output = mlp(unit_inputs(mlp, 8))
    finally:
        for handle in handles:
            handle.remove()
    cotangent = torch.randn(output.shape, generator=torch.Generator().manual_seed(0))
    first, last = torch.autograd.grad(output, [streams[0], streams[-1]], cotangent)
    for name, differ in (("signal", streams[0] != streams[-1]), ("gradient", first != last)):
        yield Row(
            row=f"{scheme}, {name}",
            statement=f"16 blocks or more are the identity at birth: entries of the {name} that differ",
            published=0.0,
            measured=exactly(float(differ.sum())),
            tolerance=absolute(0.0, 0.0, "exact: a branch of 0 adds 0"),
            source=source,
            provenance="D" if scheme == "skipinit" else "P",
        )


def stream_variance(residual: str, norm: str, *, blocks: int, nets: int) -> Array:
    """Mean square of the residual stream behind the stem and each block, [replica, 1 + blocks]."""
    depth = 1 + blocks
    mlp = many_nets(
        "relu", "he", depth=depth, width=WIDTH, nets=nets, outputs=1, residual=residual, norm=norm
    )
    streams: list[Tensor] = []
    for layer in mlp.layers:
        layer.register_forward_hook(lambda _, args, out: streams.append(out[1]))
    with torch.no_grad():
        mlp(unit_inputs(mlp, 8, mean_square=0.5))  # the stem doubles it: q of the stem is 1
    result: Array = torch.stack([s.double().square().mean(dim=(1, 2)) for s in streams], dim=1).numpy()
    return result


def _growth(nets: int, share: float) -> Iterator[Finding]:
    lines = []
    cases = (
        (
            "no norm",
            "pre",
            "none",
            2.0**6,
            6,
            "doubles at each block: 2^6 after 6",
            "He et al. 2016; De & Smith 2020",
        ),
        (
            "norm on the branch",
            "pre",
            "layer",
            1.0 + BLOCKS,
            BLOCKS,
            "grows by 1 a block: 17 after 16",
            "De & Smith 2020",
        ),
        (
            "scaled branches",
            "scaled",
            "none",
            (1 + 1 / BLOCKS) ** BLOCKS,
            BLOCKS,
            "(1 + 1/L)^L, below e",
            "Hayou et al. 2021",
        ),
    )
    for name, residual, norm, expected, blocks, statement, source in cases:
        q = stream_variance(residual, norm, blocks=blocks, nets=nets)
        lines.append(Series(name, list(range(blocks + 1)), list(q.mean(axis=0))))
        yield Row(
            row=f"growth, {name}",
            statement=f"variance of the residual stream of He-ReLU blocks {statement} ({nets} nets)",
            published=expected,
            measured=mean_of(q[:, -1] / q[:, 0]),
            tolerance=relative(
                expected,
                share,
                f"4 standard errors of {nets} nets: a block adds 9 / (4 width) to the variance",
            ),
            source=source,
            provenance="D",
        )
    yield Panel(
        "Variance of the residual stream",
        "block",
        "q",
        [*lines, Series("e", [0, BLOCKS], [e, e])],
        log_y=True,
    )


def _paths() -> Iterator[Finding]:
    blocks = 54
    share = sum(comb(blocks, k) for k in range(5, 18)) / 2**blocks
    yield Row(
        row="short paths",
        statement="of the 2^54 paths through 54 blocks, the share that passes 5 to 17 of them, in percent",
        published=0.45,
        measured=exactly(100 * share),
        tolerance=absolute(0.45, 0.005, "half of the last printed digit"),
        source="Veit, Wilber & Belongie 2016, section 4.3",
        provenance="P",
    )
    lengths = np.arange(blocks + 1)
    counts = [comb(blocks, int(k)) / 2**blocks for k in lengths]
    yield Panel(
        "Paths through 54 blocks", "length", "share", [Series("binomial", list(lengths), counts, "bars")]
    )
