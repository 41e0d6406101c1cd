"""`gradlab watch --try` and `gradlab diagnose --try` on what it wrote: cures that are trained, on the same seeds."""

import hashlib
import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import gradlab
from gradlab.analyse import cure
from gradlab.base.errors import ConfigError
from gradlab.cli.main import main
from gradlab.config import resolve
from gradlab.lab.rounds import in_rounds
from gradlab.lab.watch.cures import MOST, Setting, with_cure
from gradlab.lab.watch.execute import carry_out
from gradlab.lab.watch.plan import plan
from gradlab.lab.watch.score import measure_of

NETS = """
import os, signal
from pathlib import Path
import torch
from torch import nn

def net(features, classes):
    return nn.Sequential(nn.Linear(features, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, classes))

def tiny_weights(features, classes):
    parts = [nn.Linear(features, 16), nn.Tanh()]
    for _ in range(8):
        parts += [nn.Linear(16, 16), nn.Tanh()]
    made = nn.Sequential(*parts, nn.Linear(16, classes))
    for part in made:
        if isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, std=0.03)
    return made

def softmax(features, classes):
    return nn.Sequential(nn.Linear(features, 16), nn.ReLU(), nn.Linear(16, classes), nn.Softmax(1))

def of_five():
    return nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 1))

def share():
    return nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 1), nn.Sigmoid())

def _drawn(seed):
    draw = torch.Generator().manual_seed(seed)
    weights = torch.tensor([1.0, -2.0, 0.5, 1.0, 3.0])
    for _ in range(20):
        x = torch.randn(32, 5, generator=draw)
        yield x, torch.tanh(x @ weights)[:, None]

def raw(seed):
    for x, y in _drawn(seed):
        yield 3000 * x + 5000, 7 * y + 2

def _moments(values):
    rows = torch.cat(values).double()
    return rows.mean(0), rows.std(0)

def scaled_inputs(seed):
    batches = list(raw(seed))
    mean, deviation = _moments([x for x, _ in batches[:16]])
    return [((x - mean) / deviation).float().clone() for x, _ in batches], [y for _, y in batches]

def by_hand(seed):
    return list(zip(*scaled_inputs(seed)))

def targets_by_hand(seed):
    batches = list(raw(seed))
    mean, deviation = _moments([y for _, y in batches[:16]])
    return [(x, ((y - mean) / deviation).float()) for x, y in batches]

def signs(seed):
    return ((x, (x[:, :1] > 0).float()) for x, _ in _drawn(seed))

def classes(seed):
    return ((x, (x[:, 0] > 0).long()) for x, _ in _drawn(seed))

def two():
    return nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 2))

def noise(seed):
    draw = torch.Generator().manual_seed(seed)
    for _ in range(300):
        yield torch.randn(32, 5, generator=draw), torch.randint(2, (32,), generator=draw)

def stopped(seed):
    for number, batch in enumerate(raw(seed)):
        if number == 3 and "STOP" in os.environ and Path("o/manifest.json").exists():
            os.kill(os.getpid(), signal.SIGINT)  # the training that comes after the first one
        yield batch
"""

SHORT = ["--steps", "120", "--seeds", "2", "--quiet"]
FAST = ["watch", "try_nets:net", "--lr", "30", *SHORT]
RAW = ["--loss", "mse", "--lr", "0.01", *SHORT]


