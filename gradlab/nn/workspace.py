"""The reductions of `statistics` in memory that is used again: mapping new pages takes longer than a reduction."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Sequence
from math import inf, isfinite, prod, sqrt
from typing import Any

import torch
from torch import Tensor

from gradlab.nn import statistics as st
from gradlab.nn.statistics import Numbers

EXACT_COUNT = 1 << 24  # up to here sums of ones are exact in float32
EXACT_SUMS = (torch.float32, torch.float64)


class Workspace:
    """Reductions of tensors [replica, ...] without graph to one number a replica, and the buffers they work in.

    A buffer is kept by use and format, as large as the largest request so far. Threads do not share them. That is for
    the CPU; elsewhere torch has an allocator that does the same.
    """

    def __init__(self) -> None:
        self._local = threading.local()

    def clear(self) -> None:
        self._local = threading.local()

    def empty(
        self, use: Hashable, shape: Sequence[int], like: Tensor, dtype: torch.dtype | None = None
    ) -> Tensor:
        """A tensor of any content, in the format of `like` or `dtype`, until the next request for the same use."""
        dtype = dtype or like.dtype
        if like.device.type != "cpu":
            return torch.empty(shape, dtype=dtype, device=like.device)
        buffers: dict[Any, Tensor] = self._local.__dict__
        key = (use, dtype, shape)
        found = buffers.get(key)
        if found is None:
            entries, whole = prod(shape), buffers.get((use, dtype))
            if whole is None or whole.numel() < entries:
                for old in [each for each in buffers if each[:2] == key[:2]]:
                    del buffers[old]
                whole = buffers[use, dtype] = torch.empty(entries, dtype=dtype)
            found = buffers[key] = whole[:entries].view(shape)
        return found

    def ones(self, shape: Sequence[int], like: Tensor) -> Tensor:
        """Ones in the format of `like`, to be read only."""
        buffers: dict[Any, Tensor] = self._local.__dict__
        key = ("ones", like.dtype, like.device, shape)
        if key not in buffers:
            buffers[key] = torch.ones(shape, dtype=like.dtype, device=like.device)
        return buffers[key]

    def mask(self, like: Tensor) -> Tensor:
        """Memory for 0 and 1, in the shape of `like`: boolean masks take three times as long to write and to count."""
        return self.empty("scratch", like.shape, like, torch.float32)

    def rows(self, x: Tensor) -> Tensor:
        """[replica, entry]"""
        return x.flatten(1)

    def entries(self, x: Tensor) -> int:
        """Of one replica."""
        return x.numel() // len(x)

    def norm(self, x: Tensor) -> Numbers:
        """L2 norm."""
        return st.norms(x, self._squares(x))

    def rms(self, x: Tensor) -> Numbers:
        """Root mean square."""
        root = sqrt(self.entries(x))
        return st.each(lambda length: length / root, self.norm(x))

    def mean(self, x: Tensor) -> Numbers:
        return st.means(x)

    def mean_abs(self, x: Tensor) -> Numbers:
        """Mean absolute entry, of real x."""
        return self.mean(torch.abs(x, out=self.empty("scratch", x.shape, x)))

    def mean_std(self, x: Tensor) -> tuple[Numbers, Numbers]:
        """Mean and standard deviation, over the population."""
        return st.means_stds(x, self._squares(x))

    def share(self, mask: Tensor) -> Numbers:
        """The mean of a mask of 0 and 1 in float32."""
        return st.means(mask)

    def nonzeros(self, x: Tensor) -> Numbers:
        """How many entries are not 0."""
        if x.numel() < EXACT_COUNT * len(x):
            counts = torch.ne(x, 0, out=self.mask(x)).flatten(1).sum(dim=1)
        else:  # torch counts at half that speed or less, and without memory for it
            counts = torch.count_nonzero(x.flatten(1), dim=1)
        return counts.tolist() if x.device.type == "cpu" else counts.to(st.wide_dtype(x))

    def _squares(self, x: Tensor) -> Tensor | None:
        return self.empty("scratch", (len(x), self.entries(x)), x) if st.summed_narrow(x) else None


class OneModel(Workspace):
    """The same of tensors of any shape, without a replica axis: one number each, on the CPU with the fewest calls."""

    def rows(self, x: Tensor) -> Tensor:
        return x.reshape(1, -1)

    def entries(self, x: Tensor) -> int:
        return x.numel()

    def norm(self, x: Tensor) -> Numbers:
        if st.summed_narrow(x):
            squares = torch.mul(x, x, out=self.empty("scratch", x.shape, x)).sum().item()
            if x.numel() * st.SMALLEST_MEAN_SQUARE < squares < inf:
                return [sqrt(squares)]
        norms = st.norm(self.rows(x))
        return norms.tolist() if x.device.type == "cpu" else norms

    def mean(self, x: Tensor) -> Numbers:
        if x.device.type == "cpu" and x.dtype in EXACT_SUMS and isfinite(mean := x.sum().item() / x.numel()):
            return [mean]
        return super().mean(self.rows(x))

    def mean_std(self, x: Tensor) -> tuple[Numbers, Numbers]:
        x = self.rows(x)
        if st.summed_narrow(x):
            mean = x.sum().item() / x.numel()
            spread = st.deviation(mean, float(self.norm(x)[0]) ** 2 / x.numel())
            if spread is not None:
                return [mean], [spread]
        return super().mean_std(x)

    def share(self, mask: Tensor) -> Numbers:
        if mask.device.type == "cpu" and mask.numel() < EXACT_COUNT:
            return [mask.sum().item() / mask.numel()]
        return self.rows(mask).mean(dim=1, dtype=st.wide_dtype(mask))

    def nonzeros(self, x: Tensor) -> Numbers:
        return super().nonzeros(x[None, None])
