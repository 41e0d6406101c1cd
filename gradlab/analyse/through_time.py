"""Faults of a gradient on its way back through the steps of a recurrent layer: where, and said in words.

A net is only ill of it if it is harmed. Where the loss takes every output, a gradient comes to each step anyhow; where
a task asks for the last inputs alone, nothing is lost with the first. So of a net that learns it is said, as no fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np

from gradlab.analyse import cure
from gradlab.analyse import thresholds as at
from gradlab.analyse.cure import Cure
from gradlab.analyse.facts import Bools, Facts
from gradlab.analyse.fault import Fault, over_records
from gradlab.analyse.in_time import Array, InTime

T = TypeVar("T")
Told = Callable[[Facts, Sequence[int], Sequence[Fault]], T]
"""Something about a fault, given the seeds (indices) that agree on it and the fault of each."""
Holds = Callable[[InTime, float], Bools]
"""Where a symptom is there in a layer, [S, T], given how many decades count."""


def shrinks(layer: InTime, decades: float) -> Bools:
    with np.errstate(invalid="ignore"):
        return np.asarray(layer.left <= 10.0**-decades)


def grows(layer: InTime, decades: float) -> Bools:
    with np.errstate(invalid="ignore"):
        return np.asarray(layer.largest >= 10.0**decades)


def lost(facts: Facts) -> list[Fault | None]:
    """Of each seed, a module all of whose layers, in both directions, lose the gradient: one that keeps it is enough
    to remember by. WEAK_DECADES count in a net that does not learn. Where nobody knows whether it learns,
    STRONG_DECADES do: at birth torch's own RNN, LSTM and GRU lose WEAK_DECADES within ten steps, and mostly learn."""
    return _faults(facts, shrinks, at.STRONG_DECADES, together=True)


def blown_up(facts: Facts) -> list[Fault | None]:
    """Of each seed, a module one of whose layers lets the gradient grow by WEAK_DECADES."""
    return _faults(facts, grows, at.WEAK_DECADES, together=False)


def worst(of_layers: Sequence[Fault | None], of_steps: Sequence[Fault | None]) -> list[Fault | None]:
    """Of each seed one of the two: a fault before a harmless one, and the more particular of them first."""
    found: list[Fault | None] = []
    for layers, steps in zip(of_layers, of_steps, strict=True):
        mild = steps is None or (steps.harmless and layers is not None and not layers.harmless)
        found.append(layers if mild else steps)
    return found


def _faults(facts: Facts, holds: Holds, unknown: float, *, together: bool) -> list[Fault | None]:
    """unknown: decades that count where nobody knows whether the net learns; together: whether all layers of a module
    must have the symptom"""
    modules: dict[str, list[InTime]] = {}
    for layer in facts.records.in_time.values():
        modules.setdefault(layer.module, []).append(layer)
    found: list[Fault | None] = [None] * len(facts.learning)
    for layers in modules.values():
        for seed in range(len(found)):
            decades = at.WEAK_DECADES if facts.harmed(seed) or facts.learned(seed) else unknown
            each = np.stack([holds(layer, decades)[seed] for layer in layers])
            some = np.asarray(each.any(0))
            now = np.asarray((each | _short(layers, seed)).all(0) & some) if together else some
            fault = over_records(now, facts.counts[seed], ends_itself=not together and facts.harmed(seed))
            if fault is None:
                continue
            named = _named(layers, seed, fault.reference, together)
            harmless = bool(facts.learned(seed)) and not facts.harmed(seed)
            fault = fault._replace(where=named, harmless=harmless)
            if found[seed] is None or fault.record < found[seed].record:  # type: ignore[union-attr]
                found[seed] = fault
    return found


def _short(layers: Sequence[InTime], seed: int) -> Bools:
    """[layer, T]: which have next to no steps behind their last output, so that nothing can be lost: the reverse
    direction where the loss takes the output at the last input alone."""
    length = np.stack([np.nan_to_num(layer.length[seed]) for layer in layers])
    return np.asarray(length < length.max(0) / 2)


def _named(layers: Sequence[InTime], seed: int, record: int, together: bool) -> str:
    """The layer that speaks for its module: that which reaches farthest where all lose, that which grows most."""
    values = [(layer.reach if together else layer.largest)[seed, record] for layer in layers]
    return layers[int(np.nanargmax(np.nan_to_num(values, nan=-1.0)))].name


def or_layers(in_time: Told[T], of_layers: Told[T]) -> Told[T]:
    """What is told of a fault: the one of a fault through time, the other of a fault of layers."""

    def told(facts: Facts, seeds: Sequence[int], faults: Sequence[Fault]) -> T:
        return (in_time if faults[0].where else of_layers)(facts, seeds, faults)

    return told


def words(facts: Facts, seeds: Sequence[int], faults: Sequence[Fault]) -> str:
    """`in rnn.l0 the gradient shrinks 0.52 x a step, and the output at step 100 reaches back 7 steps`."""
    where = faults[0].where
    layer = facts.records.in_time[where]
    places = [
        (seed, fault.reference) for seed, fault in zip(seeds, faults, strict=True) if fault.where == where
    ]

    def middle(values: Array) -> float:
        known = np.array([values[place] for place in places])
        known = known[~np.isnan(known)]
        return float(np.median(known)) if len(known) else np.nan

    factor, theory, end, keep = (middle(x) for x in (layer.factor, layer.predicted, layer.end, layer.keep))
    reach, length, largest = (middle(x) for x in (layer.reach, layer.length, layer.largest))
    up = largest >= 10.0**at.WEAK_DECADES
    text = f"in {where} the gradient {'grows' if up else 'shrinks'}"
    if not np.isnan(factor):
        text += f" {factor:.3g} x a step"
    if not np.isnan(theory):
        text += f" (theory says {theory:.3g})"
    if up:
        return f"{text}, up to {largest:.2g} times between the output at step {end:.0f} and the others"
    side = "ahead" if layer.reverse else "back"
    count = f"{reach:.0f} step" + ("" if round(reach) == 1 else "s")
    text += f", and the output at step {end:.0f} reaches {side} {count} of {length - 1:.0f} (to 1 %)"
    if layer.gated:
        gates = "forget" if layer.cell else "update"
        text += f": lost through the {gates} gates, which keep {keep:.2g} of the state in a step"
    return text


def cures(facts: Facts, faults: Sequence[Fault]) -> Iterator[Cure]:
    """What keeps a gradient's size from step to step."""
    layer = facts.records.in_time[faults[0].where]
    path = "model" + f".{layer.module}" * (layer.module != "(model)")
    suffix = layer.name.removeprefix(layer.module).replace(".", "_", 1)
    steps = float(np.nanmax(layer.length))
    if layer.gated:
        bias = cure.one_digit(max(1.0, float(np.log(steps))))
        size = f"{path}.hidden_size"
        yield cure.code(
            f"with torch.no_grad(): {path}.bias_hh{suffix}[{size} : 2 * {size}] = {bias:g}",
            f"through time in {layer.name}, a gate that begins open keeps the state for about {np.exp(bias):.0f} steps",
        )
        return
    yield cure.code(
        f"torch.nn.init.orthogonal_({path}.weight_hh{suffix})",
        f"through time in {layer.name}, orthogonal recurrent weights keep the gradient's size",
    )
    yield cure.code(
        f"nn.{'LSTMCell' if layer.module == layer.name else 'LSTM'} in place of the plain RNN",
        "gates carry the state, and its gradient, past the non-linearity",
    )