@pytest.fixture
def here(tmp_path, monkeypatch):  # type: ignore[no-untyped-def]
    (tmp_path / "try_nets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "try_nets", raising=False)
    return tmp_path


@pytest.fixture(scope="module")
def once(tmp_path_factory):  # type: ignore[no-untyped-def]
    """Where the rate's cures were tried once, into the folder `o`."""
    there = tmp_path_factory.mktemp("tried")
    (there / "try_nets.py").write_text(NETS)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(there)
        patch.syspath_prepend(there)
        patch.delitem(sys.modules, "try_nets", raising=False)
        assert main([*FAST, "--out", "o", "--try"]) == 0
    return there


@pytest.fixture
def tried(here, once):  # type: ignore[no-untyped-def]
    """The working directory with a copy of that folder: the same command shows it and trains nothing."""
    shutil.copytree(once / "o", here / "o")
    return here


def remedies(capsys, *command: str) -> dict:  # type: ignore[no-untyped-def, type-arg]
    capsys.readouterr()
    assert main([*command, "--json"]) == 0
    found: dict = json.loads(capsys.readouterr().out)["remedies"]  # type: ignore[type-arg]
    return found


def last(folder: Path, column: str) -> np.ndarray:
    steps = pd.read_csv(folder / "steps.csv")
    return steps.sort_values("step").groupby("seed")[column].last().to_numpy()


def numbers(folder: Path) -> pd.DataFrame:
    """What was measured, without the columns that name the cell."""
    layers = pd.read_csv(folder / "layers.csv")
    return layers.loc[:, "seed":].select_dtypes("number")  # type: ignore[misc]


@pytest.mark.slow
def test_a_rate_is_tried_as_the_flag_would_train_it(tried, capsys) -> None:  # type: ignore[no-untyped-def]
    found = remedies(capsys, *FAST, "--out", "o", "--try")
    best = found["attempts"][-1]
    assert found["healed"] and best["healthy"] and found["best"] == best["number"]
    assert best["verdicts"] == ["healthy"] and best["verdict_seeds"] == "2/2"
    rate = best["changes"]["training.lr"]
    assert best["changes"] == {"training.lr": rate} and best["flags"] == f"--lr {rate:g}"
    assert [each["code"] for each in best["cures"]] == [
        f'for group in optimizer.param_groups: group["lr"] = {rate:g}'
    ]

    flags = [*FAST[:2], *best["flags"].split(), *SHORT]
    assert main([*flags, "--out", "again"]) == 0
    out = tried / "o" / "remedies" / str(best["number"])
    assert (out / "layers.csv").read_bytes() == (tried / "again" / "layers.csv").read_bytes()
    change = last(tried / "again", "val_accuracy") - last(tried / "o", "val_accuracy")
    assert found["score"] == "val_accuracy" and best["gain"]["pairs"] == 2
    assert best["gain"]["mean"] == pytest.approx(change.mean())
    assert best["gain"]["half_width"] == pytest.approx(12.7062 * change.std(ddof=1) / np.sqrt(2), rel=1e-4)
    assert best["val_accuracy_mean"] == pytest.approx(last(tried / "again", "val_accuracy").mean())


def test_the_text_has_a_table_the_code_and_the_command(tried, capsys) -> None:  # type: ignore[no-untyped-def]
    assert main([*FAST, "--out", "o", "--try"]) == 0
    said = capsys.readouterr().out
    table = said[said.index("changed ") :].splitlines()
    assert table[0].split() == ["changed", "verdict", "validation", "accuracy", "change"]
    assert table[1].startswith("* 1 lr ") and "healthy (2/2 seeds)" in table[1] and "±" in table[1]
    assert table[2].split()[:2] == ["-", "nothing"]
    assert '  for group in optimizer.param_groups: group["lr"] = ' in said
    assert "with gradlab watch:\n  gradlab watch try_nets:" in said and "--config o/config.toml --lr " in said


def test_initial_weights_are_of_unit_variance_on_the_probe(here, capsys) -> None:  # type: ignore[no-untyped-def]
    sick = ["watch", "try_nets:tiny_weights", *SHORT, "--out", "o", "--try"]
    attempt = remedies(capsys, *sick)["attempts"][0]
    assert attempt["changes"] == {"initial-weights": True} and attempt["flags"] == ""
    assert attempt["cures"][0]["code"].startswith("gradlab.unit_variance(model, ")
    layers = pd.read_csv(here / "o" / "remedies" / "1" / "layers.csv")
    born = layers[layers["step"] == 0]
    assert len(born) == 20 and (born["z_std"] ** 2).between(0.88, 1.12).all()
    # each seed has its own
    norms = [born[born["seed"] == seed]["weight_norm"].to_numpy() for seed in (0, 1)]
    assert (norms[0] != norms[1]).all()
    sick, treated = (json.loads((here / out / "manifest.json").read_text()) for out in ("o", "o/remedies/1"))
    assert treated["prepared"] == ["initial-weights"] and treated["plan"] != sick["plan"]


@pytest.mark.parametrize(
    ("word", "batches"), [("standardise-inputs", "by_hand"), ("standardise-targets", "targets_by_hand")]
)
def test_standardised_batches_train_as_if_standardised_by_hand(word: str, batches: str, here) -> None:  # type: ignore[no-untyped-def]
    request = resolve(flags={"loss": "mse", "lr": 0.01, "steps": 30, "seeds": 2})
    for out, source, done in (("a", "raw", (word,)), ("b", batches, ())):
        planned = plan("try_nets:of_five", request, f"try_nets:{source}", done)
        carry_out(planned, planned.folder(here / out, print, force=False), print)
    found, by_hand = numbers(here / "a"), numbers(here / "b")
    for column in ("delta_rms", "weight_grad_norm", "z_std"):
        np.testing.assert_allclose(found[column], by_hand[column], rtol=2e-3, atol=1e-7, err_msg=column)


@pytest.mark.slow
def test_inputs_of_thousands_are_standardised_and_the_loss_stays_comparable(here, capsys) -> None:  # type: ignore[no-untyped-def]
    command = ["watch", "try_nets:of_five", "--batches", "try_nets:raw", *RAW, "--out", "o", "--try"]
    found = remedies(capsys, *command)
    first = found["attempts"][0]
    assert found["verdicts"][0] == "input-scale" and first["changes"] == {"standardise-inputs": True}
    assert found["score"] == "probe_loss" and first["gain"]["mean"] < 0
    assert main(command[:-1]) == 0 and main(["diagnose", "o", "--try", "--trust", "--quiet"]) == 0
    assert "here by the first 16 batches of each seed" in capsys.readouterr().out


@pytest.mark.slow
def test_another_criterion_is_that_of_the_flag(here, capsys) -> None:  # type: ignore[no-untyped-def]
    """The sigmoid is seen though the loss of a user's own gets a copy of the outputs."""
    sick = ["watch", "try_nets:share", "--batches", "try_nets:signs", *SHORT]
    found = remedies(capsys, *sick, "--loss", "torch.nn:BCEWithLogitsLoss", "--out", "o", "--try")
    assert found["verdicts"][0] == "output-mismatch"
    assert found["attempts"][0]["flags"] == "--loss torch.nn:BCELoss"
    assert main([*sick, "--loss", "torch.nn:BCELoss", "--out", "again"]) == 0
    out = here / "o" / "remedies" / "1"
    assert (out / "layers.csv").read_bytes() == (here / "again" / "layers.csv").read_bytes()


def test_every_cure_that_needs_no_code_is_a_setting() -> None:
    start = Setting(resolve(flags={"schedule": "cosine:warmup=3"}).base)
    training = start.config.training
    for made, changes in (
        (cure.rate(0.002, ""), {"lr": 0.002}),
        (cure.clip("", 0.5), {"clip": 0.5}),
        (cure.warm_up("", 50), {"schedule": "cosine:warmup=50"}),
        (cure.criterion("HuberLoss", ""), {"loss": "torch.nn:HuberLoss"}),
    ):
        assert with_cure(start, made, True) == Setting(
            start.config.model_copy(update={"training": training.model_copy(update=changes)})
        )
    both = with_cure(
        with_cure(start, cure.initial_weights(""), True), cure.standardise_inputs(""), batches=True
    )
    assert both.prepared == ("standardise-inputs", "initial-weights") and both.config == start.config
    for made in (cure.standardise_inputs(""), cure.standardise_targets("")):
        with pytest.raises(ConfigError, match="standardised already"):
            with_cure(start, made, batches=False)
    with pytest.raises(ConfigError, match="out of range"):
        with_cure(start, cure.rate(float("inf"), ""), True)


@dataclass(frozen=True)
class Number:
    setting: tuple[str, ...]
    value: float
    good: bool = False


def test_rounds_lay_the_next_cure_on_the_best() -> None:
    values = {("a",): 1.0, ("b",): 3.0, ("c",): 2.0, ("b", "a"): 0.0, ("b", "c"): 5.0}

    def attempt(setting, change, number, onto):  # type: ignore[no-untyped-def]
        assert onto is None or onto.setting == ("b",)
        return Number(setting, values[setting], good=False) if setting in values else None

    def search(most: int = 9, rounds: int = 2) -> list[tuple[str, ...]]:
        made = in_rounds(
            (), lambda setting, best: "abxc", lambda setting, change: (*setting, change), attempt,
            lambda each: each.value, most=most, rounds=rounds,
        )  # fmt: skip
        return [each.setting for each in made]

    assert search() == [("a",), ("b",), ("c",), ("b", "a"), ("b", "c")]
    assert search(rounds=1) == [("a",), ("b",), ("c",)]
    assert search(most=4) == [("a",), ("b",), ("c",), ("b", "a")]
    assert MOST == 6


def test_a_cure_that_cannot_be_tried_is_passed_over_with_its_reason(here, capsys) -> None:  # type: ignore[no-untyped-def]
    request = resolve(flags={"lr": 0.01, "steps": 3, "seeds": 1})
    planned = plan("try_nets:of_five", request, "try_nets:classes", ("standardise-targets",))
    with pytest.raises(ConfigError, match="no numbers to predict"):
        carry_out(planned, planned.folder(here / "a", print, force=False), print)
    assert not (here / "a").exists()


def test_what_only_the_author_can_change_is_said_and_nothing_else_advised(here, capsys) -> None:  # type: ignore[no-untyped-def]
    sick = ["watch", "try_nets:softmax", "--lr", "1", *SHORT, "--out", "o", "--try"]
    assert main(sick) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "no cure could be tried without a change of your code" in said
    assert "what only you can change:" in said and "leave the nn.Softmax out" in said
    assert not (here / "o" / "remedies").exists()
    assert main(["diagnose", "o"]) == 0
    assert "next: gradlab report o" in capsys.readouterr().err


@pytest.mark.slow
def test_diagnose_tries_the_same_and_imports_nothing_before(here, capsys, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    by_watch = remedies(capsys, *FAST, "--out", "a", "--try")
    assert main([*FAST, "--out", "b"]) == 0
    monkeypatch.delitem(sys.modules, "try_nets")
    assert main(["diagnose", "b"]) == 0
    said = capsys.readouterr()
    assert "next: gradlab diagnose b --try" in said.err and "try_nets" not in sys.modules
    by_diagnose = remedies(capsys, "diagnose", "b", "--try", "--trust", "--quiet")
    for found in (by_watch, by_diagnose):
        for attempt in found["attempts"]:
            attempt.pop("out")
    assert by_diagnose == by_watch


def test_attempts_that_are_there_are_not_trained_again(tried, capsys, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    before = {path: path.stat().st_mtime_ns for path in (tried / "o").rglob("*.csv")}
    monkeypatch.setattr("gradlab.lab.watch.execute.train", None)
    found = remedies(capsys, *FAST, "--out", "o", "--try")
    assert found["attempts"] and found["best"] == found["attempts"][-1]["number"]
    assert {path: path.stat().st_mtime_ns for path in (tried / "o").rglob("*.csv")} == before


@pytest.mark.slow
def test_ctrl_c_leaves_the_first_results_whole(here, capsys, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("STOP", "1")
    command = ["watch", "try_nets:of_five", "--batches", "try_nets:stopped", *RAW, "--out", "o", "--try"]
    assert main(command) == 130
    manifest = json.loads((here / "o" / "manifest.json").read_text())
    assert manifest["finished"] is True and set(pd.read_csv(here / "o" / "layers.csv")["seed"]) == {0, 1}
    for name, digest in manifest["sha256"].items():
        assert hashlib.sha256((here / "o" / name).read_bytes()).hexdigest() == digest
    said = capsys.readouterr()
    assert "interrupted: the attempts so far are whole" in said.out and "Traceback" not in said.err
    assert json.loads((here / "o" / "remedies" / "1" / "manifest.json").read_text())["finished"] is False

    monkeypatch.delenv("STOP")
    found = remedies(capsys, *command)
    assert len(found["attempts"]) >= 1
    assert json.loads((here / "o" / "remedies" / "1" / "manifest.json").read_text())["finished"] is True


def test_a_healthy_training_has_nothing_to_try(here, capsys) -> None:  # type: ignore[no-untyped-def]
    command = [
        "watch",
        "try_nets:net",
        "--lr",
        "0.1",
        "--steps",
        "300",
        "--seeds",
        "2",
        "--quiet",
        "--out",
        "o",
    ]
    assert remedies(capsys, *command, "--try") is None
    assert main(["diagnose", "o", "--try", "--quiet"]) == 0
    assert "no fault was found: nothing to try" in capsys.readouterr().out


def test_a_folder_of_the_users_own_loop_cannot_be_trained_again(here, capsys) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3))
    x, y = torch.randn(64, 5), torch.randint(0, 3, (64,))
    optimizer = torch.optim.SGD(model.parameters(), lr=100.0)
    recorder = gradlab.Recorder(model, probe=x, targets=y, criterion=nn.CrossEntropyLoss())
    with recorder:
        for _ in range(120):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            recorder.step(loss=loss, optimizer=optimizer)
            optimizer.step()
    code = str(recorder.diagnose().cures[0])
    assert "optimizer.param_groups" in code
    recorder.save(here / "saved")
    assert main(["diagnose", "saved"]) == 0
    said = capsys.readouterr()
    assert "next: gradlab report saved" in said.err
    assert "optimizer.param_groups" in said.out and "--lr" not in said.out
    assert main(["diagnose", "saved", "--try"]) == 2
    said = capsys.readouterr().err
    assert "it was trained in a loop of your own" in said and code in said


def test_advice_is_in_flags_that_watch_has_or_in_code(here, capsys) -> None:  # type: ignore[no-untyped-def]
    assert main([*FAST, "--out", "a"]) == 0
    assert main(["watch", "try_nets:tiny_weights", *SHORT, "--out", "b"]) == 0
    fast, small = (pd.read_csv(here / out / "summary.csv")["advice"].iloc[0] for out in "ab")
    assert " --lr " in fast and "param_groups" not in fast
    assert "gradlab.unit_variance(model" in small
    assert not any(f"--{flag}" in fast + small for flag in ("init", "norm", "residual"))


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--init", "he"], "error: --init: it has no meaning for a model of your own"),
        (["--norm=batch"], "error: --norm: it has no meaning for a model of your own"),
        (["--jacobian"], "error: --jacobian: it has no meaning for a model of your own"),
        (["--fix"], "error: --fix: for a model of your own it is --try"),
        (["--inti", "he"], "error: --inti: there is no such flag"),
    ],
)
def test_a_flag_of_run_gets_one_sentence(flags: list[str], says: str, here, capsys) -> None:  # type: ignore[no-untyped-def]
    assert main(["watch", "try_nets:net", *flags]) == 2
    said = capsys.readouterr().err
    assert says in said and said.count("error:") == 1


