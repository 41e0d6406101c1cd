"""Histograms of z, h and delta in every layer of a stack: the distributions behind a record's means and norms.

z and h are those of the probe, in eval mode; delta is that of the training batch, one sample's own error. Exact zeros
and entries that are not finite are counted apart; all others fall into BINS equal bins between the smallest and the
largest of them: of the value itself for z and h, of log10 |delta| for delta, which spans any number of decades.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from gradlab.sensors.sensor import Observed, Sensor, Taken
from gradlab.tables.cell import RECORD
from gradlab.tables.spec import Column, Folded, Option, Places, TableSpec, place

if TYPE_CHECKING:
    from torch import Tensor, nn

    from gradlab.nn.buffered import BufferedPass

QUANTITIES = ("z", "h", "delta")
BINS = 40
"""bins of a histogram"""


def _count(name: str, meaning: str) -> Column:
    return Column(name, "int", "", meaning)


def _edge(name: str, meaning: str) -> Column:
    """Empty where no entry is binned."""
    return Column(name, "float", "", meaning, empty=True, signed=True)


COUNTS = tuple(
    _count(f"bin_{k:02}", f"entries in bin {k} of {BINS} equal bins from bin_low to bin_high")
    for k in range(1, BINS + 1)
)

HISTOGRAMS = TableSpec(
    name="histograms",
    row="cell, seed, recorded step, layer and quantity",
    option=Option(
        "histograms",
        "distributions of z, h and delta in every layer, in histograms.csv; a record takes several times as long",
    ),
    keys=RECORD,
    axes=("layer", "quantity"),
    lengths={"quantity": len(QUANTITIES)},
    needs="entries",  # the readout has no h
    columns=(
        place(
            "layer",
            "int",
            "",
            "1 next to the input, `depth` next to the readout, the readout is depth + 1",
            along="layer",
        ),
        place("name", "str", "", "hidden_1 ... hidden_L and output", along="layer"),
        place(
            "quantity",
            "str",
            "",
            "z or h (on the probe, in eval mode), or delta (of the step's batch)",
            along="quantity",
        ),
        _count("entries", "number of (sample, unit) entries"),
        _count("zeros", "entries that are exactly 0; in no bin"),
        _count("nonfinite", "entries that are NaN or infinite; in no bin"),
        _count("negative", "finite entries below 0; binned with the others"),
        _edge(
            "bin_low",
            "left edge of the first bin: the smallest binned z or h, or log10 of the smallest |delta|",
        ),
        _edge("bin_high", "right edge of the last bin: the largest of the same"),
        *COUNTS,
    ),
    folded=Folded(
        tuple(column.name for column in COUNTS),
        _count(f"bin_01...bin_{BINS:02}", f"entries in each of {BINS} equal bins from bin_low to bin_high"),
    ),
)


def histogram(values: Tensor, logarithmic: bool = False) -> Tensor:
    """Counts of everything behind the replica axis: [replica, ...] -> wide [replica, column], as in HISTOGRAMS.

    Bin k (from 0) holds the entries with floor(BINS * (v - low) / (high - low)) = k, the last one bin_high too; where
    all are equal, the first bin holds them. v is the entry, or log10 of its size where `logarithmic`. The edges
    are NaN where every entry is 0 or not finite.
    """
    import torch

    from gradlab.nn import statistics as st

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
        "bin_low": torch.where(nothing, torch.nan, low),
        "bin_high": torch.where(nothing, torch.nan, high),
    }
    first = [found[name].to(low.dtype) for name in HISTOGRAMS.measured if name in found]
    return torch.cat([*first, counts[:, :BINS].to(low.dtype)], dim=1)


class HistogramSensor(Sensor):
    """Takes the distributions by hooks, attached for a record only; the readout, the last layer, has no h: NaN."""

    table = HISTOGRAMS
    modules = True
    bytes_an_entry = 18 * 8  # every entry's bin and what leads to it, wide

    def __init__(self, observed: Observed) -> None:
        super().__init__(observed)
        self._values: Tensor | None = None

    def places(self) -> Places:
        names = self.observed.names
        return {"layer": range(1, len(names) + 1), "name": names, "quantity": QUANTITIES}

    def begin(self, buffered: BufferedPass | None) -> None:
        """z and h of the probe in eval mode, without a graph."""
        import torch

        from gradlab.nn import statistics as st
        from gradlab.sensors.hooks import hooked

        mlp, probe = self.observed.mlp, self.observed.probe
        shape = (self.observed.replicas, len(mlp.linears), len(QUANTITIES), len(HISTOGRAMS.recorded))
        self._values = torch.full(shape, torch.nan, dtype=st.wide_dtype(probe), device=probe.device)
        with mlp.evaluating(), hooked(mlp, linear=self._take_z, after=self._take_h):
            mlp(probe.expand(self.observed.replicas, -1, -1))

    @contextmanager
    def watching(self) -> Iterator[None]:
        """delta."""
        from gradlab.sensors.hooks import hooked

        with hooked(self.observed.mlp, linear=self._await_delta):
            yield

    def finish(self) -> Taken:
        import numpy as np

        assert self._values is not None, "a record that was not begun"
        return Taken(self._values, np.ones(self._values.shape[1:], dtype=bool))

    def _put(self, layer: int, quantity: str, values: Tensor) -> None:
        assert self._values is not None
        self._values[:, layer, QUANTITIES.index(quantity)] = histogram(values, quantity == "delta")

    def _take_z(self, layer: int, _: nn.Module, args: tuple[Tensor, ...], z: Tensor) -> None:
        self._put(layer, "z", z)

    def _take_h(self, layer: int, _: nn.Module, args: tuple[Tensor, ...], h: Tensor) -> None:
        self._put(layer, "h", h)

    def _await_delta(self, layer: int, _: nn.Module, args: tuple[Tensor, ...], z: Tensor) -> None:
        if z.requires_grad:
            z.register_hook(partial(self._take_delta, layer, z.shape[1]))  # type: ignore[no-untyped-call]

    def _take_delta(self, layer: int, batch: int, gradient: Tensor) -> None:
        from gradlab.nn import statistics as st

        # The training loss is a mean over the batch: one sample's own error is the gradient times the batch size.
        self._put(layer, "delta", gradient.to(st.wide_dtype(gradient)) * batch)


SENSOR = HistogramSensor
