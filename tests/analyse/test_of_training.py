"""The records taken straight from training are those that the rows of the tables give."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sweep.small_plans import plan_of

from gradlab.analyse import Diagnosis, summarise
from gradlab.analyse.records import Records
from gradlab.analyse.records_from_tables import split_cells
from gradlab.analyse.records_from_training import records_of
from gradlab.analyse.rule import judge
from gradlab.lab.experiment import execute
from gradlab.store.folder import ResultsFolder

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {"activation": ["relu", "tanh"]},
    "stacks of two": {"seeds": 5, "stack_size": 2},
    "full metrics, prelu, diverging": {
        "activation": ["prelu", "linear"],
        "metrics": "full",
        "lr": 1e6,
        "steps": 30,
    },
    "softmax, norm": {"activation": ["softmax", "relu"], "norm": ["batch", "none"], "depth": 2},
    "initialisation alone": {"steps": 0},
    "one seed": {"seeds": 1},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_records_are_the_same_either_way(tmp_path: Path, variant: str) -> None:
    plan = plan_of(tmp_path / "out", **VARIANTS[variant])
    outcome = execute(plan)
    folder = ResultsFolder(plan)
    expected = split_cells(outcome.layers, outcome.steps)
    for cell, other in zip(plan.cells, expected, strict=True):
        results = [folder.finished(stack) for stack in plan.stacks() if stack.cell == cell]
        found = records_of(cell.columns(), [result for result in results if result is not None])
        assert_same(found, other)
    summary = summarise(outcome.layers, outcome.steps, chance={c.id: 0.1 for c in plan.cells})
    ours = outcome.summary
    for column in ("attenuation_mean", "decay_per_layer_ci95", "train_loss_mean", "dead_fraction_max"):
        np.testing.assert_array_equal(ours[column].to_numpy(float), summary[column].to_numpy(float), column)
    assert list(ours["verdict"]) and list(ours.columns) == list(summary.columns)


def assert_same(found: Records, other: Records) -> None:
    for field in fields(Records):
        a, b = getattr(found, field.name), getattr(other, field.name)
        if field.name in ("hidden", "output", "run", "parameters"):
            assert set(a) == set(b), field.name
            for column in a:
                np.testing.assert_array_equal(a[column], b[column], column)
        elif isinstance(a, np.ndarray):
            np.testing.assert_array_equal(a, b, field.name)
        else:
            assert a == b, field.name


def test_the_summary_of_a_run_takes_its_advice_from_the_cells_own_sections(
    tmp_path: Path, monkeypatch
) -> None:  # type: ignore[no-untyped-def]
    given: list[Any] = []

    def noted(records: Records, chance: float, sections: Any) -> Diagnosis:
        given.append(sections)
        return judge(records, chance, sections)

    monkeypatch.setattr("gradlab.analyse.summary.judge", noted)
    plan = plan_of(tmp_path / "out", activation=["relu", "tanh"], clip=1.0, steps=2)
    execute(plan)
    assert given == [(cell.network, cell.training) for cell in plan.cells]


def test_a_run_without_layer_records_is_summarised_too(tmp_path: Path) -> None:
    """What is not recorded is empty; what the steps tell is there."""
    outcome = execute(plan_of(tmp_path / "out", record="off"))
    assert len(outcome.layers) == 0 and len(outcome.summary) == 4
    assert outcome.summary["val_accuracy_mean"].notna().all()
    assert outcome.summary["attenuation_mean"].isna().all()
    header = (tmp_path / "out" / "layers.csv").read_text()
    assert header.startswith("cell,activation") and header.count("\n") == 1
    texts = pd.read_csv(tmp_path / "out" / "summary.csv", keep_default_na=False, dtype=str)
    assert set(texts["attenuation_mean"]) == set(texts["attenuation_last_mean"]) == {""}