@pytest.mark.slow
def test_what_came_out_best_by_chance_is_no_advice(here, capsys) -> None:  # type: ignore[no-untyped-def]
    """Nothing can be learned there, so that no rate is better than another."""
    flags = [
        "--loss",
        "cross_entropy",
        "--lr",
        "0.01",
        "--steps",
        "300",
        "--seeds",
        "3",
        "--quiet",
        "--out",
        "o",
    ]
    assert main(["watch", "try_nets:two", "--batches", "try_nets:noise", *flags]) == 0
    capsys.readouterr()
    assert main(["diagnose", "o", "--try", "--trust", "--quiet"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "not-learning" in said and "not known to be better than it was" in said
    assert "in your own code" not in said and "with gradlab watch" not in said


def test_what_was_interrupted_or_changed_since_is_not_tried(here, capsys, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    assert main([*FAST, "--out", "o"]) == 0
    manifest = here / "o" / "manifest.json"
    whole = manifest.read_text()
    manifest.write_text(json.dumps({**json.loads(whole), "finished": False}))
    assert main(["diagnose", "o", "--try", "--trust", "--quiet"]) == 2
    assert "its training was interrupted" in capsys.readouterr().err
    manifest.write_text(whole)
    (here / "try_nets.py").write_text(NETS + "\n# another\n")
    monkeypatch.delitem(sys.modules, "try_nets")
    assert main(["diagnose", "o", "--try", "--trust", "--quiet"]) == 2
    assert "are not what they were when it was trained" in capsys.readouterr().err
    assert main(["diagnose", "o", "--try", "--trust", "--quiet", "--cell", "none"]) == 2
    assert "unknown cell 'none'" in capsys.readouterr().err


def test_a_loss_in_other_units_is_not_subtracted(here) -> None:  # type: ignore[no-untyped-def]
    from gradlab.analyse.records_from_tables import split_cells
    from gradlab.lab.watch.cures import Attempt, Tried

    request = resolve(flags={"loss": "mse", "lr": 0.01, "steps": 5, "seeds": 2})
    made = []
    for out, done in (("a", ()), ("b", ("standardise-targets",))):
        planned = plan("try_nets:of_five", request, "try_nets:raw", done)
        found = carry_out(planned, planned.folder(here / out, print, force=False), print)
        made.append((Setting(request.base, done), split_cells(found.layers, found.steps)[0]))
    (was, before), (setting, after) = made
    attempt = Attempt(1, (), setting, here, None, after)  # type: ignore[arg-type]
    tried = Tried(None, was, before, True, (attempt,), ())  # type: ignore[arg-type]
    assert tried.measure == measure_of([before, after]) and tried.measure.column == "probe_loss"
    assert tried.gain(attempt) is None
    # the share of the best constant output's loss has no unit
    ratio = [each.last_of_run("probe_loss") / each.known("baseline_loss") for each in (before, after)]
    assert tried.measure.worth(after) == pytest.approx(-np.mean(ratio[1]))
