"""--best-over keeps, of each cell's values of one key, the one with the best mean validation accuracy."""

from __future__ import annotations

from pathlib import Path

from sweep.small_plans import plan_of

from gradlab.lab.experiment import execute


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
