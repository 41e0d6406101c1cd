"""Code runs when its name was typed, or where `--trust` was: never because a file or a table names it."""

from __future__ import annotations

import csv
import shutil
import sys
from pathlib import Path

import pytest
from cli.conftest import TINY

from gradlab import activations, api
from gradlab.base.errors import ConfigError
from gradlab.cli.main import main

CODE = """
from pathlib import Path
Path("RAN").touch()
import torch
from torch import nn
def act(z): return torch.tanh(z)
def fill(w): w.normal_(0, 0.3)
class Norm(nn.LayerNorm): pass
class Descent(torch.optim.SGD): pass
def loss(outputs, labels): return nn.functional.cross_entropy(outputs, labels)
def data(): return [[float(k % 5), float(k % 7)] for k in range(60)], [k % 2 for k in range(60)]
def column(h): return float(h.mean())
def make(features, classes): return nn.Sequential(nn.Linear(features, 8), nn.Sigmoid(), nn.Linear(8, classes))
"""
KEYS = {
    "network": [("activation", "theirs{n}:act"), ("init", "theirs{n}:fill"), ("norm", "theirs{n}:Norm")],
    "training": [("optimizer", "theirs{n}:Descent"), ("loss", "theirs{n}:loss")],
    "data": [("name", "theirs{n}:data")],
    "recording": [("metrics", "full, theirs{n}:column")],
}
PLACES = [(section, key, text) for section, pairs in KEYS.items() for key, text in pairs]
GRIDS = [("activation", "theirs{n}:act"), ("data", "theirs{n}:data"), ("network.norm", "theirs{n}:Norm")]
count = iter(range(10**6))


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that leaves a file where it is imported. Each test has one of its own: Python imports once."""
    monkeypatch.chdir(tmp_path)
    number = str(next(count))
    (tmp_path / f"theirs{number}.py").write_text(CODE)
    return number


def written(text: str, tmp_path: Path) -> str:
    base = "[run]\nseeds = 1\n[training]\nsteps = 2\nbatch_size = 16\n[network]\ndepth = 2\nwidth = 8\n"
    if "[data]" not in text and "data" not in text:
        base += '[data]\nname = "moons:samples=60"\n'
    for section in ("network", "training"):
        if f"[{section}]\n" in text:
            base = base.replace(f"[{section}]\n", text)
            text = ""
    (tmp_path / "c.toml").write_text(base + text)
    return "c.toml"


def ran(tmp_path: Path) -> bool:
    return (tmp_path / "RAN").exists()


@pytest.mark.parametrize(("section", "key", "text"), [*PLACES, *(("grid", *each) for each in GRIDS)])
def test_a_configuration_starts_no_code_without_trust(  # type: ignore[no-untyped-def]
    gradlab, module, tmp_path, section, key, text
) -> None:
    named = text.format(n=module)
    value = f'["{named}"]' if section == "grid" else f'"{named}"'
    file = written(f"[{section}]\n{key} = {value}\n", tmp_path)
    commands = [["config", "validate", file], ["compare", "--config", file, "--dry-run"]]
    commands += [] if section == "grid" else [["run", "--config", file]]
    for command in commands:
        ended = gradlab(*command)
        assert ended.code == 2 and not ran(tmp_path), command
        assert f"c.toml: {section}.{key}: " in ended.err and "is code" in ended.err, ended.err
        assert "allowed: --trust" in ended.err
    assert gradlab("config", "show", "--config", file).code == 0 and not ran(tmp_path)
    with pytest.raises(ConfigError, match="is code"):
        api.compare(config=file)
    assert not ran(tmp_path)
    assert gradlab("config", "validate", file, "--trust").code == 0 and ran(tmp_path)


def test_what_was_typed_is_the_users_own_word(gradlab, module, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    typed = ["run", *TINY, "--activation", f"theirs{module}:act", "--out", "o"]
    assert gradlab(*typed).code == 0 and ran(tmp_path)
    assert gradlab("run", *TINY, "--set", f"network.activation=theirs{module}:act", "--out", "o").code == 0
    monkeypatch.setenv("GRADLAB_NETWORK__ACTIVATION", f"theirs{module}:act")
    assert gradlab("run", *TINY, "--out", "o").code == 0


def test_a_runs_own_configuration_needs_trust_and_every_suggestion_says_so(gradlab, module, tmp_path) -> None:  # type: ignore[no-untyped-def]
    command = ["run", *TINY, "--activation", f"theirs{module}:act", "--record", "off", "--out", "o"]
    ended = gradlab(*command)
    assert "next: gradlab run --config o/config.toml --trust --record log" in ended.out
    assert gradlab("run", "--config", "o/config.toml", "--out", "again").code == 2
    assert gradlab("run", "--config", "o/config.toml", "--out", "again", "--trust").code == 0
    assert api.run(config="o/config.toml", trust=True, out="library").summary["depth"].iloc[0] == 3


def test_a_cluster_of_a_files_needs_trust(gradlab, module, tmp_path) -> None:  # type: ignore[no-untyped-def]
    file = written("[run]\n", tmp_path)
    Path(file).write_text('[run]\nexecutor = "ray"\nray_address = "127.0.0.1:1"\n')
    ended = gradlab("run", "--config", file)
    assert ended.code == 2 and "is a cluster that would run code" in ended.err


@pytest.fixture(scope="module")
def sick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results with a fault, for which there are remedies."""
    out = tmp_path_factory.mktemp("sick") / "o"
    typed = ["--data", "moons:samples=60", "--depth", "20", "--steps", "4", "--seeds", "2", "--width", "8"]
    assert main(["run", *typed, "--batch-size", "16", "--out", str(out), "--quiet"]) == 0
    return out


