"""gradlab's own rule: the faults of every seed of a cell, and the diagnosis that they make up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from gradlab.analyse import thresholds as at
from gradlab.analyse.advice import Sections, advice_for
from gradlab.analyse.cure import Cure
from gradlab.analyse.evidence import describe, harmless_note, healthy_notes
from gradlab.analyse.facts import Facts
from gradlab.analyse.fault import Fault
from gradlab.analyse.findings import GRADLAB, Diagnosis, Finding, by_majority
from gradlab.analyse.origin import is_users, is_watched
from gradlab.analyse.records import Records
from gradlab.analyse.verdict import Phase
from gradlab.analyse.verdicts import VERDICTS

Chance = float | Mapping[str, float] | None
"""Accuracy of always guessing the commonest class: one number, or one by cell id."""

LITTLE = (
    "it gains little, and that by no accident, and no fault was seen: nothing tells data that hold no more from a "
    "net that finds no more"
)

Found = Mapping[str, Sequence[Fault | None]]
"""Of every verdict the fault of each seed."""


def judge(records: Records, chance: Chance = None, sections: Sections | None = None) -> Diagnosis:
    """gradlab's own verdicts on one cell.

    sections: the network and the training that the advice changes; by default as far as the cell columns tell them
    """
    level = chance.get(str(records.cell.get("cell", ""))) if isinstance(chance, Mapping) else chance
    facts, found = faults_of(records, level)
    count = len(facts.learning)
    findings = sorted(
        (_finding(facts, name, found[name]) for name in VERDICTS if any(_counted(found[name]))),
        key=_cause_first,
    )
    holding, minority = by_majority(findings, count, [n for n, each in VERDICTS.items() if each.of_few_seeds])
    named = {finding.verdict for finding in holding}
    notes = [] if holding else healthy_notes(facts)
    for name, verdict in VERDICTS.items():
        spared = {seed: fault for seed, fault in enumerate(found[name]) if fault and fault.harmless}
        if len(spared) >= at.MAJORITY * count and name not in named:
            notes.append(harmless_note(facts, verdict, [*spared], [*spared.values()]))
    overflown = any(VERDICTS[name].overflows for name in named)
    if not (overflown or np.isfinite(records.layer("delta_rms")).any()):
        notes.append("no delta is recorded: nothing is known about vanishing and exploding")
    if count == 1:
        notes.append("a single seed: nothing is known about how far seeds agree")
    recorded = bool(records.in_layers.any())
    learned = sum(facts.learned(seed) is True for seed in range(count))
    unknown = [
        LITTLE if learning.little else learning.unknown
        for learning in facts.learning
        if learning.learned is None or learning.little
    ]
    cures: tuple[Cure, ...] = ()
    if is_users(records.cell):
        cures = _cures(facts, holding, found)
        flags = is_watched(records.cell)
        advice = "" if not cures else cures[0].for_watch if flags else str(cures[0])
    else:
        born = [one.verdict for one in holding if one.at_birth]
        advice = (
            advice_for([one.verdict for one in holding], records.cell, sections, born) if recorded else ""
        )
    undecided = "" if holding or learned >= at.MAJORITY * count or not unknown else unknown[0]
    return Diagnosis(
        cell=records.cell,
        ruleset=GRADLAB,
        seeds=count,
        findings=holding,
        minority=minority,
        notes=tuple(notes),
        # what to do about a net that does not learn depends on what its gradients do
        advice=advice,
        cures=cures,
        recorded=recorded,
        undecided=undecided,
    )


def _cures(facts: Facts, findings: Sequence[Finding], found: Found) -> tuple[Cure, ...]:
    """What to change, first causes first; of two that say the opposite the first alone."""
    cures: list[Cure] = []
    for finding in findings:
        of_seeds = {seed: fault for seed, fault in enumerate(_counted(found[finding.verdict])) if fault}
        for cure in VERDICTS[finding.verdict].cures(facts, [*of_seeds], [*of_seeds.values()]):
            if all(
                (cure.do, cure.do == "code" and cure.code) != (c.do, c.do == "code" and c.code) for c in cures
            ):
                cures.append(cure)
    return tuple(cures)


def faults_of(records: Records, chance: float | None = None) -> tuple[Facts, Found]:
    """Every verdict's faults, phase by phase, and the facts that the last phase saw."""
    facts = Facts.of(records, chance)
    found: dict[str, Sequence[Fault | None]] = {}
    for phase in Phase:
        judged = {name: each.judge(facts) for name, each in VERDICTS.items() if each.phase is phase}
        if phase is Phase.BREAK:
            facts = _broken_off(facts, judged.values())
        if phase is Phase.OUTCOME:
            judged = {
                name: [None if broke else fault for broke, fault in zip(facts.broke, faults, strict=True)]
                for name, faults in judged.items()
            }
        found |= judged
    return facts, found


def _broken_off(facts: Facts, judged: Iterable[Sequence[Fault | None]]) -> Facts:
    """The facts without what the blow-ups left behind, which is no cause of them. The first record always speaks."""
    counts, broke = facts.counts.copy(), facts.broke.copy()
    for faults in judged:
        for seed, fault in enumerate(faults):
            if fault is not None:
                broke[seed] = True
                counts[seed, max(fault.record, 1) :] = False
    return replace(facts, counts=counts, broke=broke)


def _counted(faults: Sequence[Fault | None]) -> list[Fault | None]:
    """The faults without the harmless ones."""
    return [None if fault is None or fault.harmless else fault for fault in faults]


def _cause_first(finding: Finding) -> tuple[float, int]:
    """By the step at which it shows; at the same step, causes before what they cause."""
    step = np.inf if finding.step is None else float(finding.step)
    return step, VERDICTS[finding.verdict].order


def _finding(facts: Facts, name: str, of_seeds: Sequence[Fault | None]) -> Finding:
    records, verdict = facts.records, VERDICTS[name]
    agreeing = {seed: fault for seed, fault in enumerate(_counted(of_seeds)) if fault}
    faults = [*agreeing.values()]
    first = min(faults, key=lambda fault: fault.record)
    layers = Counter(fault.layer for fault in faults if fault.record == first.record)
    number, called = records.place(layers.most_common(1)[0][0])
    return Finding(
        verdict=name,
        agree=len(faults),
        seeds=len(of_seeds),
        which=tuple(int(records.seeds[seed]) for seed in agreeing),
        at_birth=sum(fault.at_birth for fault in faults) * 2 > len(faults),
        step=None if verdict.phase is Phase.OUTCOME else int(records.steps[first.record]),
        layer=number,
        name=called,
        evidence=describe(facts, verdict, [*agreeing], faults),
        severity=verdict.severity or "",
        where=first.where,
        path=first.path,
        budget=verdict.budget(facts, [*agreeing], faults),
    )
