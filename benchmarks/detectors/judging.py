"""One labelled net judged by every ruleset; a module of its own, which the worker processes can import."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from benchmarks.detectors.case import Case
from benchmarks.detectors.making import records
from benchmarks.detectors.truth import FAULTS, outcome, truth
from gradlab import diagnose
from gradlab.tables.layers import layer_table
from gradlab.tables.steps import STEPS


def judged(case: Case, folder: Path) -> dict[str, object]:
    """One net's row: its name, part, outcome, truth, and the verdicts of every ruleset."""
    stack, result = records(case, folder)
    cell = stack.cell.columns()
    tables = (layer_table(stack.recording.metrics), STEPS)
    layers, steps = (
        result.blocks[table.name].rows(table, cell, result.seeds, result.steps.tolist()).frame()
        for table in tables
    )
    said = diagnose(layers, steps, ruleset="all", chance=stack.cell.dataset().chance)
    found = outcome(result, stack.cell.dataset().classes)
    labels = truth(case, found)
    return {
        "name": case.name,
        "family": case.family,
        "round": case.round,
        "part": case.part,
        "made": case.made,
        "accuracy": " ".join(f"{value:.3f}" for value in found.accuracy),
        "broken": " ".join(str(int(value)) for value in found.broken),
        "true": _joined(fault for fault in FAULTS if labels[fault]),
        "neither": _joined(fault for fault in FAULTS if labels[fault] is None),
        **{diagnosis.ruleset: _joined(diagnosis.verdicts) for diagnosis in said},
    }


def _joined(words: Iterable[str]) -> str:
    return ",".join(words)
