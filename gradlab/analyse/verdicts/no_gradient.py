"""no-gradient: parameters that should train get no gradient, or exactly 0, in every record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradlab.analyse import cure
from gradlab.analyse import thresholds as at
from gradlab.analyse.cure import Cure
from gradlab.analyse.facts import Facts
from gradlab.analyse.fault import Fault
from gradlab.analyse.task import Task
from gradlab.analyse.verdict import BAD, Verdict, no_remedies
from gradlab.tables.layers import TRAINS

FITTED = 1e-6
"""A loss this small, or this small beside a large first one, is a perfect fit: then gradients of 0 are right."""

UNUSED = "unused"
"""Modules without a gradient beside the path or above it, such as a pooler that the loss does not use: no fault of a
net that learns without them."""

PART = "part"
"""Modules whose gradient is exactly 0 while others learn: a softmax over one entry, a gate that is always open."""

FROZEN = "frozen as drawn"
"""Modules that are frozen with the weights that an initialiser drew: no fault of a net that learns on them, as of
random features."""

CALLS = "calls"
"""A module that is called several times in a pass, and whose first calls never get a gradient: a state that is cut off
on its way to the next call. No fault of a net that learns what it should, as a fixed point's last step does."""

SAMPLES = "samples"
"""Samples that the criterion gives no gradient although they are wrong."""

STILL = 0.1
"""Share of such samples from which it is a fault of a net that is not unharmed: the net cannot be taught a tenth of
what it should learn, the share that counts as learning (`thresholds.GAIN`)."""

RECORDS = 3
"""Records in which that must be so: what starts at 0 on purpose, as in LoRA, has left it by then."""

NAMED = 4
"""Modules that a sentence names one by one."""


class Gap(NamedTuple):
    """rows: indices of the modules; why: in words; kind: which case, a word of TRAINS, "unused", "part" or "zero" """

    rows: tuple[int, ...]
    why: str
    kind: str


def judge(facts: Facts) -> list[Fault | None]:
    found: list[Fault | None] = []
    for seed in range(len(facts.learning)):
        gap = _gap(facts, seed)
        first = int(facts.records.in_layers[seed].argmax())
        if gap is None:
            found.append(None)
            continue
        spare = gap.kind in (UNUSED, PART, FROZEN, CALLS, SAMPLES) and bool(facts.unharmed(seed))
        found.append(Fault(first, _layer(facts, gap), True, first, harmless=spare))
    return found


def _gap(facts: Facts, seed: int) -> Gap | None:
    records = facts.records
    if not {"trains", "weight_grad_norm"} <= set(records.parameters) or not facts.counts[seed].any():
        return None
    state = records.parameters["trains"][seed][facts.counts[seed]]
    size = records.parameters["weight_grad_norm"][seed][facts.counts[seed]]
    there = ~np.isnan(state)
    for word in ("no gradient", "not registered", "not in the optimizer"):
        code = TRAINS.index(word)
        always = there.any(0) & ((state == code) | ~there).all(0)
        if word != "no gradient":  # an optimizer that the recorder was not given may have it
            always &= ~_change(facts, seed)
        if always.any():
            rows = tuple(np.flatnonzero(always).tolist())
            from_below = rows[0] == 0  # the path itself is cut, and not what stands beside it
            kind = word if from_below or word != "no gradient" else UNUSED
            return Gap(rows, _why_none(records.owners, rows, word), kind)
    trained = state == TRAINS.index("yes")
    known = trained & np.isfinite(size)
    if known.any() and (size[known] == 0).all() and not (_fits(facts, seed) or facts.rounds_to_0(seed)):
        rows = tuple(np.flatnonzero(trained.any(0)).tolist())
        return Gap(rows, f"every weight gradient is exactly 0: {_why_zero(facts, seed)}", "zero")
    part = (
        (known | ~trained).all(0) & known.any(0) & ((size == 0) | ~known).all(0) & (known.sum(0) >= RECORDS)
    )
    if part.any() and not _explained(facts, seed):
        rows = tuple(np.flatnonzero(part).tolist())
        return Gap(rows, _why_part(records.owners, rows), PART)
    return _of_samples(facts, seed) or _of_calls(facts) or _of_frozen(facts, seed)


