"""gradlab's own rule on one replica: which faults it has, since when and from which layer.

The gradient is judged by the decades that delta_rms changes from the top hidden layer down to layer 1, death by the
probe, saturation by phi', and each by what it does to learning (`thresholds` has the numbers and their reasons).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradlab.analyse import thresholds as at
from gradlab.analyse.decay import attenuation
from gradlab.analyse.learning import Learning, judge_learning
from gradlab.analyse.records import Array, Records
from gradlab.parts import residuals

Bools = NDArray[np.bool_]

OF_LAYERS = (
    "delta_rms", "z_std", "dead_fraction", "batch_dead_fraction", "zero_fraction", "saturated_fraction", "slope_sq",
    "nonfinite",
)  # fmt: skip
OF_STEPS = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
"""What the rule reads of layers.csv, besides fan_out, and of steps.csv."""


class Fault(NamedTuple):
    """record: index of the record from which it shows; layer: index of the hidden layer, L for the readout, or None;
    reference: index of the record that its evidence is taken from."""

    record: int
    layer: int | None
    at_birth: bool
    reference: int


@dataclass(frozen=True)
class Replica:
    """One seed's verdicts: `faults` by verdict, what shows but does no harm, and whether it learned."""

    faults: dict[str, Fault]
    harmless: dict[str, Fault]
    learning: Learning


class Gradient(NamedTuple):
    """The profile of delta_rms at each record of each seed [S, T].

    decades:  change from the top hidden layer down to layer 1, or to the lowest layer above an exact 0
    cut:      index of the topmost hidden layer whose delta_rms is exactly 0 while that above is not; -1 for none
    cause:    why it is 0: "underflow", "dead", "saturated", "unknown", or "" for none
    """

    decades: Array
    cut: NDArray[np.int64]
    cause: NDArray[np.str_]


class Severity(NamedTuple):
    """Of one verdict, at each record of each seed [S, T]: whether it holds weakly, strongly, and where it begins."""

    verdict: str
    weak: Bools
    strong: Bools
    layer: NDArray[np.int64]


def judge_replicas(records: Records, chance: float | None = None) -> list[Replica]:
    """The faults of every seed."""
    severities = _severities(records)
    return [_replica(records, severities, seed, chance) for seed in range(len(records.seeds))]


def _replica(records: Records, severities: Sequence[Severity], seed: int, chance: float | None) -> Replica:
    """The faults of replica number `seed` (an index into records.seeds)."""
    learning = judge_learning(records, seed, chance)
    broken = _divergence(records, seed, learning)
    recorded = records.in_layers[seed].copy()
    faults: dict[str, Fault] = {}
    if broken is not None:
        faults["diverged"] = broken
        recorded[max(broken.record, 1) :] = False  # what the blow-up leaves behind is no cause of it
        learned: bool | None = False
    else:
        learned = learning.learned
    unharmed = learned and learning.excuses
    harmless: dict[str, Fault] = {}
    for verdict, *of_seeds in severities:
        weak, strong, layer = (of_seed[seed] for of_seed in of_seeds)
        fault = _lasting(weak, strong, layer, recorded, unharmed, ends_itself=verdict == "exploding")
        if fault is not None:
            faults[verdict] = fault
        elif fault := _lasting(weak, weak | strong, layer, recorded, False):
            harmless[verdict] = fault
    if broken is None and learned is False:
        last = len(records.steps) - 1
        faults["not-learning"] = Fault(last, None, False, last)
    return Replica(faults, harmless, learning)


def _lasting(
    weak: Bools,
    strong: Bools,
    layer: NDArray[np.int64],
    recorded: Bools,
    learned: bool | None,
    ends_itself: bool = False,
) -> Fault | None:
    """The fault that holds at the end of the records, or at birth in a net that does not learn.

    A weak one counts unless the net learns all the same. One that ends itself (an explosion throws the weights into
    saturation or death, and then the gradient vanishes) counts when it was strong at any record of a net that does
    not learn.
    """
    holds = strong if learned else weak | strong
    when = np.flatnonzero(recorded)
    if not len(when):
        return None
    now = holds[when]
    recent = now[-at.RECENT :]
    lasts = recent.sum() * 2 > len(recent)
    passed = ends_itself and learned is False and bool(strong[when].any())
    if not lasts and not passed and not (now[0] and not learned):
        return None
    if now[0]:
        return Fault(int(when[0]), _at(layer, int(when[0])), True, int(when[0]))
    last_true = int(np.flatnonzero(now)[-1])
    first = last_true
    while first > 0 and now[first - 1]:
        first -= 1
    return Fault(int(when[first]), _at(layer, int(when[first])), False, int(when[last_true]))


