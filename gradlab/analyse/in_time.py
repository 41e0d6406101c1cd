"""How far a gradient goes back through the steps of recurrent layers, from the rows of time.csv."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Array = NDArray[np.float64]

REACHES = 0.01
"""Share of a gradient down to which the output that it came to is said to reach: 100 times smaller, its steps are lost
beside those of the last inputs, as a layer's are in a net of layers (`thresholds.WEAK_DECADES`)."""
MEASURABLE = 1e-20
"""Share below which the factor a step is not looked for: float32 soon rounds the gradient to 0."""


@dataclass(frozen=True)
class InTime:
    """One layer of a recurrent module in one direction. Arrays are [seed, record], nan where a record has no such row.

    module:  its path; name: with the suffix of layer and direction
    gated:   whether a gate keeps its state; cell: whether that is an LSTM's
    end:     the step whose output a gradient was put into; length: how many steps there are from the other end to it
    left:    what is left of the gradient at the other end; largest: the most that there is anywhere
    reach:   how many steps back REACHES of it are left
    factor, predicted: factor of the gradient from each step to the one before, and the theory's
    keep:    mean of the gate that keeps the state
    """

    module: str
    name: str
    gated: bool
    cell: bool
    end: Array
    length: Array
    left: Array
    largest: Array
    reach: Array
    factor: Array
    predicted: Array
    keep: Array

    @property
    def reverse(self) -> bool:
        return self.name.endswith("_reverse")


NUMBERS = ("end", "length", "left", "largest", "reach", "factor", "predicted", "keep")


def in_time(frame: pd.DataFrame, seeds: NDArray[np.int64], steps: NDArray[np.int64]) -> dict[str, InTime]:
    """Each recurrent layer by its name, in the order of the table. frame: the rows of one cell; seeds, steps: of its
    records"""
    seed_at = {int(seed): place for place, seed in enumerate(seeds)}
    step_at = {int(step): place for place, step in enumerate(steps)}
    found: dict[str, InTime] = {}
    for name, rows in frame.groupby("name", sort=False):
        name = str(name)
        module, dot, suffix = name.rpartition(".l")
        values = np.full((len(NUMBERS), len(seeds), len(steps)), np.nan)
        for (seed, step), own in rows.groupby(["seed", "step"], sort=False):
            if seed in seed_at and step in step_at:
                values[:, seed_at[seed], step_at[step]] = _numbers(own, name.endswith("_reverse"))
        found[name] = InTime(
            module if dot and suffix.removesuffix("_reverse").isdigit() else name,
            name,
            bool(rows["forget_gate"].notna().any()),
            bool(rows["cell_delta_rms"].notna().any()),
            **dict(zip(NUMBERS, values, strict=True)),
        )
    return found


def _numbers(rows: pd.DataFrame, reverse: bool) -> tuple[float, ...]:
    """NUMBERS of one layer in one record."""
    time, carried, theory, gate = (
        rows[name].to_numpy(np.float64, na_value=np.nan)
        for name in ("time", "carried", "carried_predicted", "forget_gate")
    )
    order = np.argsort(time)[:: 1 if reverse else -1]  # from the output that the gradient comes to
    time, carried, theory = time[order], carried[order], theory[order]
    begun = np.flatnonzero(carried == 1.0)
    if not len(begun):
        return (np.nan,) * len(NUMBERS)
    carried, theory, end = carried[begun[0] :], theory[begun[0] :], time[begun[0]]
    carried = np.where(
        np.isnan(carried), np.inf, carried
    )  # behind the last step: too large for the number format
    return (
        float(end),
        float(len(carried)),
        float(carried[-1]),
        float(carried.max()),
        float(np.flatnonzero(carried >= REACHES)[-1]),
        _factor(carried),
        _factor(theory),
        float(np.nanmean(gate)) if not np.isnan(gate).all() else np.nan,
    )


def _factor(values: Array) -> float:
    """Of the least-squares line through the logarithms, one step after another, as far as they are measurable."""
    short = ~((values > MEASURABLE) & (values < 1 / MEASURABLE))
    count = int(short.argmax()) if short.any() else len(values)
    if count < 2:
        return np.nan
    return float(10.0 ** np.polyfit(np.arange(count), np.log10(values[:count]), 1)[0])
