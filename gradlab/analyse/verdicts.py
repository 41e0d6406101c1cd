"""Verdicts with their evidence: `diagnose` judges every cell of a table by one ruleset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from gradlab.analyse import thresholds as at
from gradlab.analyse.evidence import describe, harmless_note, healthy_notes
from gradlab.analyse.findings import VERDICTS, Diagnosis, Finding
from gradlab.analyse.records import Records, split_cells
from gradlab.analyse.remedies import advice_for
from gradlab.analyse.rule import Fault, Replica, judge_replicas
from gradlab.base.errors import ConfigError, Problem, nearest

RULESETS = ("gradlab", "smdebug", "autotrainer", "deepchecker")

Chance = float | Mapping[str, float] | None


def diagnose(
    layers: pd.DataFrame,
    steps: pd.DataFrame | None = None,
    ruleset: str = "gradlab",
    chance: Chance = None,
    cell_columns: Sequence[str] | None = None,
) -> list[Diagnosis]:
    """One `Diagnosis` per cell, in the order of the table.

    layers, steps: rows as in layers.csv and steps.csv, of any number of cells and seeds; without `steps` nothing is
        said about learning, and divergence is read from the layers alone
    ruleset: gradlab, or a published one (smdebug, autotrainer, deepchecker), or `all`: then each cell has one
        diagnosis of every ruleset, side by side
    chance: validation accuracy of always guessing the commonest class, one number or one by cell id. Without it the
        level to beat is that of the untrained net.
    cell_columns: what tells the cells apart; by default every column left of `seed`

    Raises DataError for a table that cannot be judged (empty, columns missing or not numeric, rows that repeat) and
    ConfigError for an unknown ruleset.
    """
    if ruleset != "all" and ruleset not in RULESETS:
        allowed = ", ".join((*RULESETS, "all"))
        raise ConfigError(
            Problem("ruleset", f"unknown ruleset {ruleset!r}", allowed, nearest(ruleset, RULESETS))
        )
    wanted = RULESETS if ruleset == "all" else (ruleset,)
    found = []
    for records in split_cells(layers, steps, cell_columns):
        for name in wanted:
            if name == "gradlab":
                found.append(judge(records, chance))
            else:
                from gradlab.analyse.rulesets import judge_published

                found.append(judge_published(records, name))
    return found


def judge(records: Records, chance: Chance = None) -> Diagnosis:
    """gradlab's own verdicts on one cell."""
    level = chance.get(str(records.cell.get("cell", ""))) if isinstance(chance, Mapping) else chance
    replicas = judge_replicas(records, level)
    count = len(replicas)
    findings = sorted(
        (
            _finding(records, replicas, verdict)
            for verdict in VERDICTS
            if any(verdict in r.faults for r in replicas)
        ),
        key=_cause_first,
    )
    holding = tuple(finding for finding in findings if finding.agree >= at.MAJORITY * count)
    named = {finding.verdict for finding in holding}
    notes = [] if holding else healthy_notes(records, replicas)
    for verdict in VERDICTS:
        spared = [i for i, replica in enumerate(replicas) if verdict in replica.harmless]
        if len(spared) >= at.MAJORITY * count and verdict not in named:
            notes.append(harmless_note(records, replicas, verdict, spared))
    if not (np.isfinite(records.layer("delta_rms")).any() or named & {"exploding", "diverged"}):
        notes.append("no delta is recorded: nothing is known about vanishing and exploding")
    if count == 1:
        notes.append("a single seed: nothing is known about how far seeds agree")
    recorded = bool(records.in_layers.any())
    return Diagnosis(
        cell=records.cell,
        ruleset="gradlab",
        seeds=count,
        findings=holding,
        minority=tuple(finding for finding in findings if finding not in holding),
        notes=tuple(notes),
        # what to do about a net that does not learn depends on what its gradients do
        advice=advice_for(tuple(finding.verdict for finding in holding), records.cell) if recorded else "",
        recorded=recorded,
    )


def _cause_first(finding: Finding) -> tuple[float, int]:
    """By the step at which it shows; at the same step, causes before what they cause."""
    late = finding.verdict == "not-learning" or finding.step is None
    return (np.inf if late else float(finding.step or 0), VERDICTS.index(finding.verdict))


def _finding(records: Records, replicas: Sequence[Replica], verdict: str) -> Finding:
    agreeing = [i for i, replica in enumerate(replicas) if verdict in replica.faults]
    faults: list[Fault] = [replicas[i].faults[verdict] for i in agreeing]
    first = min(range(len(faults)), key=lambda i: faults[i].record)
    layers = Counter(fault.layer for fault in faults if fault.record == faults[first].record)
    layer = layers.most_common(1)[0][0]
    at_birth = sum(fault.at_birth for fault in faults) * 2 > len(faults)
    names = (*records.names, "output")
    numbers = (*(int(n) for n in records.layers), int(records.layers[-1]) + 1)
    return Finding(
        verdict=verdict,
        agree=len(agreeing),
        seeds=len(replicas),
        which=tuple(int(records.seeds[i]) for i in agreeing),
        at_birth=at_birth,
        step=None if verdict == "not-learning" else int(records.steps[faults[first].record]),
        layer=None if layer is None else numbers[layer],
        name=None if layer is None else names[layer],
        evidence=describe(records, replicas, verdict, agreeing),
    )
