"""Whatever the user's own code does, a command ends with one clear error, its exit code and its own stdout."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cli.conftest import TINY

import gradlab as package
from gradlab import activations

CODE = """
import sys
import torch
from torch import nn
class Foreign(BaseException): pass
class Odd:
    __wrapped__ = property(lambda self: 1 / 0)
    def __call__(self, *given): return given[0]
odd = Odd()
def exits(*given, **named): sys.exit(0)
def foreign(*given, **named): raise Foreign("no")
def sparse(z, *given): return z.to_sparse()
def meta(z, *given): return z.to("meta")
def prints(z): print("PRINTED"); return torch.tanh(z)
def column(h): print("PRINTED"); return float(h.mean())
class Back(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z): return z.clone()
    @staticmethod
    def backward(ctx, g): sys.exit(0)
def back(z): return Back.apply(z)
class Per(nn.Module):
    def __init__(self): super().__init__(); self.weight = nn.Parameter(torch.ones(6))
    def forward(self, z): return torch.tanh(z) * self.weight
class Late(torch.optim.SGD):
    steps = 0
    def step(self):
        Late.steps += 1
        if Late.steps > 4: sys.exit(0)
        super().step()
def weightless(features, classes):
    with torch.device("meta"): return nn.Linear(features, classes)
def small(): return nn.Linear(4, 2)
def batches(): yield torch.randn(8, 4, device="meta"), torch.zeros(8, dtype=torch.long)
"""
MODULES = {
    "exits_0": "import sys; sys.exit(0)",
    "exits_42": "import sys; sys.exit(42)",
    "raises": "class Foreign(BaseException): pass\nraise Foreign('no')",
    "asks": "def __getattr__(name): raise RuntimeError('no ' + name)",
    "placed": "import torch\ntorch.set_default_device('meta')\ndef act(z): return torch.tanh(z)",
}


@pytest.fixture(autouse=True)
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in {**MODULES, "mine": CODE}.items():
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("command", [["run", *TINY, "--activation"], ["run", *TINY, "--loss"], ["watch"]])
def test_a_module_that_ends_or_raises_at_its_import_is_one_error(gradlab, name, command) -> None:  # type: ignore[no-untyped-def]
    ended = gradlab(*command, f"{name}:act", "--json")
    assert ended.code == 2 and name in ended.json["error"]["message"]
    assert "bug" not in ended.out + ended.err and "Traceback" not in ended.err


@pytest.mark.parametrize("attribute", ["exits", "foreign", "odd", "sparse", "meta", "Per"])
@pytest.mark.parametrize("flag", ["--activation", "--init", "--norm", "--loss", "--metrics", "--data"])
def test_a_call_that_ends_or_gives_what_is_no_use_is_one_error(gradlab, flag, attribute) -> None:  # type: ignore[no-untyped-def]
    ended = gradlab("run", *TINY, flag, f"mine:{attribute}", "--json")
    assert ended.code == 2 and f"mine:{attribute}" in ended.json["error"]["message"]
    assert "bug" not in ended.out


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", *TINY, "--activation", "mine:back"],
        ["run", *TINY, "--steps", "20", "--optimizer", "mine:Late"],
        ["watch", "mine:exits"],
        ["watch", "mine:weightless"],
        ["watch", "mine:small", "--batches", "mine:exits"],
        ["watch", "mine:small", "--batches", "mine:batches"],
        ["theory", "--activation", "mine:foreign"],
    ],
    ids=lambda arguments: " ".join(a for a in arguments if "mine" in a),
)
def test_code_that_ends_later_ends_no_command(gradlab, arguments) -> None:  # type: ignore[no-untyped-def]
    ended = gradlab(*arguments, "--json")
    assert ended.code in (1, 2) and "mine:" in ended.json["error"]["message"]
    assert "bug" not in ended.out


@pytest.mark.slow
def test_what_it_prints_is_no_data_in_this_process_and_in_workers(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from gradlab.cli.main import main; sys.exit(main())", "compare", *TINY,
         "--activation", "relu,mine:prints", "--metrics", "standard,mine:column", "--workers", "2", "--json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(package.__file__).parents[1]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "PRINTED" not in done.stdout and "PRINTED" in done.stderr and done.stdout.startswith("{")


def test_a_source_that_is_no_utf_8_still_counts_for_the_identity(tmp_path: Path) -> None:
    found = set()
    for letter in (b"\xe9", b"\xea"):
        text = (
            b"# -*- coding: latin-1 -*-\n# " + letter + b"\nimport torch\ndef act(z): return torch.tanh(z)\n"
        )
        (tmp_path / f"latin_{letter[0]}.py").write_bytes(text)
        found.add(activations.get(f"latin_{letter[0]}:act", own=True).own.source.splitlines()[1])
    assert found == {r"# \xe9", r"# \xea"}


def test_a_working_directory_that_is_gone_is_named_before_anything_trains(tmp_path: Path) -> None:
    script = (
        "import os, sys; os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone');"
        "from gradlab.cli.main import main; sys.exit(main())"
    )

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", script, *arguments], cwd=tmp_path, capture_output=True, text=True,
            env={**os.environ, "PYTHONPATH": str(Path(package.__file__).parents[1]), "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    done = run("run", *TINY, "--out", str(tmp_path / "o"))
    assert done.returncode == 2 and "error: working directory: it is there no more" in done.stderr


def test_a_working_directory_that_goes_while_it_trains_costs_no_result(
    gradlab, monkeypatch, tmp_path
) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "leaves.py").write_text(
        "import os, torch\n"
        "def act(z):\n"
        "    if os.path.isdir('../gone') and z.requires_grad: os.rmdir('../gone')\n"
        "    return torch.tanh(z)\n"
    )
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    out = tmp_path / "o"
    ended = gradlab("run", *TINY, "--activation", "leaves:act", "--out", str(out))
    assert not (tmp_path / "gone").exists()
    assert ended.code == 0 and (out / "manifest.json").exists(), ended.err
    assert f"gradlab report {out}" in ended.out


def test_links_in_a_circle_and_numbers_of_thousands_of_digits_are_named(gradlab, tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "loop").symlink_to("loop")
    ended = gradlab("run", *TINY, "--out", "loop")
    assert ended.code == 2 and ended.err.startswith("error: loop: its links lead in a circle")
    (tmp_path / "c.toml").write_text(f"[training]\nsteps = {'9' * 5000}\n")
    ended = gradlab("config", "validate", "c.toml")
    assert ended.code == 2 and "c.toml: holds a whole number of too many digits" in ended.err


@pytest.mark.parametrize(
    ("flag", "text"),
    [("--lr", "1_0"), ("--depth", "1_0"), ("--lr", "1e308"), ("--weight-decay", "1e19"), ("--probe", "9" * 5000),
     ("--record", "every:" + "9" * 5000), ("--activation", "leaky_relu:negative_slope=1_0"), ("--lr", "١")],
)  # fmt: skip
def test_a_number_is_written_in_digits_and_fits_float32(gradlab, flag, text) -> None:  # type: ignore[no-untyped-def]
    ended = gradlab("run", *TINY[:-8], flag, text)
    assert ended.code == 2 and ended.err.startswith(f"error: {flag}") and "bug" not in ended.err


def test_no_rate_is_advised_where_nothing_was_finite_before_an_update(gradlab) -> None:  # type: ignore[no-untyped-def]
    ended = gradlab("run", *TINY, "--activation", "relu", "--init", "gaussian:sigma_w=1e30", "--json")
    assert ended.json["summary"]["verdict"] == "diverged"
    assert ended.json["summary"]["advice"].startswith("try --init auto: ")


def test_theory_beyond_float64_is_silent_and_right() -> None:
    import warnings

    import numpy as np

    from gradlab import theory

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = theory.predict("gelu", depth=20, sigma_w=1e30)
        theory.band(found, width=64, replicas=2)
    assert found.q[1] == pytest.approx(0.5e120) and np.isinf(found.q[-1])
    assert found.slope_sq == pytest.approx(np.full(20, 0.5)), "far out GELU is a ReLU"
