"""`gradlab watch`: the user's own model, with the loop and the tables of `run`."""

import json

import numpy as np
import pandas as pd
import pytest

import gradlab
from gradlab.base.lock import Lock
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
    from gradlab.parts import inits, norms, residuals
    from gradlab.nn.mlp import build_mlp
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

with torch.random.fork_rng():  # not left to the test that ran before: all three units may be dead
    torch.manual_seed(0)
    instance = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 4))

def batches(seed):
    draw = torch.Generator().manual_seed(seed)
    for _ in range(3):
        x = torch.rand(6, 4, generator=draw)
        yield x, x

def no_batches():
    return []

LIMIT = 7

def interrupted(seed):
    """Ctrl-C while batch 4 (of the training; the probe took one) of seed 1 is made, a second one later."""
    import os, signal
    draw = torch.Generator().manual_seed(seed)
    for batch in range(1000):
        if seed == 1 and batch == 4:
            os.kill(os.getpid(), signal.SIGINT)
        x = torch.rand(6, 4, generator=draw)
        yield x, x

once = iter([(torch.ones(6, 4), torch.ones(6, 4)) for _ in range(4)])

def ends_early():
    return once

def raises_later():
    yield torch.ones(6, 4), torch.ones(6, 4)
    yield torch.ones(6, 4), torch.ones(6, 4)
    raise OSError("the disk is gone")

def wide_batches():
    while True:
        yield torch.ones(6, 9), torch.ones(6, 4)

def labels_out_of_range():
    while True:
        yield torch.ones(6, 4), torch.full((6,), 9)

def huge_batches():
    while True:
        yield torch.full((6, 4), 1e30), torch.zeros(6, 4)

class Frozen(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4).requires_grad_(False)
    def forward(self, x):
        return self.fc(x)

class Detached(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)
    def forward(self, x):
        return self.fc(x).detach()

class FailsInEval(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)
    def forward(self, x):
        assert self.training, "no evaluation today"
        return self.fc(x)

def broken():
    raise RuntimeError("not today")

def quits():
    raise SystemExit(7)

class Speechless(Exception):
    def __str__(self):
        raise ValueError

def speechless():
    raise Speechless

def on_meta():
    return nn.Linear(4, 4, device="meta")

def one_layer(features, classes):
    return nn.Linear(features, classes)

class Talkative(Small):
    def forward(self, x):
        print("hello")
        return super().forward(x)

def sparse():
    return nn.Sequential(nn.Embedding(9, 6, sparse=True), nn.Flatten(), nn.Linear(18, 5), nn.ReLU(), nn.Linear(5, 4))

def tokens():
    while True:
        yield torch.arange(12).reshape(4, 3) % 9, torch.arange(4)

def not_a_model():
    return 3

def flat():
    return nn.Sequential(nn.Linear(64, 10), nn.Unflatten(1, (2, 5)))
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
        assert [*watched][: len([*run])] == [
            *run
        ]  # behind them stands what a model's criterion says of the probe
        paths = ("path", "into", "joins")  # words that gradlab's own nets do not have
        numbers = [c for c in [*run][10:] if pd.api.types.is_numeric_dtype(run[c]) and c not in paths]
        numbers = [c for c in numbers if "predicted" not in c and "band" not in c]
        for column in numbers:  # torch's clipping divides by norm + 1e-6, gradlab's by the norm
            np.testing.assert_allclose(watched[column], run[column], rtol=5e-6, atol=1e-13, err_msg=column)
    assert [*pd.read_csv(here / "watched" / "layers.csv")["name"].astype(str)[:4]] == ["0", "2", "4", "6"]
    manifest = json.loads((here / "watched" / "manifest.json").read_text())
    assert manifest["finished"]
    timings = json.loads((here / "run" / "manifest.json").read_text())["timings"]
    steps = timings["plain_steps"] + timings["recorded_steps"]
    all_plain = timings["plain_seconds"] / timings["plain_steps"] * steps
    assert timings["recording_overhead"] == pytest.approx(
        (timings["plain_seconds"] + timings["recorded_seconds"]) / all_plain
    )


