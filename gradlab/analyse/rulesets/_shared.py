"""What the rules of the published rulesets share."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

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
    """Of the hidden layers: the cell's, of a user's model the one that most of them have."""
    applied = [name for name in records.activations[:-1] if name]
    common = max(applied, key=applied.count, default="")
    return (common or str(records.cell.get("activation", ""))).partition(":")[0]


def every_loss(records: Records, seed: int) -> tuple[NDArray[np.int64], Array] | NotApplicable:
    """The records of a run that has one at each step from 0 on, and its training losses; or why there is none."""
    if not np.isfinite(records.step("train_loss")).any():
        return NotApplicable("train_loss is not recorded")
    when = np.flatnonzero(records.in_steps[seed])
    if not np.array_equal(records.steps[when], np.arange(len(when))):
        return NotApplicable("the loss of every step is not recorded")
    return when, records.step("train_loss")[seed][when]


class Bounds(NamedTuple):
    """Between which two numbers a measure lies that the records hold in part. Both are NaN where nothing is known."""

    low: Array
    high: Array


WITHOUT_SIZES = NotApplicable("how many numbers a layer puts out for one sample is not recorded")


def output_gradients(records: Records, seed: int) -> Bounds | NotApplicable:
    """[T, L + 1]: L2 norm, over a whole batch, of the gradient of the mean loss by a layer's output, readout last.

    delta_rms is the root mean square of one sample's own error, so that the norm is delta_rms sqrt(n / batch) for n
    numbers a sample. Where a table does not say n, the norm is known to be 0 where it is, and otherwise at least what
    n = 1 gives.
    """
    delta = column(records, seed, "delta_rms")
    batch = column(records, seed, "batch")
    if isinstance(delta, NotApplicable) or isinstance(batch, NotApplicable):
        return NotApplicable("delta_rms and batch are not recorded")
    outputs = records.every_layer("outputs")[seed]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        norm = delta * np.sqrt(outputs / batch)
        beyond = np.where(np.isnan(delta), np.nan, np.where(delta == 0, 0.0, np.inf))
        known = ~np.isnan(outputs)
        return Bounds(np.where(known, norm, delta / np.sqrt(batch)), np.where(known, norm, beyond))


NEAR_ONE = 0.95
BOUNDED = ("sigmoid", "hard_sigmoid", "hard_sigmoid_6", "softmax", "tanh", "hard_tanh", "softsign", "erf")
"""Activations with |h| <= 1 everywhere."""


def mostly_near_one(records: Records, seed: int) -> NDArray[np.bool_]:
    """[T, L]: where more than half of a layer's activations have |h| > 0.95 for certain, on the probe.

    If a share s of numbers of at most 1 lies above 0.95, their mean square is at most s + (1 - s) 0.95^2.
    """
    rms = records.layer("h_rms")[seed]
    if activation_name(records) not in BOUNDED:
        return np.zeros(rms.shape, dtype=bool)
    with np.errstate(invalid="ignore"):
        return np.asarray((rms**2 - NEAR_ONE**2) / (1 - NEAR_ONE**2) > 0.5)


WITHOUT_SHARE = NotApplicable(f"the share of outputs beyond {NEAR_ONE:g} is not recorded")
