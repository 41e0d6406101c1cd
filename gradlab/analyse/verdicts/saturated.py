"""saturated: pre-activations far out on the flat sides of phi, where its slope is next to 0."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from gradlab.analyse.decay import Array
from gradlab.analyse.facts import Facts
from gradlab.analyse.fault import Fault, any_layer, first_layer, lasting
from gradlab.analyse.known_parts import is_s_shaped
from gradlab.analyse.remedy import ROOM, Remedy, batch_norm, calm
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
    gradient = facts.gradient
    sided = is_s_shaped(str(facts.records.cell.get("activation", "")))
    flat = _saturation(facts, sided)
    with np.errstate(invalid="ignore"):
        weak = any_layer(flat >= WEAK) & sided
        strong = any_layer(flat >= (STRONG if sided else LEAKING)) | (gradient.cause == "saturated")
        layer = first_layer(flat >= (WEAK if sided else LEAKING), gradient.cut)
    return lasting(facts, weak, strong, layer)


def _saturation(facts: Facts, sided: bool) -> Array:
    """saturated_fraction without what `dead` judges: of the living units in an S-shape, else less the exact zeros."""
    flat = facts.records.layer("saturated_fraction")
    if not sided:
        less_zeros: Array = flat - np.nan_to_num(facts.records.layer("zero_fraction"))
        return less_zeros
    dead = np.nan_to_num(facts.records.layer("dead_fraction"))
    with np.errstate(divide="ignore", invalid="ignore"):
        living: Array = np.where(dead < 1, (flat - dead) / (1 - dead), 0.0)
    return np.where(np.isnan(flat), np.nan, living)


def evidence(facts: Facts, seeds: Sequence[int], faults: Sequence[Fault]) -> str:
    records = facts.records
    places = list(seeds), [fault.reference for fault in faults]
    share, slope = records.layer("saturated_fraction")[places], records.layer("slope_sq")[places]
    if np.isnan(share).all():
        return "phi' is 0 in rounding"
    mean = np.nanmean(share, 0)
    worst = int(np.nanargmax(mean))
    text = f"|phi'| is below 5 % of its maximum on {mean[worst]:.0%} of {records.names[worst]}"
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


VERDICT = Verdict(
    name="saturated",
    order=20,
    summary="most pre-activations of a layer lie where phi is flat, so that little of the gradient passes it",
    severity="slows learning",
    style=POOR,
    judge=judge,
    evidence=evidence,
    remedies=remedies,
)
