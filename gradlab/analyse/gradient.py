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

    decades:  change from the top hidden layer down to the lowest layer, or to the lowest one above an exact 0; nan
              where there is none to judge. A layer without a delta in a record (frozen, idle) is no end of it
    top, bottom: indices of the two layers, -1 for none
    change:   [S, T, L], decades from the top one to each hidden layer
    cut:      index of the topmost hidden layer from which on delta_rms is exactly 0 all the way down while that above
              is not; -1 for none. A 0 above a layer with a delta is a branch's own: the gradient comes down beside it
    cause:    why it is 0: "underflow", "dead", "saturated", "unknown", or "" for none
    """

    decades: Array
    top: NDArray[np.int64]
    bottom: NDArray[np.int64]
    change: Array
    cut: NDArray[np.int64]
    cause: NDArray[np.str_]

    @property
    def lost(self) -> NDArray[np.bool_]:
        """[S, T]: whether it is 0 and neither death nor saturation says why."""
        unexplained: NDArray[np.bool_] = (self.cause == "underflow") | (self.cause == "unknown")
        return unexplained


def profile(records: Records, rows: NDArray[np.bool_] | None = None, *, beside: bool = False) -> Gradient:
    """The gradient's way down at each record of each seed.

    rows:   [L], the hidden layers of one path; all when None
    beside: it is no path from the loss to the inputs, but a branch beside one, or a head. What gets a gradient of
            exactly 0 at the first record is closed then, as a branch is that begins at 0 on purpose, and opens by what
            it learns: it is left out. A 0 that comes later stops nothing but the branch

    An exact 0 ends the way: underflow below a delta_rms under 1e-30, else what the layer's own units say. Where the
    readout's delta is 0 too the net fits its batch perfectly, or nothing passes anywhere: no way to judge. Branches
    that the residual scheme keeps closed at birth are none of the way: delta comes down beside them.
    """
    opens_later = beside or closed_at_birth(str(records.cell.get("residual", "")))
    closed = np.append((records.first("delta_rms") == 0).all(0) & opens_later, beside)
    if rows is not None:
        closed[:-1] |= ~rows
    every = np.where(closed, np.nan, records.every_layer("delta_rms"))
    missing = absent(records) | closed | _beside(records, every)
    unopened = (every == 0) if beside else _opens_at_once(records)
    missing |= unopened
    every = np.where(unopened, np.nan, every)
    hidden, count = every[..., :-1], every.shape[-1] - 1
    there = ~missing[..., :-1]
    zero = (hidden == 0) & there
    blocked = zero & np.logical_and.accumulate(zero | ~there, axis=-1)
    cut = np.where(blocked.any(-1), count - 1 - blocked[..., ::-1].argmax(-1), -1)
    index = np.arange(count + 1)
    over = ~missing & (index > cut[..., None])
    above = np.where(over.any(-1), over.argmax(-1), -1)  # the first layer with a delta above the 0
    value = np.take_along_axis(every, np.maximum(above, 0)[..., None], -1)[..., 0]
    value = np.where(above < 0, np.nan, value)
    nothing = (cut >= 0) & (above == count) & (value == 0)
    top = np.where(there.any(-1), count - 1 - there[..., ::-1].argmax(-1), -1)
    bottom = np.where(cut >= 0, above, np.where(there.any(-1), there.argmax(-1), -1))
    judged = (top >= 0) & (bottom >= 0) & (bottom <= top)
    ends = [np.take_along_axis(every, np.maximum(place, 0)[..., None], -1)[..., 0] for place in (bottom, top)]
    decades = np.where(judged, attenuation(np.stack(ends, -1)), np.nan)
    if count < 1 or (~closed).sum() < 2:
        decades = np.full(decades.shape, np.nan)
    cut = np.where(nothing | np.isnan(ends[1]), -1, cut)
    cause = np.full(cut.shape, "", dtype="<U9")
    for place in zip(*np.nonzero(cut >= 0), strict=True):
        cause[place] = _why_zero(records, (*place, cut[place]), value[place])
    with np.errstate(divide="ignore", invalid="ignore"):
        change = np.log10(hidden) - np.log10(ends[1])[..., None]
    return Gradient(decades, top, bottom, change, cut, cause)


def _beside(records: Records, delta: Array) -> NDArray[np.bool_]:
    """[S, T, L + 1]: calls without a gradient of modules that are called again and whose weights get one by that, as a
    critic's under a gradient penalty: no way is cut there."""
    names = (*records.names, records.readout)
    again = np.array([f"{name}#2" in (*names, *records.owners) for name in names])
    with np.errstate(invalid="ignore"):
        return np.asarray((delta == 0) & (records.every_layer("weight_grad_norm") > 0) & again)


def _opens_at_once(records: Records) -> NDArray[np.bool_]:
    """[S, T, L + 1]: where a user's layer gets a gradient of exactly 0 at the first record and of another size at the
    second: what stands above it was 0 on purpose, such as LoRA's B, and one update has opened it."""
    delta = records.every_layer("delta_rms")
    found = np.zeros(delta.shape, dtype=bool)
    for seed, there in enumerate(records.in_layers if records.paths else ()):
        first, *later = np.flatnonzero(there)
        if later:
            found[seed, first] = (delta[seed, first] == 0) & (delta[seed, later[0]] > 0)
    return found


def absent(records: Records) -> NDArray[np.bool_]:
    """[S, T, L + 1]: where a record has no delta of a layer, as opposed to one that is not a number.

    A table without `nonfinite` does not tell the two apart: a row that is there has a delta then.
    """
    empty = np.isnan(records.every_layer("delta_rms"))
    if "nonfinite" not in records.hidden:
        return np.asarray(empty & np.concatenate([~records.rows, empty[..., -1:]], -1))
    return np.asarray(empty & ~(np.nan_to_num(records.every_layer("nonfinite")) > 0))


def crossing(gradient: Gradient, decades: float) -> NDArray[np.int64]:
    """[S, T]: index of the first hidden layer, going down, that is `decades` away from the top one; -1 for none."""
    with np.errstate(invalid="ignore"):
        beyond = gradient.change <= decades if decades < 0 else gradient.change >= decades
    last = gradient.change.shape[-1] - 1 - beyond[..., ::-1].argmax(-1)
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
