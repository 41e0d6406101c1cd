"""Memory for intermediate results that is used again: mapping new pages costs more than small reductions do."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Sequence
from math import inf, prod, sqrt
from typing import Any

import torch
from torch import Tensor

from gradlab.nn import statistics as st

EXACT_COUNT = 1 << 24  # up to here sums of ones are exact in float32
EXACT_SUMS = (torch.float32, torch.float64)


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
        buffers: dict[Any, Tensor] = self._local.__dict__
        key = (use, like.dtype, shape)
        found = buffers.get(key)
        if found is None:
            entries, whole = prod(shape), buffers.get((use, like.dtype))
            if whole is None or whole.numel() < entries:
                for old in [each for each in buffers if each[:2] == key[:2]]:
                    del buffers[old]
                whole = buffers[use, like.dtype] = torch.empty(entries, dtype=like.dtype)
            found = buffers[key] = whole[:entries].view(shape)
        return found

    def ones(self, shape: Sequence[int], like: Tensor) -> Tensor:
        """Ones in the format of `like`, to be read only."""
        buffers: dict[Any, Tensor] = self._local.__dict__
        key = ("ones", like.dtype, like.device, shape)
        if key not in buffers:
            buffers[key] = torch.ones(shape, dtype=like.dtype, device=like.device)
        return buffers[key]

    def norm(self, rows: Tensor) -> Tensor:
        """`statistics.norm` of [replica, entry] without gradient: [replica]."""
        return st.norm(rows, self.empty("scratch", rows.shape, rows))

    def length(self, x: Tensor) -> float:
        """`norm` of everything in a tensor on the CPU, as a number."""
        if x.dtype == torch.float32:
            squares = torch.mul(x, x, out=self.empty("scratch", x.shape, x)).sum().item()
            if x.numel() * st.SMALLEST_MEAN_SQUARE < squares < inf:
                return sqrt(squares)
        return float(st.norm(x.reshape(1, -1)))

    def mean_std(self, x: Tensor) -> tuple[float, float] | None:
        """Mean and standard deviation of float32 on the CPU, or None where sums in float32 are not precise
        enough."""
        if x.dtype != torch.float32:
            return None
        mean, square = x.sum().item() / x.numel(), self.length(x) ** 2 / x.numel()
        variance = square - mean * mean
        return (mean, sqrt(variance)) if variance > st.CLEAR_VARIANCE * square and variance < inf else None

    def active(self, x: Tensor) -> Tensor:
        """1 where x, without gradient, is not 0, else 0, in the format of x; until the next call."""
        return torch.ne(x, 0, out=self.empty("scratch", x.shape, x))

    def absolute(self, x: Tensor) -> Tensor:
        """|x| of real x without gradient, until the next call."""
        return torch.abs(x, out=self.empty("scratch", x.shape, x))

    def nonzeros(self, rows: Tensor) -> Tensor:
        """How many entries of [replica, entry] are not 0: [replica]."""
        if rows.dtype in EXACT_SUMS and rows.shape[1] < EXACT_COUNT:
            return self.active(rows).sum(dim=1)  # exact sums of ones; torch counts at half that speed or less
        return torch.count_nonzero(rows, dim=1)
