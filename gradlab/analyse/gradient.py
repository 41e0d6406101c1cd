"""The gradient's way down through the layers: how far it changes, and where and why it is exactly 0."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradlab.analyse import thresholds as at
from gradlab.analyse.decay import Array, attenuation
from gradlab.analyse.known_parts import closed_at_birth

if TYPE_CHECKING:
    from gradlab.analyse.records import Records


class Gradient(NamedTuple):
    """The profile of delta_rms at each record of each seed [S, T].

    decades:  change from the top hidden layer down to layer 1, or to the lowest layer above an exact 0; nan where
              there is none to judge
    cut:      index of the topmost hidden layer whose delta_rms is exactly 0 while that above is not; -1 for none
    cause:    why it is 0: "underflow", "dead", "saturated", "unknown", or "" for none
    """

    decades: Array
    cut: NDArray[np.int64]
    cause: NDArray[np.str_]

    @property
    def lost(self) -> NDArray[np.bool_]:
        """[S, T]: whether it is 0 and neither death nor saturation says why."""
        unexplained: NDArray[np.bool_] = (self.cause == "underflow") | (self.cause == "unknown")
        return unexplained


def profile(records: Records) -> Gradient:
    """The gradient's way down at each record of each seed.

    An exact 0 ends the way: underflow below a delta_rms under 1e-30, else what the layer's own units say. Where the
    readout's delta is 0 too the net fits its batch perfectly, and nothing is wrong. Branches that the residual scheme
    keeps closed at birth are none of the way: delta comes down beside them.
    """
    opens_later = closed_at_birth(str(records.cell.get("residual", "")))
    closed = np.append((records.first("delta_rms") == 0).all(0) & opens_later, False)
    every = records.every_layer("delta_rms")[..., ~closed]
    if every.shape[-1] < 2:
        nothing = np.full(every.shape[:2], np.nan)
        return Gradient(nothing, np.full(nothing.shape, -1), np.full(nothing.shape, "", dtype="<U9"))
    numbers = np.flatnonzero(~closed)
    delta, above_top = every[..., :-1], every[..., -1]
    top = delta.shape[-1] - 1
    zero = (delta == 0) & ~np.isnan(delta[..., -1:])
    lowest = np.where(zero.any(-1), top + 1 - zero[..., ::-1].argmax(-1), 0)
    above = np.take_along_axis(every, lowest[..., None], -1)[..., 0]  # the layer above the topmost 0
    decades = np.where(lowest <= top, attenuation(np.stack([above, delta[..., -1]], -1)), np.nan)
    cut = np.where((lowest == 0) | ((lowest > top) & (above_top == 0)), -1, lowest - 1)
    cause = np.full(cut.shape, "", dtype="<U9")
    cut = np.where(cut >= 0, numbers[cut], -1)
    for place in zip(*np.nonzero(cut >= 0), strict=True):
        cause[place] = _why_zero(records, (*place, cut[place]), above[place])
    return Gradient(decades, cut, cause)


def crossing(delta: Array, decades: float) -> NDArray[np.int64]:
    """[S, T, L] -> [S, T]: index of the first layer, going down, that is `decades` away from the top; -1 for none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        change = np.log10(delta) - np.log10(delta[..., -1:])
        beyond = change <= decades if decades < 0 else change >= decades
    last = delta.shape[-1] - 1 - beyond[..., ::-1].argmax(-1)
    return np.where(beyond.any(-1), last, -1)


def _why_zero(records: Records, place: tuple[int, ...], above: float) -> str:
    """Why delta_rms is 0 at (seed, record, layer), below a layer where it is `above`."""
    if above < at.UNDERFLOW:
        return "underflow"
    dead, in_batch, zeros = (
        float(records.layer(c)[place]) for c in ("dead_fraction", "batch_dead_fraction", "zero_fraction")
    )
    # Outputs that are exactly 0 speak only where no slope is known: a smooth phi rounds to 0 and is not dead.
    shares = [zeros] if np.isnan(dead) and np.isnan(in_batch) else [dead, in_batch]
    if any(share >= at.ALL for share in shares):
        return "dead"
    flat = records.layer("saturated_fraction")[place] >= at.ALL
    return "saturated" if flat or records.layer("slope_sq")[place] == 0 else "unknown"
