"""The skip connections of a stack: how a hidden layer meets the residual stream, a class for each kind.

Every class has three moments: `enter` on the way into the linear map, `before` between it and the activation,
`after` behind the activation. The stream is [replica, batch, unit], None until the stem has set it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gradlab.parts.residuals import Residual

Pair = tuple[Tensor, Tensor | None]


class Skip(nn.Module):
    """No skip connection: norm, then activation. `ends` marks the last layer of a block, `stem` layer 1; `summed`: the
    stream is a sum, which norm and activation are applied to afterwards."""

    summed = False

    def __init__(self, *, stem: bool = False, ends: bool = False) -> None:
        super().__init__()
        self.stem, self.ends = stem, ends

    def enter(self, h: Tensor) -> Tensor:
        return h

    def before(self, z: Tensor, stream: Tensor | None, norm: nn.Module) -> Pair:
        return norm(z), stream

    def after(self, h: Tensor, stream: Tensor | None) -> Pair:
        return h, stream


class PostSkip(Skip):
    """phi(x + norm(F(x))), the stream is what left the last block (He et al. 2016a)."""

    def before(self, z: Tensor, stream: Tensor | None, norm: nn.Module) -> Pair:
        z = norm(z)
        return (z + stream if self.ends and stream is not None else z), stream

    def after(self, h: Tensor, stream: Tensor | None) -> Pair:
        return h, (h if self.stem or self.ends else stream)


class PreSkip(Skip):
    """x + factor * F(x) before norm and activation: the stream is a sum (He et al. 2016b)."""

    summed = True

    def __init__(self, *, stem: bool, ends: bool, factor: float = 1.0) -> None:
        super().__init__(stem=stem, ends=ends)
        self.constant = factor

    def factor(self, z: Tensor) -> Tensor:
        return z if self.constant == 1.0 else z * self.constant

    def before(self, z: Tensor, stream: Tensor | None, norm: nn.Module) -> Pair:
        if self.stem:
            return norm(z), z
        if self.ends:
            assert stream is not None
            stream = stream + self.factor(z)
            return norm(stream), stream
        return norm(z), stream


class LearnedPreSkip(PreSkip):
    """PreSkip whose factor is a learned scalar for each replica (SkipInit from 0, Fixup's multiplier from 1).

    `biased` adds Fixup's scalar bias on the way into every linear map of a branch.
    """

    def __init__(self, *, stem: bool, ends: bool, replicas: int, start: float, biased: bool) -> None:
        super().__init__(stem=stem, ends=ends)
        self.scale = nn.Parameter(torch.full((replicas, 1, 1), start)) if ends else None
        self.offset = nn.Parameter(torch.zeros(replicas, 1, 1)) if biased and not stem else None

    def enter(self, h: Tensor) -> Tensor:
        return h if self.offset is None else h + self.offset

    def factor(self, z: Tensor) -> Tensor:
        assert self.scale is not None
        return z * self.scale


class ReZeroSkip(Skip):
    """x + a F(x) behind the activation, a learned from 0 for each replica (Bachlechner et al. 2020)."""

    def __init__(self, *, stem: bool, ends: bool, replicas: int) -> None:
        super().__init__(stem=stem, ends=ends)
        self.scale = nn.Parameter(torch.zeros(replicas, 1, 1)) if ends else None

    def after(self, h: Tensor, stream: Tensor | None) -> Pair:
        if self.scale is not None:
            assert stream is not None
            h = stream + self.scale * h
        return h, (h if self.stem or self.ends else stream)


def build_skip(residual: Residual, layer: int, depth: int, replicas: int) -> Skip:
    """The skip module of hidden layer `layer` (from 1)."""
    stem, ends = layer == 1, residual.ends_block(layer)
    match residual.name:
        case "post":
            return PostSkip(stem=stem, ends=ends)
        case "pre":
            return PreSkip(stem=stem, ends=ends)
        case "scaled":
            return PreSkip(stem=stem, ends=ends, factor=residual.branch_factor(depth))
        case "rezero":
            return ReZeroSkip(stem=stem, ends=ends, replicas=replicas)
        case "skipinit":
            return LearnedPreSkip(stem=stem, ends=ends, replicas=replicas, start=0.0, biased=False)
        case "fixup":
            return LearnedPreSkip(stem=stem, ends=ends, replicas=replicas, start=1.0, biased=True)
        case _:
            return Skip()
