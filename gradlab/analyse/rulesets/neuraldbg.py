"""NeuralDBG 1.3.2 without its engine, which is not published: the states it knows, with their default thresholds.

A state is reported twice: under the name that the tool logs it by, where it holds at any record; and "at the end",
where it is the last state of a layer or of the loss. The tool's state `anomalous` is left out, since nothing sets it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradlab.analyse.records import Array, Records
from gradlab.analyse.ruleset import OTHER, Answer, Hit, NotApplicable, Rule, published
from gradlab.analyse.rulesets._shared import (
    WITHOUT_SHARE,
    WITHOUT_SIZES,
    Bounds,
    column,
    every_loss,
    first_hit,
    mostly_near_one,
    output_gradients,
    zeros_bear_out,
)

Bools = NDArray[np.bool_]

VANISHING, WEAK, EXPLODING = 1e-6, 1e-4, 1e3
DEAD_SHARE = 0.9
LOSSES, FEWEST_LOSSES = 5, 3
SPIKE = 10.0
PLATEAU = 1e-4


class State(NamedTuple):
    """Where a state holds, [T, layer]; of the loss, [T, 1].

    holds:    for certain; known: something was seen of it, so that an earlier state is over
    evidence: of a record and a layer
    unknown:  why it may hold elsewhere, too; None where it does not
    of_loss:  it is the loss's and no layer's
    """

    holds: Bools
    known: Bools
    evidence: Callable[[int, int], str]
    unknown: NotApplicable | None = None
    of_loss: bool = False


Look = Callable[[Records, int], State | NotApplicable]


# -- gradients, of the loss by a layer's output ------------------------------------------------------------------


def vanishing_gradient(records: Records, seed: int) -> State | NotApplicable:
    """The norm over the batch below 1e-6."""
    return _gradient(records, seed, lambda n: n.high < VANISHING, lambda n: n.low < VANISHING)


def exploding_gradient(records: Records, seed: int) -> State | NotApplicable:
    """The norm over the batch above 1000."""
    return _gradient(records, seed, lambda n: n.low > EXPLODING, lambda n: n.high > EXPLODING)


def saturated_gradient(records: Records, seed: int) -> State | NotApplicable:
    """The norm over the batch from 1e-6 to below 1e-4."""
    return _gradient(
        records,
        seed,
        lambda n: (n.low >= VANISHING) & (n.high < WEAK),
        lambda n: (n.high >= VANISHING) & (n.low < WEAK),
    )


def _gradient(
    records: Records, seed: int, certain: Callable[[Bounds], Bools], possible: Callable[[Bounds], Bools]
) -> State | NotApplicable:
    """Of layers, certain where it is found: the tool looks at the outputs of activations, too."""
    norms = output_gradients(records, seed)
    if isinstance(norms, NotApplicable):
        return norms
    holds = certain(norms)
    return State(
        holds=holds,
        known=~np.isnan(norms.low) | (records.every_layer("nonfinite")[seed] > 0),
        evidence=lambda t, i: f"norm of the gradient {norms.low[t, i]:.3g}",
        unknown=WITHOUT_SIZES if (possible(norms) & ~holds).any() else None,
    )


# -- activations -------------------------------------------------------------------------------------------------


def dead_activation(records: Records, seed: int) -> State | NotApplicable:
    """More than 90 % of a layer's units 0 on the whole batch; in a convolution, of the channels."""
    share = column(records, seed, "batch_dead_fraction")
    zeros = column(records, seed, "zero_fraction")
    if isinstance(share, NotApplicable):
        return share
    if isinstance(zeros, NotApplicable):
        return zeros
    holds = (share > DEAD_SHARE) & zeros_bear_out(records, seed, share)
    return State(holds, ~np.isnan(share), lambda t, i: f"{share[t, i]:.0%} of the units are 0 on the batch")


def saturated_activation(records: Records, seed: int) -> State | NotApplicable:
    """More than half of a layer's outputs beyond 0.95, whatever the activation: certain where h_rms says so."""
    rms = records.layer("h_rms")[seed]
    return State(
        holds=mostly_near_one(records, seed),
        known=~np.isnan(rms),
        evidence=lambda t, i: f"root mean square of h = {rms[t, i]:.4g}, so that most |h| are above 0.95",
        unknown=WITHOUT_SHARE,
    )


# -- the loss ----------------------------------------------------------------------------------------------------


def diverging_loss(records: Records, seed: int) -> State | NotApplicable:
    """NaN or infinity among the last five losses, once there are three."""
    loss = records.step("train_loss")[seed]
    if not np.isfinite(records.step("train_loss")).any():
        return NotApplicable("train_loss is not recorded")
    there = records.in_steps[seed]
    lost = records.steps[there & ~np.isfinite(loss)]
    ago = records.steps[:, None] - lost[None, :]
    holds = there & (records.steps >= FEWEST_LOSSES - 1) & ((ago >= 0) & (ago < LOSSES)).any(1)
    return State(holds[:, None], there[:, None], lambda t, i: "the loss is not a number", of_loss=True)


