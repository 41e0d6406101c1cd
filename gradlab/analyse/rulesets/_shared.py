"""What the rules of the published rulesets share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gradlab.analyse.records import Array, Records
from gradlab.analyse.ruleset import Hit, NotApplicable


def column(records: Records, seed: int, name: str) -> Array | NotApplicable:
    """[T, L + 1]: a column over all layers, readout last, or why there is none."""
    values = records.every_layer(name)[seed]
    return values if np.isfinite(values).any() else NotApplicable(f"{name} is not recorded")


def first_hit(fires: NDArray[np.bool_], evidence: Callable[[int, int], str]) -> Hit | None:
    """The first record, and in it the lowest layer, at which a [T, layers] condition holds."""
    if not fires.any():
        return None
    record = int(fires.any(1).argmax())
    layer = int(fires[record].argmax())
    return Hit(record, layer, evidence(record, layer))


def zeros_bear_out(records: Records, seed: int, share: Array) -> NDArray[np.bool_]:
    """Whether so many units can be inactive, [record, layer]: units in an upper flat part are flat and not 0. Nine
    tenths of them are asked for, since the batch that zeros are counted on is another one than the probe."""
    zeros = records.every_layer("zero_fraction")[seed][:, : share.shape[1]]
    with np.errstate(invalid="ignore"):
        return np.asarray(np.isnan(zeros) | (zeros >= 0.9 * share))


def not_finite(records: Records, seed: int) -> Hit | None:
    """NaN or infinity in any tensor that the records know of, or in the loss."""
    counts = records.every_layer("nonfinite")[seed]
    fires = (np.nan_to_num(counts) > 0) | np.isinf(records.every_layer("delta_rms")[seed])
    hit = first_hit(fires, lambda t, layer: "NaN or infinite values")
    loss = records.step("train_loss")[seed]
    lost = records.in_steps[seed] & ~np.isfinite(loss) & np.isfinite(records.step("train_loss")).any()
    if lost.any() and (hit is None or lost.argmax() < hit.record):
        return Hit(int(lost.argmax()), None, "the loss is not a number")
    return hit


def activation_name(records: Records) -> str:
    return str(records.cell.get("activation", "")).partition(":")[0]
