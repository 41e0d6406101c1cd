"""mixed-samples: a sample's output depends on the other samples of its batch, in a net that does not learn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gradlab.analyse import cure
from gradlab.analyse.cure import Cure
from gradlab.analyse.facts import Facts
from gradlab.analyse.fault import Fault
from gradlab.analyse.task import from_the_start
from gradlab.analyse.verdict import BAD, Verdict, no_remedies

MIXED = 0.01
"""Change of the outputs, of their deviation over samples, when other samples leave. Products of matrices of another
size round otherwise, by 1e-6 of what they sum up; a hundredth is above that even where the outputs hardly differ."""

BY_CHANCE = 10.0
"""How many times more than from one call to the next they must change, where the model draws numbers in eval mode."""


def judge(facts: Facts) -> list[Fault | None]:
    """Of a net that is harmed: a net that learns may look at all samples on purpose, as one of a graph's nodes does."""
    records = facts.records
    mixing, noise = records.known("sample_mixing"), records.known("output_noise")
    return [
        from_the_start(facts, seed)
        if mixing[seed] >= max(MIXED, BY_CHANCE * noise[seed]) and facts.harmed(seed)
        else None
        for seed in range(len(facts.learning))
    ]


def evidence(facts: Facts, seeds: Sequence[int], faults: Sequence[Fault]) -> str:
    share = float(facts.records.known("sample_mixing")[list(seeds)].mean())
    return (
        f"without the probe's first half the outputs of the second change by {share:.2g} of their deviation over "
        "samples: somewhere the axis of the samples is taken for another"
    )


def cures(facts: Facts, seeds: Sequence[int], faults: Sequence[Fault]) -> Iterator[Cure]:
    yield cure.code(
        "batch_first=True",
        "recurrent layers and attention of torch take the steps first unless they are told",
    )
    yield cure.code(
        "x.transpose(0, 1) in place of x.view or x.reshape",
        "a view keeps the numbers where they are and mixes the samples; look at dim= of softmax, mean and sum, too",
    )


VERDICT = Verdict(
    name="mixed-samples",
    order=6,
    summary="a sample's outputs depend on the other samples of the probe, in a net that does not learn",
    headline="The net mixes the samples of a batch with each other",
    severity="stops learning",
    style=BAD,
    reads=("sample_mixing", "output_noise"),
    judge=judge,
    evidence=evidence,
    remedies=no_remedies,
    cures=cures,
)
