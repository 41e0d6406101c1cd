"""saturated: pre-activations far out on the flat sides of phi, where its slope is next to 0."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from gradlab.analyse import cure
from gradlab.analyse.cure import Cure
from gradlab.analyse.decay import Array
from gradlab.analyse.facts import Facts
from gradlab.analyse.fault import Fault, any_layer, first_layer, lasting
from gradlab.analyse.known_parts import is_s_shaped
from gradlab.analyse.records import Records
from gradlab.analyse.remedy import ROOM, Remedy, batch_norm, calm
from gradlab.analyse.updates import other_rate
from gradlab.analyse.verdict import POOR, Verdict
from gradlab.config.sections import Network, Training

WEAK = 0.5
"""Share of (sample, unit) with |phi'| < 0.05 sup|phi'| in a layer of an S-shaped activation from which a net that does
not learn is called saturated: the median unit passes less than a twentieth. Under SGD nets that learn stay below
0.1; Adam drives sigmoid layers to 0.6 and they still learn, so that it is a fault only in a net that does not."""

STRONG = 0.8
"""Share from which it is a fault of an S-shaped activation whether the net learns or not: then it learns slowly (tanh
with sigma_w = 10 ends near 0.55 where Glorot's weights reach 0.95); nets that learn well stay below 0.7."""

LEAKING = 0.95
"""The share for an activation with one flat side (GELU, ELU, leaky ReLU): half is normal there, and with fewer than
one slope in twenty left what passes is mostly what leaks."""


def judge(facts: Facts) -> list[Fault | None]:
    records, gradient = facts.records, facts.gradient
    count = len(records.layers)
    sided = np.array([is_sided(records, layer) for layer in range(count + 1)])
    flat = _saturation(facts, sided)
    last = (
        np.arange(count + 1) == count
    )  # an output that is right may well be far out: it counts where nothing is learned
    with np.errstate(invalid="ignore"):
        weak = any_layer((flat >= WEAK) & sided)
        strong = any_layer((flat >= np.where(sided, STRONG, LEAKING)) & ~last) | (
            gradient.cause == "saturated"
        )
        layer = first_layer(flat >= np.where(sided, WEAK, LEAKING), gradient.cut)
    return lasting(facts, weak, strong, layer)


def is_sided(records: Records, layer: int) -> bool:
    """Whether the activation of the layer with this index is flat on both sides."""
    return is_s_shaped(records.activation(layer))


def _saturation(facts: Facts, sided: NDArray[np.bool_]) -> Array:
    """saturated_fraction without what `dead` judges: of the living units in an S-shape, else less the exact zeros."""
    flat = facts.records.every_layer("saturated_fraction")
    less_zeros: Array = flat - np.nan_to_num(facts.records.every_layer("zero_fraction"))
    dead = np.nan_to_num(facts.records.every_layer("dead_fraction"))
    with np.errstate(divide="ignore", invalid="ignore"):
        living: Array = np.where(dead < 1, (flat - dead) / (1 - dead), 0.0)
    return np.where(np.isnan(flat), np.nan, np.where(sided, living, less_zeros))


def evidence(facts: Facts, seeds: Sequence[int], faults: Sequence[Fault]) -> str:
    records = facts.records
    places = list(seeds), [fault.reference for fault in faults]
    share, slope = (records.every_layer(column)[places] for column in ("saturated_fraction", "slope_sq"))
    if np.isnan(share).all():
        return "phi' is 0 in rounding"
    known = ~np.isnan(share).all(0)
    mean = np.full(share.shape[1], np.nan)
    mean[known] = np.nanmean(share[:, known], 0)
    worst = int(np.nanargmax(mean))
    text = f"|phi'| is below 5 % of its maximum on {mean[worst]:.0%} of {records.place(worst)[1]}"
    if np.isfinite(slope[:, worst]).any():
        text += f" (E phi'^2 = {np.nanmean(slope[:, worst]):.2g})"
    return text


def remedies(network: Network, training: Training) -> Iterator[Remedy]:
    room = calm(network, training)
    yield Remedy(
        {"network.init": "auto", **room},
        "smaller weights keep z where phi has slope",
        "Glorot and Bengio 2010",
        ROOM,
    )
    yield Remedy(
        {"network.norm": "layer"}, "normalised inputs keep z where phi has slope", "Ba, Kiros and Hinton 2016"
    )
    yield Remedy(
        {"network.activation": "relu", "network.init": "he", **room},
        "no flat part above 0",
        "Glorot et al. 2011",
        ROOM,
    )
    yield batch_norm()


def cures(facts: Facts, seeds: Sequence[int], faults: Sequence[Fault]) -> Iterator[Cure]:
    if faults[0].at_birth:
        yield cure.initial_weights("smaller weights keep z where phi has slope")
    else:
        yield from other_rate(facts, seeds, 0.1, "smaller steps do not throw z so far out")
    yield cure.code("nn.LayerNorm before the activation", "normalised inputs keep z where phi has slope")


VERDICT = Verdict(
    name="saturated",
    order=20,
    summary="most pre-activations of a layer lie where phi is flat, so that little of the gradient passes it",
    headline="Most units sit where the activation is flat, and the gradient hardly passes",
    severity="slows learning",
    style=POOR,
    judge=judge,
    evidence=evidence,
    remedies=remedies,
    cures=cures,
)
