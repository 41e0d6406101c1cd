"""`gradlab watch`: the user's own model, with the loop and the tables of `run`."""

import json

import numpy as np
import pandas as pd
import pytest

import gradlab
from gradlab.cli.main import main

MODELS = '''
import torch
from torch import nn

class Small(nn.Module):
    def __init__(self, features=64, classes=10):
        super().__init__()
        self.fc, self.drop, self.out = nn.Linear(features, 16), nn.Dropout(0.2), nn.Linear(16, classes)
    def forward(self, x):
        return {"logits": self.out(self.drop(torch.relu(self.fc(x))))}

def twin():
    """The net of `gradlab run --activation tanh --depth 3 --width 8 --first-seed 5`, as a plain nn.Sequential."""
    from gradlab import activations
    from gradlab.network import inits, norms, residuals
    from gradlab.network.mlp import build_mlp
    tanh = activations.get("tanh")
    own = build_mlp(activation=tanh, init=inits.get("auto", tanh), norm=norms.get("none"),
                    residual=residuals.get("none", 3), depth=3, width=8, features=64, outputs=10, seeds=(5,),
                    dtype=torch.float64)
    parts = []
    for linear in own.linears:
        parts.append(nn.Linear(*linear.weight.shape[1:], dtype=torch.float64))
        parts[-1].weight.data, parts[-1].bias.data = linear.weight.data[0].T.clone(), linear.bias.data[0, 0].clone()
        parts.append(nn.Tanh())
    return nn.Sequential(*parts[:-1])

instance = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 4))

def batches(seed):
    draw = torch.Generator().manual_seed(seed)
    for _ in range(3):
        x = torch.rand(6, 4, generator=draw)
        yield x, x

def no_batches():
    return []

def broken():
    raise RuntimeError("not today")

def not_a_model():
    return 3

def narrow():
    return nn.Linear(64, 4).flatten
'''


@pytest.fixture
def here(tmp_path, monkeypatch):  # type: ignore[no-untyped-def]
    (tmp_path / "own_models.py").write_text(MODELS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "own_models", raising=False)
    return tmp_path


def test_gradlabs_own_net_as_a_plain_module_gives_the_tables_of_run(here) -> None:  # type: ignore[no-untyped-def]
    settings = [
        "--steps",
        "12",
        "--seeds",
        "1",
        "--first-seed",
        "5",
        "--dtype",
        "float64",
        "--momentum",
        "0.5",
    ]
    settings += [
        "--optimizer",
        "momentum",
        "--schedule",
        "cosine:warmup=3",
        "--clip",
        "0.7",
        "--metrics",
        "full",
    ]
    assert main(["watch", "own_models:twin", "--out", "watched", "--quiet", *settings]) == 0
    assert (
        main(
            [
                "run",
                "--activation",
                "tanh",
                "--depth",
                "3",
                "--width",
                "8",
                "--out",
                "run",
                "--quiet",
                *settings,
            ]
        )
        == 0
    )
    for table in ("layers", "steps", "summary"):
        watched, run = (pd.read_csv(here / folder / f"{table}.csv") for folder in ("watched", "run"))
        assert [*watched] == [*run]
        numbers = [c for c in [*run][10:] if pd.api.types.is_numeric_dtype(run[c]) and "predicted" not in c]
        for column in numbers:  # torch's clipping divides by norm + 1e-6, gradlab's by the norm
            np.testing.assert_allclose(watched[column], run[column], rtol=5e-6, atol=1e-13, err_msg=column)
    assert [*pd.read_csv(here / "watched" / "layers.csv")["name"].astype(str)[:4]] == ["0", "2", "4", "6"]
    manifest = json.loads((here / "watched" / "manifest.json").read_text())
    assert manifest["timings"]["recording_overhead"] > 1 and manifest["finished"]


def test_the_same_command_shows_what_is_there_and_another_is_refused(here, capsys) -> None:  # type: ignore[no-untyped-def]
    command = ["watch", "own_models:Small", "--steps", "3", "--seeds", "2", "--out", "o", "--quiet"]
    assert main(command) == 0
    first = {path.name: path.read_bytes() for path in (here / "o").iterdir()}
    assert main(command) == 0
    assert {path.name: path.read_bytes() for path in (here / "o").iterdir()} == first
    assert "not trained again" in capsys.readouterr().out
    assert main([*command, "--lr", "0.1"]) == 2
    assert "it holds something else" in capsys.readouterr().err
    assert main([*command, "--force"]) == 0
    again = {path.name: path.read_bytes() for path in (here / "o").iterdir()}
    assert all(first[name] == again[name] for name in first if name.endswith(".csv"))


def test_the_users_own_batches(here, capsys) -> None:  # type: ignore[no-untyped-def]
    command = [
        "watch",
        "own_models:instance",
        "--batches",
        "own_models:batches",
        "--steps",
        "40",
        "--seeds",
        "2",
    ]
    assert main([*command, "--out", "o", "--optimizer", "adam", "--json", "--quiet"]) == 0
    document = json.loads(capsys.readouterr().out)
    steps = pd.read_csv(here / "o" / "steps.csv")
    assert steps["val_loss"].isna().all() and steps["train_accuracy"].isna().all()
    assert (
        steps.groupby("seed")["train_loss"].last().max() < steps.groupby("seed")["train_loss"].first().min()
    )
    assert document["summary"]["verdict"] and (pd.read_csv(here / "o" / "layers.csv")["batch"] == 6).all()


def test_the_results_are_read_by_the_other_commands(here) -> None:  # type: ignore[no-untyped-def]
    assert main(["watch", "own_models:Small", "--steps", "3", "--seeds", "2", "--out", "o", "--quiet"]) == 0
    assert main(["diagnose", "o"]) == 0
    frames = gradlab.diagnose(pd.read_csv(here / "o" / "layers.csv"), pd.read_csv(here / "o" / "steps.csv"))
    assert frames[0].verdicts


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["own_models:missing"], "has no attribute 'missing'"),
        (["no_such_models:net"], "cannot import"),
        (["Small"], "no package.module:Attr"),
        (["own_models:broken"], "RuntimeError: not today"),
        (["own_models:not_a_model"], "gave int"),
        (["own_models:instance", "--batches", "own_models:no_batches"], "gave no batch"),
        (["own_models:Small", "--depth", "3"], "--depth"),
        (["own_models:Small", "--record", "sometimes", "--probe", "none"], "is no number of rows"),
        (["own_models:Small", "--batches", "own_models:batches"], "failed on a batch"),
    ],
)
def test_mistakes_are_named(arguments: list[str], says: str, here, capsys) -> None:  # type: ignore[no-untyped-def]
    assert main(["watch", *arguments, "--steps", "2", "--seeds", "1"]) in (1, 2)
    error = capsys.readouterr().err
    assert says in error and "Traceback" not in error
    assert not (here / "results").exists()
