"""vanishing: delta shrinks from layer to layer on its way down."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from gradlab.analyse import cure, through_time
from gradlab.analyse import thresholds as at
from gradlab.analyse.budget import budget, decades, norm_cures, spent_words, weights_reason
from gradlab.analyse.cure import Cure
from gradlab.analyse.evidence import predicted_decay
from gradlab.analyse.facts import Facts
from gradlab.analyse.fault import Fault, lasting, worst_path
from gradlab.analyse.gradient import Gradient, crossing
from gradlab.analyse.known_parts import is_centred, is_s_shaped
from gradlab.analyse.remedy import DEEP, ROOM, Remedy, batch_norm, calm, edge_of_chaos, skips
from gradlab.analyse.verdict import POOR, Verdict, no_budget, nothing
from gradlab.config.sections import Network, Training


def judge(facts: Facts) -> list[Fault | None]:
    def along(gradient: Gradient) -> list[Fault | None]:
        with np.errstate(invalid="ignore"):
            down = (gradient.decades <= -at.WEAK_DECADES) | gradient.lost
            far_down = (gradient.decades <= -at.STRONG_DECADES) | gradient.lost
        return lasting(facts, down, far_down, crossing(gradient, -at.WEAK_DECADES))

    return through_time.worst(worst_path(facts, along), through_time.lost(facts))


def remedies(network: Network, training: Training) -> Iterator[Remedy]:
    if network.depth > DEEP:
        yield from skips(network, training)
    if is_s_shaped(network.activation):
        if is_centred(network.activation):
            yield Remedy(
                edge_of_chaos(network.activation),
                "sigma_w phi'(0) = 1 is the edge of chaos, where chi_1 = 1 and delta keeps its size",
                "Schoenholz et al. 2017",
            )
        yield Remedy(
            {"network.activation": "relu", "network.init": "he", **calm(network, training)},
            "the slope is 1 above 0, and He's variance keeps delta's size from layer to layer",
            "Glorot et al. 2011; He et al. 2015",
            ROOM,
        )
    else:
        yield Remedy(
            {"network.init": "auto", **calm(network, training)},
            "this variance keeps delta's size from layer to layer for the activation (2 / fan_in for ReLU)",
            "He et al. 2015",
            ROOM,
        )
    yield from skips(network, training)
    yield Remedy(
        {"network.activation": "selu", "network.init": "lecun", **calm(network, training)},
        "mean 0 and variance 1 are a fixed point, and the slope there is near 1",
        "Klambauer et al. 2017; AutoTrainer (Zhang et al. 2021)",
        ROOM,
    )
    yield batch_norm()


def cures(facts: Facts, seeds: Sequence[int], faults: Sequence[Fault]) -> Iterator[Cure]:
    if faults[0].where:
        yield from through_time.cures(facts, faults)
        return
    found = budget(facts, seeds, faults)
    applied = [name for name in facts.records.activations[:-1] if name]
    common = max(applied, key=applied.count, default="")
    if is_s_shaped(common) and not is_centred(common):
        reason = f"no variance of the weights keeps the gradient alive through many layers of {common}"
        yield cure.code("nn.ReLU(), with torch.nn.init.kaiming_normal_(layer.weight) for each layer", reason)
    yield from norm_cures(facts, found)
    yield cure.initial_weights(weights_reason(found))
    if found.leader == "slopes" and is_s_shaped(common) and is_centred(common):
        reason = f"the slopes of {common} are below 1 away from 0, and lose more than the weights"
        yield cure.code("nn.ReLU(), with torch.nn.init.kaiming_normal_(layer.weight) for each layer", reason)
    yield cure.code("x = x + block(x)", "an identity path carries the gradient past every layer")
    if found.leader != "norms":
        yield cure.code("nn.BatchNorm1d before the activation", "normalised layers keep the gradient's size")


VERDICT = Verdict(
    name="vanishing",
    order=40,
    summary="delta shrinks 100 times or more from the top hidden layer to layer 1, or through the steps of an RNN",
    headline="The gradient dies",
    severity="slows learning",
    style=POOR,
    judge=judge,
    evidence=through_time.or_layers(through_time.words, spent_words),
    budget=through_time.or_layers(no_budget, decades),
    predicted=through_time.or_layers(nothing, predicted_decay),
    remedies=remedies,
    cures=cures,
)