def _change(facts: Facts, seed: int) -> NDArray[np.bool_]:
    """[L + 1], the rows whose weights are not the same in every record."""
    norm = facts.records.parameters.get("weight_norm")
    if norm is None:
        return np.zeros(len(facts.records.owners), dtype=bool)
    known = norm[seed][facts.counts[seed]]
    return np.asarray((known != known[0]).any(0) & np.isfinite(known).all(0))


def _of_samples(facts: Facts, seed: int) -> Gap | None:
    share = float(facts.records.known("unpulled_fraction")[seed])
    if not share >= STILL:
        return None
    why = (
        f"{share:.0%} of the probe's samples are wrong and get no gradient from the criterion: their outputs lie "
        "where it is flat (a clamp, a threshold, targets that it does not take)"
    )
    return Gap((len(facts.records.owners) - 1,), why, SAMPLES)


def _of_calls(facts: Facts) -> Gap | None:
    """A module whose first calls have no delta in any record, while its last ones have."""
    records = facts.records
    with_delta, calls = {*records.names, records.readout}, dict[str, list[int]]()
    for row, owner in enumerate(records.owners):
        calls.setdefault(owner.partition("#")[0], []).append(row)
    for name, rows in calls.items():
        reached = [row for row in rows if records.owners[row] in with_delta]
        cut = rows[: rows.index(reached[0])] if reached else []
        if cut and len(reached) < len(rows):
            why = (
                f"{name} is called {len(rows)} times in a pass, and no gradient comes to the first {len(cut)} in any "
                "record: what one call hands to the next is cut off (detach, .data, no_grad)"
            )
            return Gap(tuple(cut), why, CALLS)
    return None


def _of_frozen(facts: Facts, seed: int) -> Gap | None:
    records = facts.records
    state = records.parameters["trains"][seed][facts.counts[seed]]
    rows = tuple(np.flatnonzero((state == TRAINS.index(FROZEN)).all(0)).tolist())
    if not rows:
        return None
    why = (
        f"{len(rows)} of {len(records.owners)} modules are frozen, and their weights are those of an initialiser, "
        f"which nobody has trained ({_named(records.owners, rows)})"
    )
    return Gap(rows, why, FROZEN)


def _explained(facts: Facts, seed: int) -> bool:
    """Whether dead or saturated units, or the number format, say why a gradient is 0."""
    dead = np.nan_to_num(facts.records.every_layer("dead_fraction")[seed]).max(initial=0)
    lost = np.isin(facts.gradient.cause[seed], ("dead", "saturated", "underflow")).any()
    return bool(lost or dead >= at.ALL or (facts.in_half and facts.harmed(seed)))


def _why_part(owners: Sequence[str], rows: Sequence[int]) -> str:
    return (
        f"{len(rows)} of {len(owners)} modules get a gradient of exactly 0 in every record: what they give makes no "
        f"difference to the loss ({_named(owners, rows)})"
    )


def _named(owners: Sequence[str], rows: Sequence[int]) -> str:
    return ", ".join(owners[row] for row in rows[:NAMED]) + (", ..." if len(rows) > NAMED else "")


def _why_none(owners: Sequence[str], rows: Sequence[int], word: str) -> str:
    names = _named(owners, rows)
    many = f"{len(rows)} of {len(owners)} modules"
    if word == "not registered":
        return (
            f"{many} get gradients and are never updated: they stand in a plain list or dict, where model.parameters() "
            f"does not find them ({names})"
        )
    if word == "not in the optimizer":
        return f"{many} get gradients and are in no optimizer that was given: {names}"
    if len(rows) == len(owners):
        return (
            "no parameter gets a gradient in any record: backward was not called before recorder.step, or the loss "
            "was cut off"
        )
    if rows[0] == 0 and rows == tuple(range(len(rows))):
        above = owners[rows[-1] + 1]
        why = "the path is cut there (detach, no_grad, .data), or goes around them"
        return f"{many} get no gradient in any record, all below {above}: {why} ({names})"
    return f"{many} get no gradient in any record: they are not used for the loss, or cut off ({names})"