@pytest.mark.slow
@pytest.mark.parametrize("text", ["theirs{n}:act", "relu:act"])
def test_tables_and_folders_start_no_code(gradlab, module, sick, tmp_path, text) -> None:  # type: ignore[no-untyped-def]
    """`relu:act` names the attribute act of a module relu, which may lie in the working directory."""
    (tmp_path / "relu.py").write_text(CODE)
    shutil.copytree(sick, "o")
    for name in ("layers.csv", "steps.csv", "summary.csv"):
        with (sick / name).open(newline="") as stream:
            head, *rows = csv.reader(stream)
        for row in rows:
            row[head.index("activation")] = text.format(n=module)
        with Path("o", name).open("w", newline="") as stream:
            csv.writer(stream).writerows([head, *rows])
    for command in (["diagnose", "o", "--ruleset", "all"], ["report", "o"], ["diagnose", "o", "--try"]):
        gradlab(*command)
        assert not ran(tmp_path), command


def test_try_says_what_it_would_import_and_needs_trust(gradlab, module, tmp_path) -> None:  # type: ignore[no-untyped-def]
    small = ["--steps", "60", "--seeds", "1", "--lr", "1e6", "--data", "moons:samples=60", "--out", "w"]
    assert gradlab("watch", f"theirs{module}:make", *small).code == 0
    (tmp_path / "RAN").unlink()
    del sys.modules[f"theirs{module}"]  # else it would not run again, whoever imports it
    ended = gradlab("diagnose", "w")
    assert ended.code == 0 and "--try --trust" in ended.err, ended
    ended = gradlab("diagnose", "w", "--try")
    assert ended.code == 2 and f"theirs{module}:make" in ended.err and "--trust" in ended.err
    assert gradlab("report", "w", "--format", "html").code == 0
    assert not ran(tmp_path), "its advice is a command for this model, which is not imported to write it"
    ended = gradlab("diagnose", "w", "--try", "--trust")
    assert ended.code == 0 and f"importing 'theirs{module}:make', as w says" in ended.err


def test_try_on_a_net_of_ours_imports_its_activation_with_trust_alone(gradlab, module, tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / f"theirs{module}.py").write_text(CODE.replace("torch.tanh(z)", "torch.sigmoid(z)"))
    typed = [
        "--data",
        "moons:samples=60",
        "--depth",
        "20",
        "--steps",
        "4",
        "--seeds",
        "2",
        "--width",
        "8",
        "--batch-size",
        "16",
    ]
    assert gradlab("run", *typed, "--activation", f"theirs{module}:act", "--out", "o").code == 0
    ended = gradlab("diagnose", "o", "--try")
    assert ended.code == 2 and "is code" in ended.err


def test_a_name_of_the_registry_alone_is_looked_up_without_asking() -> None:
    assert activations.registered("relu") and activations.registered("torch.nn:Tanh") is None
    with pytest.raises(ConfigError):
        activations.get("torch.nn:Tanh")
    assert activations.get("torch.nn:Tanh", own=True).text == "torch.nn:Tanh"
