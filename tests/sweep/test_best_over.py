"""--best-over keeps, of each cell's values of one key, the one with the best mean validation accuracy."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sweep.small_plans import plan_of

from gradlab.lab.experiment import execute
from gradlab.lab.summary_builder import Cells


def test_each_activation_keeps_its_own_best_rate(tmp_path: Path) -> None:
    rates = [0.001, 0.1, 1.0]
    grid = {"activation": ["relu", "sigmoid"], "depth": [2], "lr": rates, "steps": 40}
    every = execute(plan_of(tmp_path / "every", **grid)).summary
    best = execute(plan_of(tmp_path / "best", best_over="lr", **grid))
    assert list(best.summary["activation"]) == ["relu", "sigmoid"]
    for _, row in best.summary.iterrows():
        rivals = every[every["activation"] == row["activation"]]
        assert len(rivals) == len(rates)
        assert row["val_accuracy_mean"] == rivals["val_accuracy_mean"].max()
    assert set(best.layers["cell"]) == set(best.steps["cell"]) == set(best.summary["cell"])
    again = execute(plan_of(tmp_path / "best", best_over="lr", **grid))
    assert again.cached and again.summary.equals(best.summary)


def test_best_over_data_keeps_one_data_set(tmp_path: Path) -> None:
    grid = {"data": ["moons", "circles"], "activation": "tanh", "depth": 1, "steps": 20}
    outcome = execute(plan_of(tmp_path / "out", best_over="data", **grid))
    every = execute(plan_of(tmp_path / "all", **grid)).summary
    assert list(outcome.summary["dataset"]) == [every.loc[every["val_accuracy_mean"].idxmax(), "dataset"]]


@pytest.mark.parametrize(
    ("accuracies", "kept"),
    [((0.5, 0.9, 0.9), 1), ((0.9, 0.9, 0.5), 0), (("nan", 0.3, "nan"), 1), (("nan", "nan", "nan"), 0)],
    ids=["a tie: the first", "a tie at the start", "nan never wins", "nothing but nan: the first"],
)
def test_ties_and_what_is_no_number(tmp_path: Path, accuracies: tuple[Any, ...], kept: int) -> None:
    plan = plan_of(tmp_path, best_over="lr", activation="relu", depth=2, lr=[0.001, 0.1, 1.0])
    scores = zip(plan.cells, map(float, accuracies), strict=True)
    rows = {cell.id: {"val_accuracy_mean": score, "val_r2_mean": float("nan")} for cell, score in scores}
    builder: Any = SimpleNamespace(plan=plan, rows=rows)
    assert Cells.kept(builder) == [plan.cells[kept]]
