"""rank-collapse: layer by layer the positions of a sample become the same, and attention tells nothing apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from gradlab.analyse import cure
from gradlab.analyse.cure import Cure
from gradlab.analyse.facts import Facts
from gradlab.analyse.fault import Fault, first_layer, lasting
from gradlab.analyse.verdict import POOR, Verdict, no_remedies

ALIKE = 0.99
"""Mean cosine between two positions of a sample from which they count as the same: what tells them apart is then less
than 1 % of the squared length, as a gradient that is 1 % of another's is lost (`thresholds.WEAK_DECADES`)."""

DIFFERENT = 0.9
"""Mean cosine up to which they differ below: positions that come in alike, such as equal inputs, have not collapsed."""


def judge(facts: Facts) -> list[Fault | None]:
    """Of a net that attends and that is harmed: attention averages, so that in a net that learns positions may end up
    alike where the loss asks for one answer a sample."""
    records = facts.records
    if not records.attention:
        return [None] * len(facts.learning)
    alike = records.every_layer("token_correlation")
    known = ~np.isnan(alike)
    # from the last layer that has positions down to the first: as long as they are the same
    same = np.logical_and.accumulate(((alike >= ALIKE) | ~known)[..., ::-1], axis=-1)[..., ::-1] & known
    lowest = np.where(known, alike, np.inf)
    first = np.take_along_axis(lowest, known.argmax(-1)[..., None], -1)[..., 0]
    holds = same.any(-1) & (first <= DIFFERENT)
    found = lasting(facts, holds, np.zeros_like(holds), first_layer(same, np.full(holds.shape, -1)))
    return [fault if facts.harmed(seed) else None for seed, fault in enumerate(found)]


def evidence(facts: Facts, seeds: Sequence[int], faults: Sequence[Fault]) -> str:
    records, fault = facts.records, faults[0]
    place = seeds[0], fault.reference
    tokens, samples, rank = (
        records.every_layer(column)[place] for column in ("token_correlation", "sample_correlation", "effective_rank")
    )  # fmt: skip
    known = np.flatnonzero(~np.isnan(tokens))
    text = (
        f"the cosine between two positions of a sample grows from {tokens[known[0]]:.2g} in "
        f"{records.place(int(known[0]))[1]} to {tokens[known[-1]]:.5g} in {records.place(int(known[-1]))[1]}"
    )
    if len(there := samples[~np.isnan(samples)]):
        text += f", that between two samples to {there[-1]:.2g}"
    if not np.isnan(rank[known[-1]]):
        text += f"; what is left there has an effective rank of {rank[known[-1]]:.3g}"
    return text


def cures(facts: Facts, seeds: Sequence[int], faults: Sequence[Fault]) -> Iterator[Cure]:
    yield cure.code(
        "x = x + attention(norm(x))",
        "a skip connection around each attention keeps what tells positions apart (Dong et al. 2021)",
    )
    yield cure.code(
        "x = x + attention(norm(x)) / math.sqrt(2 * depth)",
        "branches scaled by the depth do not average the positions away at birth (Noci et al. 2022)",
    )


VERDICT = Verdict(
    name="rank-collapse",
    order=24,
    summary="the positions of a sample become the same layer by layer, in a net with attention that does not learn",
    headline="All positions of a sample look the same to the net",
    severity="stops learning",
    style=POOR,
    reads=("token_correlation", "sample_correlation", "effective_rank"),
    judge=judge,
    evidence=evidence,
    remedies=no_remedies,
    cures=cures,
)