def test_the_same_command_shows_what_is_there_and_another_is_refused(here, capsys) -> None:  # type: ignore[no-untyped-def]
    command = ["watch", "own_models:Small", "--steps", "3", "--seeds", "2", "--out", "o", "--quiet"]
    assert main(command) == 0
    first = {path.name: path.read_bytes() for path in (here / "o").iterdir() if path.is_file()}
    assert main(command) == 0
    assert {path.name: path.read_bytes() for path in (here / "o").iterdir() if path.is_file()} == first
    assert "not trained again" in capsys.readouterr().out
    assert main([*command, "--lr", "0.1"]) == 2
    assert "it holds the results of another configuration" in capsys.readouterr().err
    assert main([*command, "--force"]) == 0
    again = {path.name: path.read_bytes() for path in (here / "o").iterdir() if path.is_file()}
    assert all(first[name] == again[name] for name in first if name.endswith(".csv"))


def test_the_users_own_batches(here, capsys) -> None:  # type: ignore[no-untyped-def]
    command = [
        "watch",
        "own_models:instance",
        "--batches",
        "own_models:batches",
        "--loss",
        "mse",
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
    (told,) = pd.read_csv(here / "o" / "summary.csv")["verdict"]
    assert frames[0].verdicts == tuple(told.split(","))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["own_models:missing"], "has no attribute 'missing'"),
        (["no_such_models:net"], "cannot import"),
        (["Small"], "no package.module:Attr"),
        (["own_models:broken"], "RuntimeError: not today"),
        (["own_models:not_a_model"], "gave int"),
        (["own_models:quits"], "SystemExit: 7"),
        (["own_models:speechless"], "Speechless: its text cannot be made"),
        (["own_models:on_meta"], "on the meta device"),
        (["own_models:one_layer"], "has one layer with parameters"),
        (
            ["own_models:instance", "--batches", "own_models:batches", "--data", "iris"],
            "no meaning beside --batches",
        ),
        (["own_models:instance", "--batches", "own_models:no_batches"], "gave no batch"),
        (["own_models:Small", "--depth", "3"], "--depth"),
        (["own_models:Small", "--executor", "ray"], "--executor"),
        (["own_models:Small", "--set", "run.executor=ray"], "--set run.executor: it has no meaning"),
        (["own_models:Small", "--set", "network.depth=3"], "--set network.depth: it has no meaning"),
        (["own_models:Small", "--set", "recording.jacobian=true"], "no meaning for a model of your own"),
        (["own_models:Small", "--momentum", "0.5"], "sgd has no momentum of its own"),
        (["own_models:Small", "--record", "sometimes", "--probe", "none"], "is no number of rows"),
        (["own_models:Small", "--record", "off"], "what was watched would be lost"),
        (["own_models:Small", "--batches", "own_models:batches"], "failed on a batch"),
        (["own_models:instance", "--batches", "own_models:ends_early"], "when it was called again, after "),
        (["own_models:instance", "--batches", "own_models:raises_later"], "OSError: the disk is gone"),
        (["own_models:instance", "--batches", "own_models:LIMIT"], "own_models:LIMIT cannot be called"),
        (["own_models:instance", "--batches", "own_models:wide_batches"], "shapes cannot be multiplied"),
        (["own_models:instance", "--batches", "own_models:labels_out_of_range"], "out of bounds"),
        (["own_models:instance"], "shapes cannot be multiplied"),
        (["own_models:flat"], "outputs [359, 2, 5] do not fit the targets [359]"),
        (["own_models:Frozen", "--batches", "own_models:batches"], "no parameter that can learn"),
        (["own_models:Detached", "--batches", "own_models:batches"], "does not require grad"),
        (["own_models:FailsInEval", "--batches", "own_models:batches"], "no evaluation today"),
    ],
)
def test_mistakes_are_named(arguments: list[str], says: str, here, capsys) -> None:  # type: ignore[no-untyped-def]
    floating = "--batches" in arguments and "own_models:labels_out_of_range" not in arguments
    numbers = ["--loss", "mse"] if floating and "--loss" not in arguments else []
    assert main(["watch", *arguments, *numbers, "--steps", "9", "--seeds", "1", "--quiet"]) == 2
    error = capsys.readouterr().err
    assert says in error and "Traceback" not in error
    assert not (here / "results").exists()


