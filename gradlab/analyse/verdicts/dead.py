"""dead: units in a flat part of phi on every sample of the probe, so many that a layer passes next to nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from gradlab.analyse import cure
from gradlab.analyse import thresholds as at
from gradlab.analyse.cure import Cure
from gradlab.analyse.decay import Array
from gradlab.analyse.facts import Bools, Facts
from gradlab.analyse.fault import Fault, any_layer, first_layer, lasting
from gradlab.analyse.remedy import ROOM, Remedy, batch_norm, calm, skips
from gradlab.analyse.updates import other_rate
from gradlab.analyse.verdict import Style, Verdict
from gradlab.config.sections import Network, Training

WEAK = 0.75
"""Share of a layer's units dead on the probe from which a net that does not learn is called dead. At He's
initialisation up to 0.55 of a deep layer is dead at birth (its inputs are almost parallel) and the net learns."""

FEW_ALIVE = 1.5
"""Living units below which a layer counts as one with WEAK: a single unit passes a single number."""

STRONG = 0.95
"""Share from which it is a fault whether the net learns or not: its output has a twentieth of its rank."""

ONE, TINY = 0.5, 3.0
"""A unit that lives, rounding left aside; and a layer in which one unit lives is not dead in a net that learns."""

NARROW = 32
"""Width below which a ReLU net is first made wider: at 32 units and depth 15 no layer is ever born dead."""


def judge(facts: Facts) -> list[Fault | None]:
    records, gradient = facts.records, facts.gradient
    dead = _share(facts)
    with np.errstate(invalid="ignore"):
        alive = (1 - dead) * records.every_layer("fan_out")
        starved = (dead >= WEAK) | ((alive < FEW_ALIVE) & (dead > 0))
        poor = (dead >= STRONG) & ~((alive >= ONE) & (alive <= TINY * ONE))
        strong = any_layer(poor) | (gradient.cause == "dead")
    return lasting(facts, any_layer(starved), strong, first_layer(starved, gradient.cut))


def _share(facts: Facts) -> Array:
    """[S, T, L + 1]: share of units dead on the probe and, where that is known, on the batch: under the running
    statistics of an early step a unit may seem dead in eval mode and live on every batch."""
    records = facts.records
    found: Array = np.fmin(records.every_layer("dead_fraction"), records.every_layer("batch_dead_fraction"))
    return np.where(np.isnan(records.every_layer("dead_fraction")), np.nan, found)


def evidence(facts: Facts, seeds: Sequence[int], faults: Sequence[Fault]) -> str:
    records = facts.records
    share = _share(facts)[list(seeds), [fault.reference for fault in faults]]
    if np.isnan(share).all():
        return "no unit of a layer passes any gradient"
    known: Bools = np.asarray(~np.isnan(share).all(0))
    mean = np.full(share.shape[1], np.nan)
    mean[known] = np.nanmean(share[:, known], 0)
    worst = int(np.nanargmax(mean))
    text = f"{mean[worst]:.0%} of {records.place(worst)[1]} is dead on the probe"
    if known[:-1].any() and worst < len(mean) - 1:
        text += f" ({_of_all(facts, mean[:-1]):.0%} of all hidden units)"
    if (mean >= at.ALL).any():
        text += "; nothing passes below it"
    return text


def _of_all(facts: Facts, share: Array) -> float:
    """The share of all hidden units, given each layer's [L]; wider layers have more of them."""
    width = facts.records.layer("fan_out")
    widths = np.nanmax(width, (0, 1), initial=0.0)
    known = ~np.isnan(share)
    weights = widths[known] if (widths[known] > 0).all() else None
    return float(np.average(share[known], weights=weights))


def remedies(network: Network, training: Training) -> Iterator[Remedy]:
    room = calm(network, training)
    if network.width < NARROW:
        yield Remedy(
            {"network.width": NARROW, **room},
            "a layer of n units is born dead with a probability that falls like 2^-n",
            "Lu et al. 2020",
            ROOM,
        )
    yield Remedy(
        {"network.activation": "leaky_relu:negative_slope=0.2", "network.init": "he", **room},
        "a slope below 0 keeps every unit alive",
        "Maas et al. 2013; Lu et al. 2020",
        ROOM,
    )
    yield Remedy(
        {"network.activation": "elu", "network.init": "he", **room},
        "its slope is positive everywhere and its outputs are centred",
        "Clevert et al. 2016; AutoTrainer (Zhang et al. 2021)",
        ROOM,
    )
    yield batch_norm()
    if network.init != "auto":
        reason = "biases start at 0, so that half of the inputs pass each unit"
        yield Remedy({"network.init": "auto", **room}, reason, "He et al. 2015", ROOM)
    yield from skips(network, training)


def cures(facts: Facts, seeds: Sequence[int], faults: Sequence[Fault]) -> Iterator[Cure]:
    if faults[0].layer == len(facts.records.layers):
        yield cure.code(
            "a plain nn.Linear as the last layer",
            "an output that must be 0 or more dies where all are below 0",
        )
    if not faults[0].at_birth:
        yield from other_rate(facts, seeds, 0.1, "a smaller rate does not throw the biases so far below 0")
    yield cure.initial_weights(
        "weights of variance 2 / fan_in and biases of 0 let half of the inputs pass each unit"
    )
    yield cure.code("nn.LeakyReLU(0.2) in place of nn.ReLU()", "a slope below 0 keeps every unit alive")


VERDICT = Verdict(
    name="dead",
    order=10,
    summary="most units of a layer are flat on every sample of the probe, so that nearly nothing passes it",
    headline="Most units of a layer are dead, and nearly nothing passes it",
    severity="stops learning",
    style=Style("dead", "magenta", ("#6b2477", "#f5e4f8"), ("#e6b0f0", "#3c1a44")),
    reads=("fan_out",),
    judge=judge,
    evidence=evidence,
    remedies=remedies,
    cures=cures,
)