def loss_spike(records: Records, seed: int) -> State | NotApplicable:
    """A loss above 10 times the mean of the five before it (of four, where there are no more)."""

    def holds(history: Array) -> bool:
        before = history[-LOSSES - 1 : -1]
        return len(history) >= LOSSES and before.mean() > 0 and history[-1] > before.mean() * SPIKE

    return _loss(records, seed, holds)


def loss_plateau(records: Records, seed: int) -> State | NotApplicable:
    """A standard deviation of the last five losses (of three, where there are no more) below 1e-4 of their mean."""

    def holds(history: Array) -> bool:
        mean = abs(history[-LOSSES:].mean())
        return bool(mean != 0 and history[-LOSSES:].std() / mean < PLATEAU)

    return _loss(records, seed, holds)


def _loss(records: Records, seed: int, rule: Callable[[Array], bool]) -> State | NotApplicable:
    """Where a rule about the losses so far holds and none of the last five is NaN or infinite."""
    found = every_loss(records, seed)
    if isinstance(found, NotApplicable):
        return found
    when, loss = found
    holds = np.zeros((len(records.steps), 1), dtype=bool)
    for i in range(FEWEST_LOSSES - 1, len(loss)):
        recent = loss[max(i + 1 - LOSSES, 0) : i + 1]
        holds[when[i]] = bool(np.isfinite(recent).all() and rule(loss[max(i - LOSSES, 0) : i + 1]))
    known = records.in_steps[seed][:, None]
    every = records.step("train_loss")[seed]
    return State(holds, known, lambda t, i: f"loss {every[t]:.6g}", of_loss=True)


# -- data --------------------------------------------------------------------------------------------------------


def not_finite_data(records: Records, seed: int) -> State | NotApplicable:
    """NaN or infinity in what goes into a layer or comes out of it; the records do not tell the two apart."""
    spread = column(records, seed, "z_std")
    if isinstance(spread, NotApplicable):
        return spread
    counts = records.every_layer("nonfinite")[seed]
    forward = ~np.isfinite(spread) | np.isinf(records.every_layer("h_rms")[seed])
    return State((counts > 0) & forward, ~np.isnan(counts), lambda t, i: "NaN or infinite values")


def shifted_data(records: Records, seed: int) -> State | NotApplicable:
    return NotApplicable("mean and spread of what goes into each layer, batch by batch, are not recorded")


# -- the rules ---------------------------------------------------------------------------------------------------


def _ever(look: Look) -> Callable[[Records, int], Answer]:
    def check(records: Records, seed: int) -> Answer:
        state = look(records, seed)
        return state if isinstance(state, NotApplicable) else _answer(state, state.holds)

    return check


def _at_the_end(look: Look) -> Callable[[Records, int], Answer]:
    """At the last record at which anything is known of the layer."""

    def check(records: Records, seed: int) -> Answer:
        state = look(records, seed)
        if isinstance(state, NotApplicable):
            return state
        later = np.cumsum(state.known[::-1], axis=0)[::-1]
        return _answer(state, state.holds & state.known & (later == 1))

    return check


def _answer(state: State, holds: Bools) -> Answer:
    hit = first_hit(holds, state.evidence)
    if hit is None:
        return state.unknown
    return Hit(hit.record, None, hit.evidence) if state.of_loss else hit


STATES: tuple[tuple[str, str, Look], ...] = (
    ("gradient_vanishing", "vanishing", vanishing_gradient),
    ("gradient_exploding", "exploding", exploding_gradient),
    ("gradient_saturated", "saturated", saturated_gradient),
    ("activation_dead", "dead", dead_activation),
    ("activation_saturated", "saturated", saturated_activation),
    ("optimizer_diverging", "diverged", diverging_loss),
    ("optimizer_loss_spike", "unstable", loss_spike),
    ("optimizer_loss_plateau", "not-learning", loss_plateau),
    ("data_nan_detected or data_inf_detected", "diverged", not_finite_data),
    ("data_distribution_shift", OTHER, shifted_data),
)
"""Name in the tool's log, word that it means, how it is seen."""

RULESET = published(
    name="neuraldbg",
    order=50,
    summary="NeuralDBG 1.3.2 without its engine, the states that it logs and those at the end",
    rules=[
        *(Rule(name, verdict, _ever(look)) for name, verdict, look in STATES),
        *(Rule(f"{name} at the end", verdict, _at_the_end(look)) for name, verdict, look in STATES),
    ],
)
