"""Histograms of z, h and delta in every layer of a stack: the distributions behind a record's means and norms.

z and h are those of the probe, in eval mode; delta is that of the training batch, one sample's own error. Exact zeros
and entries that are not finite are counted apart; all others fall into BINS equal bins between the smallest and the
largest of them: of the value itself for z and h, of log10 |delta| for delta, which spans any number of decades.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gradlab.nn import statistics as st
from gradlab.nn.mlp import StackedMLP
from gradlab.sensors.hooks import hooked
from gradlab.tables.columns import HISTOGRAM_COLUMNS, QUANTITIES
from gradlab.tables.schema import BINS


def histogram(values: Tensor, logarithmic: bool = False) -> Tensor:
    """Counts of everything behind the replica axis: [replica, ...] -> wide [replica, column], `HISTOGRAM_COLUMNS`.

    Bin k (from 0) holds the entries with floor(BINS * (v - low) / (high - low)) = k, the last one `high` too; where
    all are equal, the first bin holds them. v is the entry, or log10 of its size where `logarithmic`. `low` and `high`
    are NaN where every entry is 0 or not finite.
    """
    flat = values.detach().reshape(values.shape[0], -1)
    flat = flat.to(st.wide_dtype(flat))
    finite = flat.isfinite()
    zero = flat == 0
    kept = finite & ~zero
    v = flat.abs().log10() if logarithmic else flat
    low = torch.where(kept, v, torch.inf).amin(dim=1, keepdim=True)
    high = torch.where(kept, v, -torch.inf).amax(dim=1, keepdim=True)
    span = high / 2 - low / 2  # halved: the distance of two large numbers may overflow
    share = (v / 2 - low / 2) / span
    place = torch.where(kept & (span > 0), share * BINS, 0.0).floor().clamp(0, BINS - 1)
    bins = torch.where(kept, place.to(torch.int64), BINS)  # one more bin takes what is counted apart
    counts = torch.zeros(len(flat), BINS + 1, dtype=torch.int64, device=flat.device)
    counts.scatter_add_(1, bins, torch.ones_like(bins))
    nothing = ~kept.any(dim=1, keepdim=True)
    found = {
        "entries": torch.full_like(low, flat.shape[1]),
        "zeros": zero.sum(dim=1, keepdim=True),
        "nonfinite": (~finite).sum(dim=1, keepdim=True),
        "negative": (finite & (flat < 0)).sum(dim=1, keepdim=True),
        "low": torch.where(nothing, torch.nan, low),
        "high": torch.where(nothing, torch.nan, high),
    }
    first = [found[name].to(low.dtype) for name in HISTOGRAM_COLUMNS if name in found]
    return torch.cat([*first, counts[:, :BINS].to(low.dtype)], dim=1)


class HistogramRecorder:
    """Takes the histograms of one record at a time; `values` is wide [layer, replica, quantity, column].

    Quantities are `QUANTITIES`; the readout, the last layer, has no h: NaN. Hooks are attached for a record only.
    """

    def __init__(self, mlp: StackedMLP, probe: Tensor) -> None:
        self.mlp = mlp
        self.probe = probe
        self.replicas = mlp.readout.weight.shape[0]
        self.values = torch.empty(0)

    def begin(self) -> None:
        """Start a record: z and h of the probe in eval mode, without a graph."""
        shape = (len(self.mlp.linears), self.replicas, len(QUANTITIES), len(HISTOGRAM_COLUMNS))
        self.values = torch.full(shape, torch.nan, dtype=st.wide_dtype(self.probe), device=self.probe.device)
        with self.mlp.evaluating(), hooked(self.mlp, linear=self._take_z, after=self._take_h):
            self.mlp(self.probe.expand(self.replicas, -1, -1))

    @contextmanager
    def training_step(self) -> Iterator[None]:
        """Around the forward and backward pass of a recorded step: delta."""
        with hooked(self.mlp, linear=self._await_delta):
            yield

    def record(self) -> NDArray[np.float64]:
        """The record's counts on the host: float64 [layer, replica, quantity, column]."""
        found: NDArray[np.float64] = self.values.cpu().to(torch.float64).numpy()
        return found

    def _put(self, layer: int, quantity: str, values: Tensor) -> None:
        self.values[layer, :, QUANTITIES.index(quantity)] = histogram(values, quantity == "delta")

    def _take_z(self, layer: int, _: nn.Module, args: tuple[Tensor, ...], z: Tensor) -> None:
        self._put(layer, "z", z)

    def _take_h(self, layer: int, _: nn.Module, args: tuple[Tensor, ...], h: Tensor) -> None:
        self._put(layer, "h", h)

    def _await_delta(self, layer: int, _: nn.Module, args: tuple[Tensor, ...], z: Tensor) -> None:
        if z.requires_grad:
            z.register_hook(partial(self._take_delta, layer, z.shape[1]))  # type: ignore[no-untyped-call]

    def _take_delta(self, layer: int, batch: int, gradient: Tensor) -> None:
        # The training loss is a mean over the batch: one sample's own error is the gradient times the batch size.
        self._put(layer, "delta", gradient.to(st.wide_dtype(gradient)) * batch)
