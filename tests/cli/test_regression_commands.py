"""`run` and `compare` on numbers: what is written, shown and ranked, and what is asked where it is not clear."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import gradlab
from gradlab.cli.main import main
from gradlab.tables import score

SMALL = [
    "--data",
    "t.csv",
    "--width",
    "8",
    "--depth",
    "2",
    "--batch-size",
    "16",
    "--seeds",
    "2",
    "--steps",
    "30",
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    x = np.random.default_rng(2).standard_normal((90, 3))
    frame = pd.DataFrame(x, columns=["a", "b", "c"])
    frame["price"] = 300 + 12 * x[:, 0] + 5 * x[:, 1]
    frame["rating"] = np.clip(np.round(3 + x[:, 0]), 2, 4).astype(int)
    frame["low"], frame["high"] = (x[:, 0] > 0).astype(int), (x[:, 1] > 0).astype(int)
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.assign(kind=np.where(x[:, 2] > 0, "p", "q")).to_csv(tmp_path / "kinds.csv", index=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("two_figures")
def test_a_run_writes_and_says_r2(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", *SMALL, "--target", "price", "--loss", "huber", "--out", "o", "--report"]) == 0
    steps, summary = (pd.read_csv(here / "o" / f"{table}.csv") for table in ("steps", "summary"))
    assert steps["val_accuracy"].isna().all() and steps["train_accuracy"].isna().all()
    last = steps.sort_values("step").groupby("seed")["val_r2"].last()
    assert summary["val_r2_mean"].iloc[0] == pytest.approx(last.mean(), rel=1e-12)
    half = 12.706204736 * last.std(ddof=1) / np.sqrt(2)  # Student's t with one degree of freedom
    assert summary["val_r2_ci95"].iloc[0] == pytest.approx(half, rel=1e-6)
    assert np.isnan(summary["val_accuracy_mean"].iloc[0])
    said = capsys.readouterr().out
    assert f"→ {last.mean():.3f}" in said and "validation R^2" in said and "accuracy" not in said
    page = (here / "o" / "report.html").read_text()
    assert f"validation R^2 {last.mean():.3f}" in page
    assert json.loads((here / "o" / "manifest.json").read_text())["chance"] == {}
    assert main(["run", "--config", "o/config.toml", "--out", "again", "--quiet"]) == 0
    assert (here / "o" / "steps.csv").read_bytes() == (here / "again" / "steps.csv").read_bytes()


@pytest.mark.usefixtures("two_figures")
def test_cells_are_ranked_by_r2(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grid = ["compare", *SMALL, "--target", "price", "--loss", "mse", "--activation", "tanh"]
    assert main([*grid, "--lr", "1e-5,0.05", "--out", "o", "--report"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    means = pd.read_csv(here / "o" / "summary.csv").set_index("lr")["val_r2_mean"]
    assert means[0.05] > max(means[1e-5], 0.5) and f"validation R^2 {means[0.05]:.3f}" in said
    assert "acc." not in said and "R^2" in (here / "o" / "report.html").read_text()
    assert main([*grid, "--lr", "1e-5,0.05", "--best-over", "lr", "--out", "best", "--quiet"]) == 0
    assert pd.read_csv(here / "best" / "summary.csv")["lr"].tolist() == [0.05]


def test_classes_and_numbers_side_by_side() -> None:
    summary = pd.DataFrame({"val_accuracy_mean": [0.4, np.nan, 0.9], "val_r2_mean": [np.nan, 0.7, np.nan]})
    assert score.means(summary).tolist() == [0.4, 0.7, 0.9]
    assert score.of_table(summary) is score.ACCURACY and score.of_table(summary.iloc[[1]]) is score.R2
    assert [score.of_row(dict(row)).short for _, row in summary.iterrows()] == ["accuracy", "R^2", "accuracy"]


def test_several_labels_at_once(here: Path) -> None:
    result = gradlab.run(
        data="t.csv", target="low,high", loss="binary_cross_entropy", depth=1, width=8, seeds=1, steps=40, lr=0.3,
        batch_size=16,
    )  # fmt: skip
    assert result.steps["val_loss"].iloc[-1] < 0.9 * result.steps["val_loss"].iloc[0]
    assert result.steps[["val_accuracy", "val_r2"]].isna().all(axis=None)


def test_whole_numbers_are_classes_or_numbers_as_the_user_says(here: Path) -> None:
    common = ["run", *SMALL, "--target", "rating", "--quiet", "--loss", "mse"]
    assert main([*common, "--task", "classification", "--out", "c"]) == 0
    assert main([*common, "--task", "regression", "--out", "r"]) == 0
    classes, numbers = (pd.read_csv(here / out / "steps.csv") for out in "cr")
    layers = pd.read_csv(here / "c" / "layers.csv"), pd.read_csv(here / "r" / "layers.csv")
    assert [frame.loc[frame["name"] == "output", "fan_out"].iloc[0] for frame in layers] == [3, 1]
    assert classes["val_accuracy"].notna().all() and classes["val_r2"].isna().all()
    assert numbers["val_accuracy"].isna().all() and numbers["val_r2"].notna().all()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--target", "price"], "cross_entropy takes classes, t.csv has a number to predict (price)"),
        (["--target", "price"], "allowed: mse, mae, huber, package.module:Attr"),
        (["--target", "price", "--loss", "binary_cross_entropy"], "takes classes or labels of 0 or 1"),
        (["--target", "price", "--loss", "torch.nn:CrossEntropyLoss"], "takes classes, t.csv has a number"),
        (
            ["--target", "rating", "--loss", "mse"],
            "whole numbers that may be either (rating); allowed: --task",
        ),
        (["--target", "rating", "--loss", "mae"], "mae takes numbers, t.csv has 3 classes (rating)"),
        (["--target", "rating", "--loss", "mae"], "--task regression takes whole numbers as numbers"),
        (["--data", "kinds.csv", "--target", "kind", "--loss", "huber"], "kinds.csv has 2 classes (kind)"),
        (["--target", "low,high"], "cross_entropy takes classes, t.csv has 2 labels of 0 or 1 (low, high)"),
        (
            ["--target", "price", "--loss", "mse", "--task", "numbers"],
            "--task: 'numbers' is not known; allowed: auto, class",
        ),
        (["--target", "price", "--loss", "huber:delta=0"], "--loss huber:delta: 0 is out of range"),
        (["--target", "price", "--loss", "hubr"], "did you mean 'huber'?"),
        (["--target", "price", "--loss", "torch.nn:HuberLoss:reduction=none"], "gave a tensor [2, 1]"),
    ],
)
def test_what_does_not_fit_is_one_clear_error(
    arguments: list[str], says: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", *SMALL, *arguments, "--json"]) == 2
    document = json.loads(capsys.readouterr().out)
    (problem,) = document["error"]["problems"]
    assert says in document["error"]["message"] and problem["where"]
    assert not (here / "results").exists()


def test_remedies_of_a_net_that_learns_numbers_are_measured_by_r2(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sick = ["--activation", "sigmoid", "--depth", "12", "--width", "16", "--steps", "150", "--data", "t.csv"]
    common = ["--target", "price", "--loss", "mse", "--seeds", "2", "--batch-size", "16", "--out", "o"]
    assert main(["run", *sick, *common, "--fix", "--json", "--quiet"]) == 0
    found = json.loads(capsys.readouterr().out)["repair"]
    best = found["attempts"][found["best"]]
    assert found["repaired"] and best["val_r2_mean"] > 0 and best["effects"]["val_r2"]["mean"] > 0
