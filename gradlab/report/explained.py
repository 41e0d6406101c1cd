"""Why the gradient of a cell is what it is, from its recorded layers: its way down, its budget, where z lies.

Every mean over seeds of a factor is the mean of its logarithm, so that totals and factors a layer fit each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gradlab.analyse.decay import fit_line
from gradlab.report import selections
from gradlab.report.distributions import COUNTS
from gradlab.report.selections import Array, Frames

if TYPE_CHECKING:
    import pandas as pd

DENSITY_POINTS = 241


@dataclass(frozen=True)
class Budget:
    """How the decades from the top hidden layer down to layer 1 come about, at the first record, in log10.

    delta_l = phi'(z_l) W_(l+1)^T delta_(l+1): the slopes of layers 1 to L - 1 and the weights of layers 2 to L. For
    weights that know nothing of delta, E delta^2 a unit of layer l is E[phi'^2] |W|_F^2 / fan_in times the one above;
    `rest` is what the real ones do beside that.

    total: slopes + weights + rest; steps: L - 1, the layers that are passed
    """

    slopes: float
    weights: float
    total: float
    steps: int

    @property
    def rest(self) -> float:
        return self.total - self.slopes - self.weights

    @property
    def slope(self) -> float:
        """The geometric mean of a layer's rms slope."""
        return float(10.0 ** (self.slopes / self.steps))


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
    """Of a single cell; None for a net with norms or skips, and where slopes or weights were not recorded."""
    row = selections.rows_of(data.summary)[0]
    if (str(row.get("norm")), str(row.get("residual"))) != ("none", "none") or not selections.has_readout(
        data
    ):
        return None
    rows = first_record(hidden_of(data))
    if not {"slope_sq", "weight_norm", "fan_in"} <= set(rows.columns):
        return None
    delta, slope_sq, norms, fans = (
        seeds_by_layer(rows, name) for name in ("delta_rms", "slope_sq", "weight_norm", "fan_in")
    )
    if delta.shape[1] < 2:
        return None
    slopes = 0.5 * selections.log10(slope_sq[:, :-1]).sum(1).mean()
    weights = (selections.log10(norms[:, 1:]) - 0.5 * selections.log10(fans[:, 1:])).sum(1).mean()
    logs = selections.log10(delta)
    with np.errstate(invalid="ignore"):
        total = (logs[:, 0] - logs[:, -1]).mean()
    if not np.isfinite([slopes, weights, total]).all():
        return None
    return Budget(float(slopes), float(weights), float(total), delta.shape[1] - 1)


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
    logs = selections.log10(seeds_by_layer(rows, "delta_rms"))
    with np.errstate(invalid="ignore"):
        return np.asarray(logs[:, 0] - logs[:, -1], dtype=np.float64)


def last_scores(steps: pd.DataFrame, column: str) -> list[float]:
    """The score of each seed at the last record."""
    if column not in steps or not len(steps):
        return []
    last = steps[steps["step"] == steps["step"].max()].sort_values("seed")
    return [float(value) for value in last[column]]


def median_of(values: Any) -> float:
    found = [float(value) for value in values if np.isfinite(value)]
    return float(np.median(found)) if found else np.nan