def _at(layer: NDArray[np.int64], record: int) -> int | None:
    return int(layer[record]) if layer[record] >= 0 else None


def _severities(records: Records) -> list[Severity]:
    delta = records.layer("delta_rms")
    gradient = profile(records)
    decades = gradient.decades
    dead = records.layer("dead_fraction")
    sided = s_shaped(records)
    flat = _saturation(records, sided)
    with np.errstate(invalid="ignore"):
        cut = {cause: gradient.cause == cause for cause in ("dead", "saturated", "underflow", "unknown")}
        lost = cut["underflow"] | cut["unknown"]
        forward = _forward_growth(records)
        down = (decades <= -at.WEAK_DECADES) | lost
        up = (decades >= at.WEAK_DECADES) | (forward >= at.WEAK_DECADES)
        far_up = (decades >= at.STRONG_DECADES) | (forward >= at.STRONG_DECADES)
        alive = (1 - dead) * records.layer("fan_out")
        starved = (dead >= at.WEAK_DEAD) | ((alive < at.FEW_ALIVE) & (dead > 0))
        weak_dead, strong_dead = _any(starved), _any(dead >= at.STRONG_DEAD)
        weak_flat = _any(flat >= at.WEAK_SATURATED) & sided
        strong_flat = _any(flat >= (at.STRONG_SATURATED if sided else at.LEAKING))
        from_flat = _first_layer(flat >= (at.WEAK_SATURATED if sided else at.LEAKING), gradient.cut)
    far_down = (decades <= -at.STRONG_DECADES) | lost
    return [
        Severity("dead", weak_dead, strong_dead | cut["dead"], _first_layer(starved, gradient.cut)),
        Severity("saturated", weak_flat, strong_flat | cut["saturated"], from_flat),
        Severity("exploding", up, far_up, _crossing(delta, at.WEAK_DECADES)),
        Severity("vanishing", down, far_down, _crossing(delta, -at.WEAK_DECADES)),
        Severity("underflow", cut["underflow"], cut["underflow"], gradient.cut),
    ]


def profile(records: Records) -> Gradient:
    """The gradient's way down at each record of each seed; `decades` is nan where there is none to judge.

    An exact 0 ends the way: underflow below a delta_rms under 1e-30, else what the layer's own units say. Where the
    readout's delta is 0 too the net fits its batch perfectly, and nothing is wrong. Branches that the residual scheme
    keeps closed at birth are none of the way: delta comes down beside them.
    """
    scheme = str(records.cell.get("residual", "")).partition(":")[0]
    closed = np.append((records.first("delta_rms") == 0).all(0) & (scheme in residuals.CLOSED), False)
    every = records.every_layer("delta_rms")[..., ~closed]
    if every.shape[-1] < 2:
        nothing = np.full(every.shape[:2], np.nan)
        return Gradient(nothing, np.full(nothing.shape, -1), np.full(nothing.shape, "", dtype="<U9"))
    numbers = np.flatnonzero(~closed)
    delta, above_top = every[..., :-1], every[..., -1]
    top = delta.shape[-1] - 1
    zero = (delta == 0) & ~np.isnan(delta[..., -1:])
    lowest = np.where(_any(zero), top + 1 - zero[..., ::-1].argmax(-1), 0)
    above = np.take_along_axis(every, lowest[..., None], -1)[..., 0]  # the layer above the topmost 0
    decades = np.where(lowest <= top, attenuation(np.stack([above, delta[..., -1]], -1)), np.nan)
    cut = np.where((lowest == 0) | ((lowest > top) & (above_top == 0)), -1, lowest - 1)
    cause = np.full(cut.shape, "", dtype="<U9")
    cut = np.where(cut >= 0, numbers[cut], -1)
    for place in zip(*np.nonzero(cut >= 0), strict=True):
        cause[place] = _why_zero(records, (*place, cut[place]), above[place])
    return Gradient(decades, cut, cause)


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


def s_shaped(records: Records) -> bool:
    """Whether the cell's phi is flat on both sides, so that saturation is a fault by itself."""
    return is_s_shaped(str(records.cell.get("activation", "")))


