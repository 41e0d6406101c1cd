"""histograms.csv as what is drawn of it: seeds pooled, a distribution a layer, zeros and infinities apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gradlab.report.selections import Array
from gradlab.sensors.extra.histograms import BINS

if TYPE_CHECKING:
    import pandas as pd

QUANTITIES = {"z": "pre-activation z", "h": "activation h", "delta": "|delta| of one sample"}
COUNTS = [f"bin_{k:02}" for k in range(1, BINS + 1)]

OVERLAP = 1.7  # height of a ridge in distances between two of them
FULL = 0.9  # height of a bar that stands for all entries
TAIL = 0.002  # share of a layer's entries that may lie outside the axis at each side
WIDE = 30.0  # a layer's reach over another's beyond which a linear axis shows one of them alone


@dataclass(frozen=True)
class Distribution:
    """One quantity in one layer at one record, all seeds together.

    shares: of the entries in each of BINS equal bins from low to high, of z, h, or log10 |delta|; empty where every
            entry is 0 or not finite
    zeros, nonfinite: shares of the entries; with `shares` they sum to 1
    """

    low: float
    high: float
    shares: Array
    zeros: float
    nonfinite: float

    @property
    def edges(self) -> Array:
        return np.linspace(self.low, self.high, len(self.shares) + 1)

    def middle(self, tail: float) -> tuple[float, float]:
        """Between which edges all bins lie that are not in the outermost `tail` (a share of the entries) of a side."""
        below = self.shares.cumsum()
        first = int(np.searchsorted(below, tail, side="right"))
        last = int(np.searchsorted(below, below[-1] - tail))
        edges = self.edges
        return float(edges[min(first, len(below) - 1)]), float(edges[min(last, len(below) - 1) + 1])


def pooled(rows: pd.DataFrame) -> Distribution:
    """The rows of several seeds as one: each bin's entries are spread evenly over it, then counted in common bins."""
    entries = float(rows["entries"].sum())
    zeros, nonfinite = (float(rows[name].sum()) / entries for name in ("zeros", "nonfinite"))
    ends = rows[["bin_low", "bin_high"]].to_numpy(dtype=np.float64)
    binned = np.isfinite(ends).all(axis=1)
    if not binned.any():
        return Distribution(np.nan, np.nan, np.empty(0), zeros, nonfinite)
    counts = rows[COUNTS].to_numpy(dtype=np.float64)[binned]
    low, high = float(ends[binned, 0].min()), float(ends[binned, 1].max())
    edges = np.linspace(low, high, BINS + 1)
    total = np.zeros(BINS)
    for (first, last), own in zip(ends[binned], counts, strict=True):
        below = np.concatenate([[0.0], own.cumsum()])
        if first < last:
            found = np.interp(edges, np.linspace(first, last, BINS + 1), below)
        else:  # all entries are equal
            found = np.where(edges > first, below[-1], 0.0)
        total += np.diff([0.0, *found[1:-1], below[-1]])
    return Distribution(low, high, total / entries, zeros, nonfinite)


def by_layer(histograms: pd.DataFrame, quantity: str, step: int) -> dict[int, Distribution]:
    """The distributions of one cell's quantity at one record, by layer number, ascending."""
    rows = histograms[(histograms["quantity"] == quantity) & (histograms["step"] == step)]
    return {int(str(layer)): pooled(group) for layer, group in rows.groupby("layer")}


def for_page(histograms: pd.DataFrame, steps: list[int], layers: list[int]) -> dict[str, object]:
    """What the page draws of one cell at these records and layers.

    {quantity: [record][layer] of [low, high, zeros, nonfinite, heights]}: shares in thousandths of the entries, heights
    in hundredths of the fullest bin; null for a layer without the quantity.
    """
    kept = histograms[histograms["step"].isin(steps) & histograms["layer"].isin(layers)]
    found: dict[str, object] = {"steps": steps, "layers": layers}
    for quantity in QUANTITIES:
        records = [by_layer(kept, quantity, step) for step in steps]
        found[quantity] = [[_coded(one.get(layer)) for layer in layers] for one in records]
    return found


def _coded(one: Distribution | None) -> list[object] | None:
    if one is None:
        return None
    heights = np.round(100 * one.shares / one.shares.max()).astype(int).tolist() if one.shares.size else []
    ends = [float(f"{v:.5g}") if np.isfinite(v) else None for v in (one.low, one.high)]
    return [*ends, round(1000 * one.zeros), round(1000 * one.nonfinite), heights]
