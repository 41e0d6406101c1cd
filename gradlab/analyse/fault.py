"""A fault of one seed, and which symptoms last long enough to be one."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradlab.analyse import thresholds as at
from gradlab.analyse.facts import Bools, Facts
from gradlab.analyse.gradient import Gradient


class Fault(NamedTuple):
    """record: index of the record from which it shows; layer: index of the hidden layer, L for the readout, or None;
    reference: index of the record that its evidence is taken from; harmless: it shows and does no harm, so that it is
    told of a healthy net and is no finding; where: the recurrent layer in whose steps it shows, ""
    for a fault of layers; path: the branch or head along whose layers it shows, "" for the net's own path"""

    record: int
    layer: int | None
    at_birth: bool
    reference: int
    harmless: bool = False
    where: str = ""
    path: str = ""


def lasting(
    facts: Facts, weak: Bools, strong: Bools, layer: NDArray[np.int64], *, ends_itself: bool = False
) -> list[Fault | None]:
    """Of each seed the fault that holds at the end of the records, or at birth in a net that does not learn.

    weak, strong: [S, T], where the symptom is there, and where it is so strong that it counts in a net that learns too;
        one that is weak, or over, in a net that learned despite it is harmless
    layer: [S, T], index of the layer at which it begins, -1 for none
    ends_itself: an explosion throws the weights into saturation or death, and then the gradient vanishes. Such a
        symptom counts when it was strong at any record of a net that does not learn.
    """
    found: list[Fault | None] = []
    for seed in range(len(weak)):
        here = weak[seed], strong[seed], layer[seed], facts.counts[seed]
        fault = _lasting(*here, facts.unharmed(seed), ends_itself)
        if fault is None and (spared := _lasting(here[0], here[0] | here[1], *here[2:], False, False)):
            fault = spared._replace(harmless=True)
        found.append(fault)
    return found


def worst_path(facts: Facts, of_path: Callable[[Gradient], list[Fault | None]]) -> list[Fault | None]:
    """Of each seed the fault of the net's own path, else the earliest of those of its branches and heads; a harmless
    one only where there is no other."""
    found = of_path(facts.gradient)
    for path in [*facts.readings][1:]:
        for seed, fault in enumerate(of_path(facts.gradient_of(path))):
            if fault is None or (
                (known := found[seed]) is not None and not known.harmless and not known.path
            ):
                continue
            if known is None or (fault.harmless, fault.record) < (known.harmless, known.record):
                found[seed] = fault._replace(path=path)
    return found


def over_records(holds: Bools, counts: Bools, *, ends_itself: bool) -> Fault | None:
    """The fault of one seed whose symptom, [T], holds at the end of the records that count, or at birth; where
    `ends_itself`, at any of them."""
    layer = np.full(len(holds), -1)
    return _lasting(holds, holds, layer, counts, False if ends_itself else None, ends_itself)


def any_layer(holds: Bools) -> Bools:
    """[S, T, L] -> [S, T]: whether it holds in any layer."""
    return np.asarray(holds.any(-1))


def first_layer(holds: Bools, otherwise: NDArray[np.int64]) -> NDArray[np.int64]:
    """[S, T, L] -> [S, T]: index of the lowest layer that holds; `otherwise` where none does."""
    return np.where(holds.any(-1), holds.argmax(-1), otherwise)


def _lasting(
    weak: Bools,
    strong: Bools,
    layer: NDArray[np.int64],
    counts: Bools,
    unharmed: bool | None,
    ends_itself: bool,
) -> Fault | None:
    holds = strong if unharmed else weak | strong
    when = np.flatnonzero(counts)
    if not len(when):
        return None
    now = holds[when]
    recent = now[-at.RECENT :]
    lasts = recent.sum() * 2 > len(recent)
    passed = ends_itself and unharmed is False and bool(strong[when].any())
    if not lasts and not passed and not (now[0] and not unharmed):
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
