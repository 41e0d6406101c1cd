"""Remedies that are run: the search, the paired effects, and the file that repeats the repaired run."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gradlab import config
from gradlab.analyse.decay import decay_per_layer
from gradlab.cli.fix_option import repair_text
from gradlab.cli.main import main
from gradlab.config import plan
from gradlab.lab.changes import with_changes
from gradlab.lab.experiment import execute
from gradlab.lab.repair import REPAIRED, cell_config, try_remedies

SMALL = {"depth": 6, "width": 32, "steps": 250, "seeds": 2, "lr": 0.05}


def run(out: Path, **flags: object):  # type: ignore[no-untyped-def]
    request = config.resolve(flags={**SMALL, **flags, "out": str(out)})
    return execute(plan.make(request))


def repair(outcome, **more):  # type: ignore[no-untyped-def]
    cell = outcome.plan.cells[0]
    verdicts = outcome.summary["verdict"].iloc[0].split(",")
    sick = cell_config(outcome.plan.request, cell)
    return try_remedies(sick, outcome.layers, outcome.steps, verdicts, outcome.out / "remedies", **more)


def test_a_vanishing_net_is_repaired_and_the_file_repeats_it(tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    sick = run(tmp_path / "sick", activation="sigmoid")
    assert sick.summary["verdict"].iloc[0] == "vanishing,not-learning"
    assert main(["diagnose", str(sick.out), "--try", "--json", "--quiet"]) == 0
    found = json.loads(capsys.readouterr().out)["repair"]
    assert found["repaired"] and found["file"] == str(sick.out / "remedies" / REPAIRED)
    best = found["attempts"][found["best"]]
    gain = best["effects"]["val_accuracy"]
    assert best["good"] and best["verdicts"] == ["healthy"] and gain["mean"] > 0.3 and gain["pairs"] == 2

    again = execute(
        plan.make(config.resolve(file=Path(found["file"]), flags={"out": str(tmp_path / "again")}))
    )
    attempted = pd.read_csv(Path(best["out"]) / "layers.csv")
    pd.testing.assert_series_equal(again.layers["delta_rms"], attempted["delta_rms"], check_exact=True)

    def last(steps: pd.DataFrame) -> np.ndarray:
        return steps.sort_values("step").groupby("seed")["val_accuracy"].last().to_numpy()

    def decay(layers: pd.DataFrame) -> np.ndarray:
        birth = layers[(layers["step"] == 0) & (layers["name"] != "output")].sort_values(["seed", "layer"])
        return decay_per_layer(birth["delta_rms"].to_numpy().reshape(2, -1))

    assert gain["mean"] == pytest.approx((last(again.steps) - last(sick.steps)).mean())
    change = (decay(again.layers) - decay(sick.layers)).mean()
    assert best["effects"]["decay_per_layer"]["mean"] == pytest.approx(change)
    assert best["val_accuracy_mean"] == pytest.approx(last(again.steps).mean())


def test_the_search_stops_at_its_limit_and_keeps_the_best(tmp_path: Path) -> None:
    sick = run(tmp_path / "sick", activation="sigmoid", depth=30, steps=1, lr=1e-6)
    found = repair(sick, most=2)
    assert len(found.attempts) == 2 and not found.repaired
    assert found.best is not None and found.file is not None and found.file.exists()
    assert all(attempt.changes for attempt in found.attempts)
    assert [attempt.out.name for attempt in found.attempts] == ["1", "2"]


@pytest.mark.parametrize(("seeds", "says"), [(1, "a single seed: no interval"), (2, "with 95 % intervals")])
def test_a_single_seed_is_labelled_as_one(tmp_path: Path, seeds: int, says: str) -> None:
    sick = run(tmp_path / "sick", activation="sigmoid", depth=10, steps=0, seeds=seeds)
    text = repair_text(repair(sick, most=1), 80)
    assert says in " ".join(text.split()) and ("±" in text) == (seeds > 1)


def test_changes_are_checked_like_any_configuration() -> None:
    base = config.resolve(flags=SMALL).base
    assert with_changes(base, {"network.width": 64}).network.width == 64
    with pytest.raises(ValueError, match="greater than 0"):
        with_changes(base, {"training.lr": -1.0})


def test_a_healthy_cell_needs_no_remedy_and_a_lone_csv_allows_none(tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    well = run(tmp_path / "well", activation="relu", depth=2, steps=120, lr=0.1)
    assert main(["diagnose", str(well.out), "--try", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["repair"] is None
    lone = tmp_path / "rows.csv"
    lone.write_bytes((well.out / "layers.csv").read_bytes())
    assert main(["diagnose", str(lone), "--try"]) == 2
    assert "the configuration that made these results" in capsys.readouterr().err


def test_several_sick_cells_need_a_name(tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    request = config.resolve(
        flags={**SMALL, "steps": 0, "activation": ["sigmoid", "hard_sigmoid"], "out": str(tmp_path / "two")},
        lists=True,
    )
    execute(plan.make(request))
    assert main(["diagnose", str(tmp_path / "two"), "--try"]) == 2
    assert "--cell" in capsys.readouterr().err
    assert main(["diagnose", str(tmp_path / "two"), "--try", "--cell", "nowhere"]) == 2
    assert "unknown cell 'nowhere'" in capsys.readouterr().err


def test_what_is_said_of_a_cell_that_is_well_or_not_there(tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    well = run(tmp_path / "well", activation="relu", depth=2, steps=120, lr=0.1)
    (name,) = well.summary["cell"]
    assert main(["diagnose", str(well.out), "--try", "--cell", "nowhere"]) == 2
    assert f"allowed: {name}" in capsys.readouterr().err
    assert main(["diagnose", str(well.out), "--try", "--cell", name]) == 2
    assert f"'{name}' has no fault\n  hint: no cell has one" in capsys.readouterr().err
    table = well.layers.drop(columns="cell")
    table.to_csv(well.out / "layers.csv", index=False)
    assert main(["diagnose", str(well.out), "--quiet"]) == 0
    assert main(["diagnose", str(well.out), "--try", "--cell", name]) == 2
    assert "it has no column 'cell'" in capsys.readouterr().err
