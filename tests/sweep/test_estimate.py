"""What a dry run says: what is left to do, and how long by steps it measured."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sweep.small_plans import plan_of

from gradlab.config.plan import Stack
from gradlab.lab import estimate as estimates
from gradlab.lab.estimate import estimate
from gradlab.lab.experiment import execute


def test_what_is_finished_is_not_counted(tmp_path: Path) -> None:
    out = tmp_path / "out"
    before = estimate(plan_of(out))
    assert (before.stacks, before.finished, before.workers) == (4, 0, 1) and before.seconds > 0
    assert not out.exists()
    execute(plan_of(out, activation=["relu"]))
    files = sorted(out.rglob("*"))
    between = estimate(plan_of(out))
    assert (between.stacks, between.finished) == (4, 2) and between.seconds > 0
    assert sorted(out.rglob("*")) == files
    execute(plan_of(out))
    assert estimate(plan_of(out)) == estimates.Forecast(4, 4, 0, 0.0)
    assert estimate(plan_of(out, force=True)).finished == 0


@pytest.mark.parametrize(
    ("record", "records"),
    [("every:100", 11), ("off", 2), ("all", 1001), ("log", 34)],
)
def test_seconds_are_steps_times_their_measured_time(
    tmp_path: Path, record: str, records: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With steps that take what they are told to: 1 ms, or 5 ms recorded, in proportion to the depth."""

    def work(stack: Stack, watch: Any, say: Any) -> Any:
        depth = stack.cell.network.depth
        recorded = stack.cell.training.steps + 1 if record == "all" else 4
        plain = stack.cell.training.steps + 1 - recorded
        assert plain + recorded <= estimates.STEPS + 1
        return SimpleNamespace(
            timings={
                "plain_seconds": 1e-3 * depth * plain,
                "plain_steps": plain,
                "recorded_seconds": 5e-3 * depth * recorded,
                "recorded_steps": recorded,
                "prediction_seconds": 0.25 * depth,
            }
        )

    monkeypatch.setattr(estimates, "work", work)
    plan = plan_of(tmp_path / "out", depth=[10, 20, 30], steps=1000, record=record, workers=2)
    one = 5e-3 * records + 1e-3 * (1001 - records) + 0.25
    found = estimate(plan)
    assert found.workers == 2
    assert found.seconds == pytest.approx(2 * (10 + 20 + 30) * one / 2, rel=0.1)


def test_no_number_of_workers_is_faster_than_the_longest_stack(tmp_path: Path) -> None:
    alone = estimate(plan_of(tmp_path, activation="relu", depth=[2, 40], workers=1))
    spread = estimate(plan_of(tmp_path, activation="relu", depth=[2, 40], workers=2))
    assert spread.seconds > 0.5 * alone.seconds
