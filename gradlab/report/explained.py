"""Why the gradient of a cell is what it is, from its recorded layers: its way down, its budget, where z lies.

Every mean over seeds of a factor is the mean of its logarithm, so that totals and factors a layer fit each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gradlab.analyse.budget import COLUMNS
from gradlab.analyse.decay import fit_line
from gradlab.analyse.known_parts import has_skips
from gradlab.report import selections
from gradlab.report.distributions import COUNTS
from gradlab.report.selections import Array, Frames

if TYPE_CHECKING:
    import pandas as pd

DENSITY_POINTS = 241


@dataclass(frozen=True)
class Budget:
    """What each part of a net changes of delta from the top hidden layer down to layer 1, in log10, at the first
    record: mean over seeds, as summary.csv has it.

    parts: of `analyse.budget.COLUMNS` those that the net has; total: all that delta changes; steps: the layers passed
    skips: whether the rest is that of skip connections
    """

    parts: Mapping[str, float]
    total: float
    steps: int
    skips: bool

    def part(self, name: str) -> float:
        """0 where the net has no such part."""
        return self.parts.get(name, 0.0)

    @property
    def slope(self) -> float:
        """The geometric mean of what a layer's slopes leave of delta."""
        return float(10.0 ** (self.part("slopes") / self.steps))


def hidden_of(data: Frames) -> pd.DataFrame:
    """The rows of the hidden layers: all but the last layer, and those of the last layer where it is none's readout."""
    layers = data.layers
    if not selections.has_readout(data):
        return layers
    rows: pd.DataFrame = layers[layers["layer"] < layers["layer"].max()]
    return rows


def first_record(layers: pd.DataFrame) -> pd.DataFrame:
    rows: pd.DataFrame = layers[layers["step"] == layers["step"].min()]
    return rows


def with_delta(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the layers that have a delta: a module whose parameters are used without a call of its own has none,
    and the way goes on past it."""
    known = selections.counted(rows, "delta_rms").notna().groupby(rows["layer"]).transform("any")
    found: pd.DataFrame = rows[known]
    return found


def seeds_by_layer(rows: pd.DataFrame, column: str) -> Array:
    """[seed, layer] of one record."""
    return selections.cube(rows, column)[2][:, :, 0]


def factor_a_layer(rows: pd.DataFrame) -> tuple[float, float, float]:
    """(mean, lowest, highest seed) of delta's factor from a layer to the one below: 10 to the fitted slope, as in
    summary.csv, the mean that of its logarithm. NaN with fewer than two layers to fit."""
    with np.errstate(invalid="ignore"):
        slopes = fit_line(seeds_by_layer(rows, "delta_rms")).slope
    if np.isnan(slopes).any():
        return np.nan, np.nan, np.nan
    return tuple(float(10.0**value) for value in (slopes.mean(), slopes.min(), slopes.max()))  # type: ignore[return-value]


def budget_of(data: Frames) -> Budget | None:
    """Of a single cell; None where no part was recorded, or delta is not known all the way."""
    row = selections.rows_of(data.summary)[0]
    parts = {part: float(row.get(f"attenuation_{part}_mean", np.nan)) for part in COLUMNS}
    known = {part: decades for part, decades in parts.items() if not np.isnan(decades)}
    total, steps = float(row["attenuation_mean"]), int(row["depth"]) - 1
    if not known or steps < 1 or not np.isfinite([total, *known.values()]).all():
        return None
    return Budget(known, total, steps, has_skips(str(row.get("residual", "none"))))


def z_density(data: Frames) -> tuple[Array, Array, str] | None:
    """(places, density, how it is known) of z over all hidden layers and seeds of a cell at the first record.

    From the histograms where they were recorded; else each layer and seed counts as a normal of its own mean and
    deviation. None where neither is there, and with a norm before phi: phi's input is not z then.
    """
    row = selections.rows_of(data.summary)[0]
    if str(row.get("norm", "none")) != "none":
        return None
    rows = first_record(hidden_of(data))
    frame = selections.optional_table(data, "histograms")
    if frame is not None:
        own = frame[(frame["quantity"] == "z") & frame["layer"].isin(rows["layer"].unique())]
        own = own[own["step"] == own["step"].min()]
        found = _spread(own)
        if found is not None:
            return *found, "histograms of z"
    if not {"z_mean", "z_std"} <= set(rows.columns):
        return None
    means, deviations = (rows[name].to_numpy(np.float64) for name in ("z_mean", "z_std"))
    known = np.isfinite(means) & np.isfinite(deviations) & (deviations > 0)
    if not known.any():
        return None
    means, deviations = means[known], deviations[known]
    at = np.linspace(-6.0, 6.0, DENSITY_POINTS)
    each = np.exp(-0.5 * ((at[:, None] - means) / deviations) ** 2) / (deviations * np.sqrt(2 * np.pi))
    return at, each.mean(1), "a normal of each layer's mean and deviation"


def _spread(histograms: pd.DataFrame) -> tuple[Array, Array] | None:
    """The histograms of several layers and seeds on common fine bins: each bin's entries are spread evenly over it."""
    edges = np.linspace(-6.0, 6.0, DENSITY_POINTS)
    total, entries = np.zeros(DENSITY_POINTS - 1), 0.0
    counts = histograms[COUNTS].to_numpy(np.float64)
    ends = histograms[["bin_low", "bin_high"]].to_numpy(np.float64)
    for (low, high), own in zip(ends, counts, strict=True):
        if np.isfinite([low, high]).all() and low < high:
            below = np.concatenate([[0.0], own.cumsum()])
            total += np.diff(np.interp(edges, np.linspace(low, high, len(own) + 1), below))
            entries += float(own.sum())
    if not total.any():
        return None
    return (edges[:-1] + edges[1:]) / 2, total / entries / (edges[1] - edges[0])


def attenuations(rows: pd.DataFrame) -> Array:
    """[seed]: decades from the top hidden layer down to the first, at one record."""
    if not len(rows := with_delta(rows)):
        return np.empty(0)
    logs = selections.log10(seeds_by_layer(rows, "delta_rms"))
    with np.errstate(invalid="ignore"):
        return np.asarray(logs[:, 0] - logs[:, -1], dtype=np.float64)


def last_scores(steps: pd.DataFrame, column: str) -> list[float]:
    """The score of each seed at the last record."""
    if column not in steps or not len(steps):
        return []
    last = steps[steps["step"] == steps["step"].max()].sort_values("seed")
    return [float(value) for value in last[column]]
