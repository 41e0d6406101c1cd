"""input-scale: inputs of a size, offset or spread that the first layer or a common rate cannot serve."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from gradlab.analyse import cure
from gradlab.analyse.cure import Cure
from gradlab.analyse.facts import Facts
from gradlab.analyse.fault import Fault
from gradlab.analyse.task import from_the_start
from gradlab.analyse.verdict import BAD, Verdict, no_remedies
from gradlab.analyse.verdicts import dead, saturated

LARGE, SMALL = 10.0, 1e-2
"""Root mean square input from which a layer's outputs, at weights made for inputs of variance 1, are ten times too
large or a hundred times too small. It is a fault by what it does, never alone."""

OFFSET = 5.0
"""Mean over deviation from which the inputs of all samples are nearly the same vector (their cosine is above 0.96)."""

UNEQUAL = 100.0
"""Deviation of the largest feature over that of a small one: the curvature along them differs 10^4 times, and so does
the largest rate that each of them bears."""


def judge(facts: Facts) -> list[Fault | None]:
    return [
        from_the_start(facts, seed, 0) if _wrong(facts, seed) else None for seed in range(len(facts.learning))
    ]


def _wrong(facts: Facts, seed: int) -> str:
    """What is wrong with the inputs, by what it does; "" for nothing."""
    records = facts.records
    size, spread, ratio, constant, lost = (
        float(records.known(f"input_{name}")[seed])
        for name in ("rms", "spread", "ratio", "constant", "nonfinite")
    )
    if lost > 0:
        return f"{lost:.0f} inputs of the probe are NaN or infinite"
    if constant == 1:
        return "the inputs are the same in every sample of the probe"
    offset = np.sqrt(max(size**2 - spread**2, 0.0)) / spread if spread > 0 else np.nan
    odd = []
    if size >= LARGE or size <= SMALL:
        odd.append(f"the inputs have a root mean square of {size:.3g}")
    if offset >= OFFSET:
        odd.append(f"their mean is {offset:.3g} times their deviation")
    if ratio >= UNEQUAL:
        odd.append(f"one feature varies {ratio:.3g} times more than another")
    effect = _effect(facts, seed)
    return f"{', '.join(odd)}; {effect}" if odd and effect else ""


def _effect(facts: Facts, seed: int) -> str:
    """What such inputs do at birth to the first layer, or to learning."""
    records = facts.records
    flat, off = (float(records.first(column)[seed, 0]) for column in ("saturated_fraction", "dead_fraction"))
    name = records.names[0]
    if off >= dead.WEAK:
        return f"{off:.0%} of {name} is dead at birth"
    if saturated.is_sided(records, 0) and flat >= saturated.WEAK:
        return f"{flat:.0%} of {name} is saturated at birth"
    if facts.broke[seed]:
        return "the training breaks off"
    if facts.harmed(seed):
        return "the net does not learn"
    return "the net learns little" if facts.unharmed(seed) is False else ""


def evidence(facts: Facts, seeds: Sequence[int], faults: Sequence[Fault]) -> str:
    return _wrong(facts, seeds[0])


def cures(facts: Facts, seeds: Sequence[int], faults: Sequence[Fault]) -> Iterator[Cure]:
    if float(facts.records.known("input_nonfinite")[seeds[0]]) > 0:
        yield cure.code(
            "x = x[x.isfinite().all(1)]", "leave out the rows with NaN or infinite inputs, or fill them"
        )
    elif float(facts.records.known("input_constant")[seeds[0]]) == 1:
        yield cure.code("print(x[:4])", "look at how the data are loaded: every sample has the same inputs")
    else:
        yield cure.standardise_inputs("give every feature mean 0 and deviation 1, by the training data")


VERDICT = Verdict(
    name="input-scale",
    order=3,
    summary="inputs that are constant or not finite, or of a size or spread that stops the first layer or any one rate",
    headline="The inputs have a size or a spread that stops the training",
    severity="stops learning",
    style=BAD,
    reads=("input_rms", "input_spread", "input_ratio", "input_constant", "input_nonfinite"),
    judge=judge,
    evidence=evidence,
    remedies=no_remedies,
    cures=cures,
)