def is_s_shaped(activation: str) -> bool:
    """Whether an activation (with its parameters) is of the logistic family; False for a user's own."""
    from gradlab import activations

    return (
        activation.partition(":")[0] in activations.names()
        and activations.get(activation).family == "logistic"
    )


def _saturation(records: Records, sided: bool) -> Array:
    """saturated_fraction without what `dead` judges: of the living units in an S-shape, else less the exact zeros."""
    flat = records.layer("saturated_fraction")
    if not sided:
        less_zeros: Array = flat - np.nan_to_num(records.layer("zero_fraction"))
        return less_zeros
    dead = np.nan_to_num(records.layer("dead_fraction"))
    with np.errstate(divide="ignore", invalid="ignore"):
        living: Array = np.where(dead < 1, (flat - dead) / (1 - dead), 0.0)
    return np.where(np.isnan(flat), np.nan, living)


def _forward_growth(records: Records) -> Array:
    """[S, T]: decades that z_std grows from layer 1 to the last where it is finite, where delta_rms is not a number.

    A forward pass that leaves the number format at birth leaves no delta to judge, but it grew before it did.
    """
    z = records.every_layer("z_std")
    lost = ~np.isfinite(records.layer("delta_rms")).any(-1)
    growth = np.full(lost.shape, np.nan)
    for place in zip(*np.nonzero(lost), strict=True):
        finite = z[place][np.isfinite(z[place]) & (z[place] > 0)]
        if len(finite) > 1:
            growth[place] = np.log10(finite[-1] / finite[0])
    return growth


def _divergence(records: Records, seed: int, learning: Learning) -> Fault | None:
    """Values that are no numbers and stay, or a loss that blew up in a net that does not learn."""
    loss = records.step("train_loss")[seed]
    in_steps, in_layers = records.in_steps[seed], records.in_layers[seed]
    bad_loss = in_steps & ~np.isfinite(loss) & np.isfinite(records.step("train_loss")).any()
    if in_steps.any() and not np.isfinite(records.step("train_loss")).any():
        bad_loss = in_steps & np.isinf(loss)
    count = records.every_layer("nonfinite")[seed]
    delta = records.layer("delta_rms")[seed]
    layer_bad = (np.nan_to_num(count) > 0) | np.isinf(records.every_layer("delta_rms")[seed])
    no_delta = (records.rows[seed] & np.isnan(delta)).any(-1) & np.isfinite(records.layer("delta_rms")).any()
    bad = bad_loss | layer_bad.any(-1) | no_delta
    known = in_layers | in_steps
    if bad.any() and bad[np.flatnonzero(known)[-1]]:
        first = int(np.flatnonzero(bad)[0])
        where = np.flatnonzero(layer_bad[first])
        return Fault(first, int(where[-1]) if len(where) else None, first == 0, first)
    when = np.flatnonzero(in_steps & np.isfinite(loss))
    if len(when) < 2 or loss[when[0]] <= 0:  # of a loss that is 0 or less nothing is a multiple
        return None
    start, end = loss[when[0]], loss[when[-at.RECENT :]].mean()
    blew_up = learning.learned is False and loss[when].max() >= at.BLOW_UP * start
    if not (blew_up or end >= at.WORSE * start) or _scatters(records.step("val_loss")[seed]):
        return None
    first = int(when[loss[when] >= at.WORSE * start][0])
    return Fault(first, None, False, first)


def _scatters(val_loss: Array) -> bool:
    """Whether the loss of a whole validation split never doubled: then it is small batches that scatter."""
    known = val_loss[~np.isnan(val_loss)]
    return len(known) > 1 and known[0] > 0 and bool(known.max() < at.WORSE * known[0])


def _any(holds: Bools) -> Bools:
    return np.asarray(holds.any(-1))


def _first_layer(holds: Bools, cut: NDArray[np.int64]) -> NDArray[np.int64]:
    """[S, T, L] -> [S, T]: index of the lowest layer that holds, else where the gradient is cut, else -1."""
    return np.where(holds.any(-1), holds.argmax(-1), cut)


def _crossing(delta: Array, decades: float) -> NDArray[np.int64]:
    """[S, T, L] -> [S, T]: index of the first layer, going down, that is `decades` away from the top; -1 for none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        change = np.log10(delta) - np.log10(delta[..., -1:])
        beyond = change <= decades if decades < 0 else change >= decades
    last = delta.shape[-1] - 1 - beyond[..., ::-1].argmax(-1)
    return np.where(beyond.any(-1), last, -1)