def test_ctrl_c_keeps_what_was_recorded(here, capsys) -> None:  # type: ignore[no-untyped-def]
    command = [
        "watch",
        "own_models:instance",
        "--batches",
        "own_models:interrupted",
        "--loss",
        "mse",
        "--seeds",
        "3",
        "--out",
        "o",
    ]
    assert main([*command, "--steps", "20", "--record", "all"]) == 130
    said = capsys.readouterr().err
    assert "interrupted with seed 1 of 0 to 2: what was recorded until then is in" in said
    steps = pd.read_csv(here / "o" / "steps.csv")
    assert steps.groupby("seed")["step"].max().to_dict() == {
        0: 20,
        1: 4,
    }  # the step that went on was finished
    layers = pd.read_csv(here / "o" / "layers.csv")
    assert layers.groupby("seed")["step"].max().to_dict() == {0: 20, 1: 4}
    assert (layers["update_ratio"].isna() == ((layers["seed"] == 0) & (layers["step"] == 20))).all()
    manifest = json.loads((here / "o" / "manifest.json").read_text())
    assert manifest["finished"] is False and manifest["interrupted"] == {"seeds": 2, "last_step": 4}
    assert int(pd.read_csv(here / "o" / "summary.csv")["seeds"].iloc[0]) == 2
    assert main(["diagnose", "o"]) == 0
    assert "unfinished" in capsys.readouterr().err

    # the same command again trains anew, and takes the folder
    assert main([*command, "--steps", "20", "--record", "all"]) == 130
    assert "it holds the results of another configuration" not in capsys.readouterr().err
    assert main([*command, "--steps", "3", "--record", "all"]) == 2
    assert "it holds the results of another configuration" in capsys.readouterr().err


def test_a_saved_configuration_trains_the_same(here) -> None:  # type: ignore[no-untyped-def]
    """It has the keys of gradlab's own nets too, at their defaults."""
    command = ["watch", "own_models:Small", "--quiet"]
    assert main([*command, "--steps", "3", "--seeds", "2", "--out", "a"]) == 0
    assert main([*command, "--config", "a/config.toml", "--out", "b"]) == 0
    assert (here / "a" / "layers.csv").read_bytes() == (here / "b" / "layers.csv").read_bytes()


def test_sparse_gradients_are_trained_and_recorded(here) -> None:  # type: ignore[no-untyped-def]
    command = ["watch", "own_models:sparse", "--batches", "own_models:tokens", "--seeds", "1", "--steps", "5"]
    assert main([*command, "--out", "o", "--quiet"]) == 0
    steps = pd.read_csv(here / "o" / "steps.csv")
    layers = pd.read_csv(here / "o" / "layers.csv")
    squares = (layers["weight_grad_norm"] ** 2 + layers["bias_grad_norm"].fillna(0) ** 2).groupby(
        layers["step"]
    )
    np.testing.assert_allclose(steps["grad_norm"], np.sqrt(squares.sum()), rtol=1e-6)


def test_what_the_model_prints_is_no_data(here, capsys) -> None:  # type: ignore[no-untyped-def]
    command = ["watch", "own_models:Talkative", "--seeds", "1", "--steps", "2", "--out", "o", "--json"]
    assert main(command) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["summary"]["verdict"] and "hello" in said.err


def test_a_folder_that_cannot_be_made_is_known_before_the_training(here, capsys) -> None:  # type: ignore[no-untyped-def]
    (here / "file").write_text("")
    assert main(["watch", "own_models:Talkative", "--steps", "9", "--out", "file/o"]) == 1
    said = capsys.readouterr()
    assert "Not a directory" in said.err and "hello" not in said.err + said.out


def test_one_writer_a_folder(here, capsys) -> None:  # type: ignore[no-untyped-def]
    command = ["watch", "own_models:Small", "--steps", "3", "--seeds", "1", "--out", "o", "--quiet"]
    (here / "o" / ".journal").mkdir(parents=True)
    lock = Lock(here / "o" / ".journal" / "lock")
    assert main(command) == 2
    assert "another gradlab writes there" in capsys.readouterr().err
    assert [path.name for path in (here / "o").iterdir()] == [".journal"]
    lock.release()
    assert main(command) == 0


def test_a_training_that_blows_up_is_a_verdict_and_no_error(here, capsys) -> None:  # type: ignore[no-untyped-def]
    command = [
        "watch",
        "own_models:instance",
        "--batches",
        "own_models:huge_batches",
        "--loss",
        "mse",
        "--steps",
        "3",
        "--json",
    ]
    assert main([*command, "--seeds", "1", "--out", "o", "--quiet"]) == 0
    assert "diverged" in json.loads(capsys.readouterr().out)["summary"]["verdict"]