def _why_zero(facts: Facts, seed: int) -> str:
    records, task = facts.records, Task.of(facts, seed)
    if task.made_by in ("softmax", "log_softmax") and task.units == 1:
        return f"a {task.made_by} over one unit is constant"
    dead = float(np.nan_to_num(records.every_layer("dead_fraction")[seed, :, -1]).max())
    if dead == 1:
        return f"all of {records.readout} is dead"
    if (records.every_layer("slope_sq")[seed, :, -1] == 0).any():
        return f"{records.readout} is saturated"
    if (records.step("output_spread")[seed] == 0).all():
        return "the outputs are the same for every sample"
    return "the loss does not depend on the weights (a threshold, a rounding, an argmax)"


def _fits(facts: Facts, seed: int) -> bool:
    """Whether the loss says that nothing is left to learn."""
    for column in ("probe_loss", "train_loss"):
        loss = facts.records.step(column)[seed]
        known = loss[np.isfinite(loss)]
        if len(known):
            return bool(abs(known[-1]) <= FITTED * max(abs(known[0]), 1.0))
    return False


def _layer(facts: Facts, gap: Gap) -> int | None:
    """The topmost layer that is cut off."""
    name = facts.records.owners[gap.rows[-1]]
    names = (*facts.records.names, facts.records.readout)
    return names.index(name) if name in names else None


def evidence(facts: Facts, seeds: Sequence[int], faults: Sequence[Fault]) -> str:
    gap = _gap(facts, seeds[0])
    assert gap is not None
    return gap.why


def cures(facts: Facts, seeds: Sequence[int], faults: Sequence[Fault]) -> Iterator[Cure]:
    gap = _gap(facts, seeds[0])
    assert gap is not None
    if gap.kind == "not in the optimizer":
        yield cure.code(
            "optimizer = torch.optim.Adam(model.parameters())", "give the optimizer every parameter"
        )
    elif gap.kind == "not registered":
        yield cure.code(
            "self.layers = torch.nn.ModuleList(layers)", "keep the modules where the model finds them"
        )
    elif gap.kind == FROZEN:
        yield cure.code(
            "for parameter in model.parameters(): parameter.requires_grad = True",
            "train them too, or load the weights that they should have",
        )
    elif gap.kind == SAMPLES:
        yield cure.code(
            "",
            "take clamp, round, sign and comparisons out of the criterion, or let the last function of the model reach "
            "what it takes (a sigmoid for shares)",
        )
    elif gap.kind == "no gradient" and len(gap.rows) == len(facts.records.owners):
        yield cure.code(
            "optimizer.zero_grad(); loss.backward(); recorder.step(loss=loss, optimizer=optimizer); optimizer.step()",
            "in this order, and with the loss as the criterion gave it: no torch.tensor, .item() or requires_grad_ "
            "around it",
        )
    elif gap.kind in ("no gradient", UNUSED, CALLS):
        yield cure.code(
            "", "take detach, .data, torch.no_grad or torch.tensor out of the forward pass at that place"
        )
    elif not (Task.of(facts, seeds[0]).units == 1 and "softmax" in Task.of(facts, seeds[0]).made_by):
        yield cure.code(
            "", "let the loss depend on the outputs smoothly, and draw the last layer anew where it is dead"
        )


VERDICT = Verdict(
    name="no-gradient",
    order=5,
    summary="parameters that should train get no gradient, or one of exactly 0, in every record",
    headline="Parts of the net get no gradient at all",
    severity="stops learning",
    style=BAD,
    reads=("weight_grad_norm", "weight_norm", "output_spread", "unpulled_fraction"),
    judge=judge,
    evidence=evidence,
    remedies=no_remedies,
    cures=cures,
)
