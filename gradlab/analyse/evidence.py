"""Verdicts in words and numbers: what several of them say, and how each one's evidence is put together.

seeds: the indices of the seeds that agree; faults: the fault of each of these.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from gradlab.analyse import thresholds as at
from gradlab.analyse.decay import Array, decay_per_layer, fit_line
from gradlab.analyse.facts import Facts
from gradlab.analyse.fault import Fault
from gradlab.analyse.verdict import Verdict

if TYPE_CHECKING:
    from gradlab.analyse.records import Records


def describe(facts: Facts, verdict: Verdict, seeds: Sequence[int], faults: Sequence[Fault]) -> str:
    """The evidence for a verdict in the seeds that agree on it."""
    text = verdict.evidence(facts, seeds, faults)
    parts = [text] if text else []
    if sum(bool(facts.learning[seed].learned) for seed in seeds) * 2 > len(seeds):
        parts.append(learning_words(facts, seeds))
    parts.append(f"in {len(seeds)} of {len(facts.learning)} seeds")
    if predicted := verdict.predicted(facts, seeds, faults):
        parts.append(predicted)
    return "; ".join(parts)


def healthy_notes(facts: Facts) -> list[str]:
    """What a healthy cell's numbers are: the gradient's way down at birth, and learning."""
    everyone = range(len(facts.learning))
    births = [Fault(born, None, True, born) for born in facts.records.in_layers.argmax(1).tolist()]
    text = gradient_words(facts, everyone, births)
    return [*([f"{text} at birth"] if text else []), learning_words(facts, everyone)]


def harmless_note(facts: Facts, verdict: Verdict, seeds: Sequence[int], faults: Sequence[Fault]) -> str:
    """That a verdict's symptom shows and is no fault."""
    when = (
        "at birth" if sum(fault.at_birth for fault in faults) * 2 > len(faults) else "that came with training"
    )
    text = verdict.evidence(facts, seeds, faults)
    return f"{verdict.name} {when}, but no fault: {text}; {learning_words(facts, seeds)}"


def gradient_words(facts: Facts, seeds: Sequence[int], faults: Sequence[Fault]) -> str:
    """`delta shrinks 0.24 x a layer (0.236 to 0.245), 1e-12 from layer 20 to layer 1`."""
    records, path = facts.records, faults[0].path
    some = [(seed, fault.reference) for seed, fault in zip(seeds, faults, strict=True) if fault.path == path]
    places = [seed for seed, _ in some], [record for _, record in some]
    own = facts.rows_of(path)
    rows = records.layer("delta_rms")[places][:, own]
    line = fit_line(rows)
    factors = _finite(10.0**line.slope)
    decades = _finite(facts.gradient_of(path).decades[places])
    if rows.shape[1] < 2:
        return ""
    if not len(factors):
        zeros = int((rows == 0).any(0).sum())
        closed = f"delta is exactly 0 in {zeros} of {rows.shape[1]} hidden layers"
        return closed if zeros else _forward(records, seeds, faults)
    factor = float(np.exp(np.log(factors).mean()))
    total = float(decades.mean()) if len(decades) else np.nan
    word = "grows" if total > 0 else "shrinks"
    if abs(total) < at.STEADY_DECADES:
        word = "changes little,"
    spread = f" ({factors.min():.3g} to {factors.max():.3g})" if len(factors) > 1 else ""
    straight = float(np.nanmean(line.r_squared)) if np.isfinite(line.r_squared).any() else 1.0
    text = f"delta {word} {factor:.3g} x a layer{spread}, {_power(total)} {_way(facts, path, places)}"
    if path:
        text = f"in {path}, {text}"
    elif len(own) > own.sum():
        text = f"along the stream, {text}"
    if (rows == 0).any() and not path:
        text += ", then it is exactly 0"
    if straight < at.UNEVEN and rows.shape[1] > 2 and abs(total) >= at.WEAK_DECADES:
        names = [name for name, is_on in zip(records.names, own, strict=True) if is_on]
        text += f"; not evenly (R^2 {straight:.2f}): {_largest_step(names, rows)}"
    return text


def predicted_decay(facts: Facts, seeds: Sequence[int], faults: Sequence[Fault]) -> str:
    """What theory says of a gradient that changes from birth on; "" where it says nothing."""
    if not faults[0].at_birth:
        return ""
    predicted = _finite(
        decay_per_layer(facts.records.first("delta_rms_predicted")[:, facts.rows_of(faults[0].path)])
    )
    return f"theory says {predicted.mean():.3g} x a layer at birth" if len(predicted) else ""


def learning_words(facts: Facts, seeds: Sequence[int]) -> str:
    """Whether these seeds learn: the median seed's path, of an even number the lower median's."""
    some = [facts.learning[seed] for seed in seeds]
    known = [learning for learning in some if learning.learned is not None]
    if not known:
        return str(some[0])
    most = sum(bool(learning.learned) for learning in known) * 2 > len(known)
    common = sorted((one for one in known if one.learned == most), key=lambda one: one.end)
    middle = common[(len(common) - 1) // 2]
    text = str(middle)
    if len(common) > 1:
        shown = "median seed" if len(common) % 2 else "lower of the two middle seeds"
        ends = " to ".join(middle.number(one.end) for one in (common[0], common[-1]))
        text += f" ({shown}; all {ends}, last {at.RECENT} records)"
    return text


def _way(facts: Facts, path: str, places: tuple[list[int], list[int]]) -> str:
    """`from layer 20 to layer 1`: the two layers that most of the seeds' totals compare."""
    layers = facts.records.layers
    gradient = facts.gradient_of(path)
    top, bottom = gradient.top[places], gradient.bottom[places]
    judged = (bottom >= 0) & (bottom <= top)  # of a seed whose every delta is 0 no layer is compared
    ends = Counter(zip(top[judged].tolist(), bottom[judged].tolist(), strict=True)).most_common(1)
    high, low = ends[0][0] if ends else (-1, 0)
    return f"from layer {layers[high]} to layer {layers[low]}"


def _largest_step(names: Sequence[str], rows: Array) -> str:
    """names: of the layers of `rows` [seed, layer]"""
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.log10(rows[:, :-1]) - np.log10(rows[:, 1:])
    mean = np.where(np.isfinite(steps).all(0), steps.mean(0), 0.0)
    i = int(np.abs(mean).argmax())
    return f"{_power(float(mean[i]))} between {names[i + 1]} and {names[i]}"


def _forward(records: Records, seeds: Sequence[int], faults: Sequence[Fault]) -> str:
    z = records.every_layer("z_std")[seeds[0], faults[0].reference]
    finite = z[np.isfinite(z)]
    if len(finite) < 2:
        return ""
    return f"no delta is a number; the signal grows from {finite[0]:.3g} to {finite[-1]:.3g} on its way up"


def _power(decades: float) -> str:
    """A factor given in decades: `1e-12` or `0.03`."""
    if not np.isfinite(decades):
        return "0" if decades < 0 else str(decades)
    return f"{10.0**decades:.2g}" if abs(decades) < 300 else f"1e{decades:.0f}"


def _finite(values: Array) -> Array:
    result: Array = values[np.isfinite(values)]
    return result
