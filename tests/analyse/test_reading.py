"""Saved tables: folders, CSV, Parquet, and files that are none of them."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gradlab.analyse.results import diagnose_saved, read_saved
from gradlab.base.errors import DataError
from gradlab.cli.main import main


@pytest.fixture
def folder(cell, tmp_path: Path) -> Path:  # type: ignore[no-untyped-def]
    layers, steps = cell(depth=20, decay=0.236, learns=False, activation="sigmoid", cell="123456789012")
    layers.to_csv(tmp_path / "layers.csv", index=False)
    steps.to_csv(tmp_path / "steps.csv", index=False)
    (tmp_path / "manifest.json").write_text(json.dumps({"chance": {"123456789012": 0.1}}))
    return tmp_path


def test_a_folder_and_its_layers_file_give_the_same_verdicts(folder: Path) -> None:
    saved = read_saved(folder)
    assert saved.chance == {"123456789012": 0.1} and saved.finished
    assert saved.layers["cell"].iloc[0] == "123456789012", "a hash of digits stays a text"
    for path in (folder, folder / "layers.csv"):
        (found,) = diagnose_saved(read_saved(path))
        assert found.verdicts == ("vanishing", "not-learning")


def test_a_lone_csv_is_judged_without_learning(folder: Path, tmp_path: Path) -> None:
    lone = tmp_path / "elsewhere.csv"
    lone.write_bytes((folder / "layers.csv").read_bytes())
    saved = read_saved(lone)
    assert saved.steps is None and saved.folder is None
    assert diagnose_saved(saved)[0].verdicts == ("vanishing",)


def test_parquet_reads_as_csv_does(folder: Path) -> None:
    for name in ("layers", "steps"):
        pd.read_csv(folder / f"{name}.csv", dtype={"cell": str}).to_parquet(folder / f"{name}.parquet")
        (folder / f"{name}.csv").unlink()
    assert diagnose_saved(read_saved(folder))[0].verdicts == ("vanishing", "not-learning")


def test_numbers_that_are_not_finite_survive_the_file(cell, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    layers, _ = cell(steps=(0, 1))
    layers["norm"] = "none"
    layers.loc[layers["step"] == 1, "delta_rms"] = [np.inf, -np.inf, np.nan] * 11
    layers.to_csv(tmp_path / "layers.csv", index=False, na_rep="nan")
    back = read_saved(tmp_path).layers
    assert back["norm"].eq("none").all()
    pd.testing.assert_series_equal(back["delta_rms"], layers["delta_rms"])
    assert diagnose_saved(read_saved(tmp_path))[0].verdicts == ("diverged",)


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", "", "the file is empty"),
        ("a.csv", b"\xff\xfe\x00bad\x00", "cannot be read as a table"),
        ("a.csv", "layer,delta_rms\n1,2\n3,4,5,6\n", "cannot be read as a table"),
        ("a.csv", "epoch,loss\n1,2\n", "neither a column 'layer' nor 'delta_rms'"),
        ("a.csv", "layers,loss\n1,2\n", "did you mean 'layer'?"),
        ("a.csv", "seed,step,layer,delta_rms\n", "no rows"),
        ("a.csv", "seed,step,layer,delta_rms\n0,0,1,x\n", "not a column of numbers ('x')"),
        ("a.csv", "seed,layer,delta_rms\n0,1,1\n", "no column 'step'"),
        ("a.parquet", "no parquet", "cannot be read as a table"),
    ],
)
def test_a_bad_file_is_named_with_what_is_wrong(tmp_path: Path, name: str, content: str, says: str) -> None:
    path = write(tmp_path / name, content)
    with pytest.raises(DataError) as caught:
        diagnose_saved(read_saved(path))
    assert says in str(caught.value) and str(path) in str(caught.value)


def test_what_is_not_there_and_what_is_another_table(folder: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_saved(folder / "nowhere")
    with pytest.raises(DataError, match="a steps table"):
        read_saved(folder / "steps.csv")
    older = pd.read_csv(folder / "steps.csv").drop(columns="eval_rows")
    older.to_csv(folder / "older.csv", index=False)
    with pytest.raises(DataError, match="a steps table"):
        read_saved(folder / "older.csv")
    (folder / "layers.csv").unlink()
    with pytest.raises(DataError, match=r"no layers\.csv"):
        read_saved(folder)


def test_the_command_prints_verdicts_and_json_and_fails_with_2(folder: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    assert main(["diagnose", str(folder)]) == 0
    out, err = capsys.readouterr()
    out = " ".join(out.split())
    assert (
        "vanishing, not-learning (3/3 seeds)" in out and "0.236 x a layer" in out and "next: gradlab" in err
    )
    assert main(["diagnose", str(folder), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    (diagnosis,) = document["diagnoses"]
    assert diagnosis["verdicts"] == ["vanishing", "not-learning"]
    assert main(["diagnose", str(folder), "--ruleset", "all"]) == 0
    assert "deepchecker" in capsys.readouterr().out
    assert main(["diagnose", str(folder / "nowhere"), "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["problems"]
    assert main(["diagnose", str(folder), "--ruleset", "smdebg"]) == 2
    assert "did you mean" in capsys.readouterr().err
