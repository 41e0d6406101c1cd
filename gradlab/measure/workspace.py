"""Memory for intermediate results that is used again: mapping new pages costs more than small reductions do."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Sequence
from math import inf, prod

import torch
from torch import Tensor

from gradlab.measure import statistics as st

EXACT_COUNT = 1 << 24  # up to here sums of ones are exact in float32


class Workspace:
    """Buffers by use and format, each as large as the largest request so far. Threads do not share them.

    For the CPU; elsewhere torch has an allocator that does the same.
    """

    def __init__(self) -> None:
        self._local = threading.local()

    def clear(self) -> None:
        self._local = threading.local()

    def empty(self, use: Hashable, shape: Sequence[int], like: Tensor) -> Tensor:
        """A tensor of any content, in the format of `like`, until the next request for the same use."""
        if like.device.type != "cpu":
            return torch.empty(shape, dtype=like.dtype, device=like.device)
        kept: dict[Hashable, Tensor] = self._local.__dict__
        entries, key = prod(shape), (use, like.dtype)
        found = kept.get(key)
        if found is None or found.numel() < entries:
            found = kept[key] = torch.empty(entries, dtype=like.dtype)
        return found[:entries].view(shape)

    def norm(self, rows: Tensor) -> Tensor:
        """`statistics.norm` of [replica, entry] without gradient: [replica].

        The squares of float32 are summed pairwise, right to about one part in 10^7; in float64 where they might
        underflow.
        """
        if rows.dtype == torch.float32 and rows.device.type == "cpu" and rows.shape[1]:
            squares = torch.mul(rows, rows, out=self.empty("squares", rows.shape, rows)).sum(dim=1)
            least = rows.shape[1] * st.SMALLEST_MEAN_SQUARE
            if all(least < square < inf for square in squares.tolist()):
                return squares.to(torch.float64).sqrt_()
        return st.norm(rows)

    def absolute(self, x: Tensor) -> Tensor:
        """|x| of real x without gradient, until the next call."""
        return torch.abs(x, out=self.empty("absolute", x.shape, x))

    def nonzeros(self, rows: Tensor, finite: bool) -> Tensor:
        """How many entries of [replica, entry] are not 0: [replica]. finite: known to hold no NaN."""
        if finite and rows.dtype in (torch.float32, torch.float64) and rows.shape[1] < EXACT_COUNT:
            signs = torch.sign(rows, out=self.empty("signs", rows.shape, rows))
            return signs.abs_().sum(dim=1)  # sums of ones are exact; counting zeros here and there is slower
        return torch.count_nonzero(rows, dim=1)
