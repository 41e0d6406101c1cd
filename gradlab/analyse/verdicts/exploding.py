"""exploding: delta grows from layer to layer on its way down, or the signal on its way up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from gradlab.analyse import cure, through_time
from gradlab.analyse import thresholds as at
from gradlab.analyse.budget import budget, decades, norm_cures, spent_words, weights_reason
from gradlab.analyse.cure import Cure
from gradlab.analyse.decay import Array
from gradlab.analyse.evidence import predicted_decay
from gradlab.analyse.facts import Facts
from gradlab.analyse.fault import Fault, lasting, worst_path
from gradlab.analyse.gradient import Gradient, absent, crossing
from gradlab.analyse.known_parts import grows, is_centred, is_s_shaped
from gradlab.analyse.remedy import ROOM, Remedy, calm, clip, edge_of_chaos, skips
from gradlab.analyse.verdict import BAD, Verdict, no_budget, nothing
from gradlab.config.sections import Network, Training


def judge(facts: Facts) -> list[Fault | None]:
    forward = _forward_growth(facts)

    def along(gradient: Gradient) -> list[Fault | None]:
        signal = forward if gradient is facts.gradient else np.full_like(forward, np.nan)
        with np.errstate(invalid="ignore"):
            up = (gradient.decades >= at.WEAK_DECADES) | (signal >= at.WEAK_DECADES)
            far_up = (gradient.decades >= at.STRONG_DECADES) | (signal >= at.STRONG_DECADES)
        return lasting(facts, up, far_up, crossing(gradient, at.WEAK_DECADES), ends_itself=True)

    return through_time.worst(worst_path(facts, along), through_time.blown_up(facts))


def _forward_growth(facts: Facts) -> Array:
    """[S, T]: decades that z_std grows from layer 1 to the last where it is finite, where delta_rms is not a number.

    A forward pass that leaves the number format at birth leaves no delta to judge, but it grew before it did.
    """
    z = facts.records.every_layer("z_std")
    lost = ~np.isfinite(facts.records.layer("delta_rms")).any(-1) & ~absent(facts.records)[..., :-1].all(-1)
    growth = np.full(lost.shape, np.nan)
    for place in zip(*np.nonzero(lost), strict=True):
        finite = z[place][np.isfinite(z[place]) & (z[place] > 0)]
        if len(finite) > 1:
            growth[place] = np.log10(finite[-1] / finite[0])
    return growth


def remedies(network: Network, training: Training) -> Iterator[Remedy]:
    if grows(network.residual):
        yield from skips(network, training)
    if is_s_shaped(network.activation) and is_centred(network.activation):
        yield Remedy(
            edge_of_chaos(network.activation),
            "where sigma_w phi'(0) is above 1 the net is chaotic and delta grows with every layer",
            "Poole et al. 2016; Schoenholz et al. 2017",
        )
    yield Remedy(
        {"network.init": "auto", **calm(network, training)},
        "this variance keeps delta's size from layer to layer for the activation",
        "Glorot and Bengio 2010; He et al. 2015",
        ROOM,
    )
    yield from skips(network, training)
    yield clip()
    yield Remedy(
        {"network.activation": "selu", "network.init": "lecun", **calm(network, training)},
        "mean 0 and variance 1 are a fixed point, so neither signal nor delta grows",
        "Klambauer et al. 2017; AutoTrainer (Zhang et al. 2021)",
        ROOM,
    )


def cures(facts: Facts, seeds: Sequence[int], faults: Sequence[Fault]) -> Iterator[Cure]:
    if faults[0].where:
        yield cure.clip("no update can be longer than the rate then")
        yield from through_time.cures(facts, faults)
        return
    found = budget(facts, seeds, faults)
    yield from norm_cures(facts, found)
    yield cure.initial_weights(weights_reason(found))
    yield cure.clip("no update can be longer than the rate then")
    if found.leader != "norms":
        yield cure.code("nn.BatchNorm1d before the activation", "normalised layers keep the gradient's size")


VERDICT = Verdict(
    name="exploding",
    order=30,
    summary="delta grows 100 times or more from the top hidden layer to layer 1 or through the steps of an RNN, or the "
    "signal on its way up",
    headline="The gradient explodes",
    severity="stops learning",
    style=BAD,
    reads=("z_std",),
    judge=judge,
    evidence=through_time.or_layers(through_time.words, spent_words),
    budget=through_time.or_layers(no_budget, decades),
    predicted=through_time.or_layers(nothing, predicted_decay),
    remedies=remedies,
    cures=cures,
    overflows=True,
)
