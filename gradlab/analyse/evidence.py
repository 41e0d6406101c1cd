"""Verdicts in words and numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gradlab.analyse import thresholds as at
from gradlab.analyse.decay import decay_per_layer, fit_line
from gradlab.analyse.records import Array, Records
from gradlab.analyse.rule import Fault, Replica, profile


def describe(records: Records, replicas: Sequence[Replica], verdict: str, agreeing: Sequence[int]) -> str:
    """The evidence for `verdict` in the replicas (indices) that agree on it."""
    faults = [replicas[i].faults[verdict] for i in agreeing]
    text = _words(records, verdict, agreeing, faults)
    parts = [text] if text else []
    learned = [replicas[i].learning for i in agreeing]
    if verdict == "not-learning" or sum(bool(one.learned) for one in learned) * 2 > len(learned):
        parts.append(_learning(replicas, agreeing))
    parts.append(f"in {len(agreeing)} of {len(replicas)} seeds")
    if verdict in ("vanishing", "exploding") and faults[0].at_birth:
        predicted = _finite(decay_per_layer(records.first("delta_rms_predicted")))
        if len(predicted):
            parts.append(f"theory says {predicted.mean():.3g} x a layer at birth")
    return "; ".join(parts)


def healthy_notes(records: Records, replicas: Sequence[Replica]) -> list[str]:
    """What a healthy cell's numbers are: the gradient's way down at birth, and learning."""
    everyone = range(len(replicas))
    notes = []
    births = [Fault(born, None, True, born) for born in records.in_layers.argmax(1).tolist()]
    if text := _gradient(records, list(everyone), births):
        notes.append(f"{text} at birth")
    notes.append(_learning(replicas, everyone))
    return notes


def harmless_note(records: Records, replicas: Sequence[Replica], verdict: str, which: Sequence[int]) -> str:
    faults = [replicas[i].harmless[verdict] for i in which]
    when = (
        "at birth" if sum(fault.at_birth for fault in faults) * 2 > len(faults) else "that came with training"
    )
    text = _words(records, verdict, which, faults)
    return f"{verdict} {when}, but no fault: {text}; {_learning(replicas, which)}"


def _words(records: Records, verdict: str, which: Sequence[int], faults: Sequence[Fault]) -> str:
    if verdict in ("vanishing", "exploding"):
        return _gradient(records, which, faults)
    if verdict == "underflow":
        return _underflow(records, which, faults)
    if verdict == "dead":
        return _dead(records, which, faults)
    if verdict == "saturated":
        return _saturated(records, which, faults)
    return _diverged(records, which, faults) if verdict == "diverged" else ""


def _gradient(records: Records, which: Sequence[int], faults: Sequence[Fault]) -> str:
    """`delta shrinks 0.24 x a layer (0.236 to 0.245), 1e-12 from layer 20 to layer 1`."""
    places = list(which), [fault.reference for fault in faults]
    rows = records.layer("delta_rms")[places]
    line = fit_line(rows)
    factors = _finite(10.0**line.slope)
    decades = _finite(profile(records).decades[places])
    if rows.shape[1] < 2:
        return ""
    if not len(factors):
        zeros = int((rows == 0).any(0).sum())
        closed = f"delta is exactly 0 in {zeros} of {rows.shape[1]} hidden layers"
        return closed if zeros else _forward(records, which, faults)
    factor = float(np.exp(np.log(factors).mean()))
    total = float(decades.mean()) if len(decades) else np.nan
    word = "grows" if total > 0 else "shrinks"
    if abs(total) < at.STEADY_DECADES:
        word = "keeps its size,"
    spread = f" ({factors.min():.3g} to {factors.max():.3g})" if len(factors) > 1 else ""
    straight = float(np.nanmean(line.r_squared)) if np.isfinite(line.r_squared).any() else 1.0
    way = f"from layer {records.layers[-1]} to layer {records.layers[0]}"
    text = f"delta {word} {factor:.3g} x a layer{spread}, {_power(total)} {way}"
    if (rows == 0).any():
        text += ", then it is exactly 0"
    if straight < at.UNEVEN and rows.shape[1] > 2 and abs(total) >= at.WEAK_DECADES:
        text += f"; not evenly (R^2 {straight:.2f}): {_largest_step(records, rows)}"
    return text


def _largest_step(records: Records, rows: Array) -> str:
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.log10(rows[:, :-1]) - np.log10(rows[:, 1:])
    mean = np.where(np.isfinite(steps).all(0), steps.mean(0), 0.0)
    i = int(np.abs(mean).argmax())
    return f"{_power(float(mean[i]))} between {records.names[i + 1]} and {records.names[i]}"


def _forward(records: Records, which: Sequence[int], faults: Sequence[Fault]) -> str:
    z = records.every_layer("z_std")[which[0], faults[0].reference]
    finite = z[np.isfinite(z)]
    if len(finite) < 2:
        return ""
    return f"no delta is a number; the signal grows from {finite[0]:.3g} to {finite[-1]:.3g} on its way up"


def _underflow(records: Records, which: Sequence[int], faults: Sequence[Fault]) -> str:
    fault, seed = faults[0], which[0]
    row = records.layer("delta_rms")[seed, fault.reference]
    zeros = int((row == 0).sum())
    positive = row[row > 0]
    last = f"below a delta of {positive.min():.2g}" if len(positive) else "in every hidden layer"
    return f"delta is exactly 0 in {zeros} of {len(row)} layers {last}: smaller than the number format holds"


def _dead(records: Records, which: Sequence[int], faults: Sequence[Fault]) -> str:
    share = np.array(
        [records.layer("dead_fraction")[i, f.reference] for i, f in zip(which, faults, strict=True)]
    )
    if np.isnan(share).all():
        return "no unit of a layer passes any gradient"
    mean = np.nanmean(share, 0)
    worst = int(np.nanargmax(mean))
    text = f"{mean[worst]:.0%} of {records.names[worst]} is dead on the probe"
    text += f" ({np.nanmean(mean):.0%} of all hidden units)"
    if (mean >= at.ALL).any():
        text += "; nothing passes below it"
    return text


def _saturated(records: Records, which: Sequence[int], faults: Sequence[Fault]) -> str:
    pairs = list(zip(which, faults, strict=True))
    share = np.array([records.layer("saturated_fraction")[i, f.reference] for i, f in pairs])
    slope = np.array([records.layer("slope_sq")[i, f.reference] for i, f in pairs])
    if np.isnan(share).all():
        return "phi' is 0 in rounding"
    mean = np.nanmean(share, 0)
    worst = int(np.nanargmax(mean))
    text = f"|phi'| is below 5 % of its maximum on {mean[worst]:.0%} of {records.names[worst]}"
    if np.isfinite(slope[:, worst]).any():
        text += f" (E phi'^2 = {np.nanmean(slope[:, worst]):.2g})"
    return text


def _diverged(records: Records, which: Sequence[int], faults: Sequence[Fault]) -> str:
    fault, seed = min(zip(faults, which, strict=True), key=lambda pair: pair[0].record)
    loss = records.step("train_loss")[seed]
    step = int(records.steps[fault.record])
    finite = loss[np.isfinite(loss)]
    bad = records.every_layer("nonfinite")[seed, fault.record]
    if not np.isfinite(loss[fault.record]) or np.nan_to_num(bad).any() or not len(finite):
        return f"values that are not finite at step {step}"
    return f"the training loss rises from {finite[0]:.3g} to {finite.max():.3g} and ends at {finite[-1]:.3g}"


def _learning(replicas: Sequence[Replica], which: Sequence[int]) -> str:
    """One line for several replicas: the median replica's path."""
    some = [replicas[i].learning for i in which]
    known = [learning for learning in some if learning.learned is not None]
    if not known:
        return str(some[0])
    most = sum(bool(learning.learned) for learning in known) * 2 > len(known)
    common = sorted((one for one in known if one.learned == most), key=lambda one: one.end)
    text = str(common[len(common) // 2])
    if len(common) > 1:
        text += f" (median seed; all {common[0].end:.3g} to {common[-1].end:.3g}, last {at.RECENT} records)"
    return text


def _power(decades: float) -> str:
    """A factor given in decades: `1e-12` or `0.03`."""
    if not np.isfinite(decades):
        return "0" if decades < 0 else str(decades)
    return f"{10.0**decades:.2g}" if abs(decades) < 300 else f"1e{decades:.0f}"


def _finite(values: Array) -> Array:
    result: Array = values[np.isfinite(values)]
    return result
