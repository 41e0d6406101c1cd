"""Every command that gradlab suggests, pasted: it ends with 0."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from gradlab.cli.main import COMMANDS, main

SMALL = {
    "GRADLAB_TRAINING__STEPS": "12",
    "GRADLAB_RUN__SEEDS": "2",
}
"""What every command trains that does not say otherwise: enough to have a verdict."""

MODEL = """
import torch
from torch import nn

def make():
    sizes = [64] + [8] * 9
    layers = [part for a, b in zip(sizes, sizes[1:]) for part in (nn.Linear(a, b), nn.Sigmoid())]
    return nn.Sequential(*layers, nn.Linear(8, 10))

def huge():
    net = make()
    with torch.no_grad():
        net[0].weight.mul_(1e3)
    return net

def plain():
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))

def batches(seed=0):
    g = torch.Generator().manual_seed(seed)
    for _ in range(4):
        yield torch.randn(16, 64, generator=g) * 50, torch.randint(0, 10, (16,), generator=g)
"""

STARTS = [
    "gradlab run --activation sigmoid --depth 8 --out results/run",
    "gradlab run --activation sigmoid --depth 8 --out results/off --record off",
    "gradlab run --activation sigmoid --depth 8 --out results/run --report",
    "gradlab run --activation mymodel:own --depth 3 --out 'results/my own'",
    "gradlab compare --activation sigmoid,hard_sigmoid --depth 5,8 --out results/grid",
    "gradlab compare --activation sigmoid,relu --lr 0.01,0.1 --depth 6 --best-over lr --out results/best",
    "gradlab compare --activation relu --depth 3 --lr 1e8,1e9 --out results/diverged",
    "gradlab compare --activation sigmoid,relu --depth 2 --dry-run",
    "gradlab diagnose results/grid",
    "gradlab diagnose results/grid --ruleset all",
    "gradlab diagnose results/diverged",
    "gradlab report results/grid --format md",
    "gradlab report results/grid results/best --format md",
    "gradlab merge results/grid results/diverged --out results/both",
    "gradlab diagnose results/both",
    "gradlab watch mymodel:make --data digits --out results/watched --report",
    "gradlab watch mymodel:huge --data digits --lr 30 --out results/huge",
    "gradlab watch mymodel:plain --data digits --lr 30 --out results/fast",
    "gradlab watch mymodel:make --batches mymodel:batches --lr 10 --out results/batches",
    "gradlab diagnose results/watched",
    "gradlab diagnose results/huge",
    "gradlab diagnose results/batches",
    "gradlab theory --activation relu --depth 5",
    "gradlab theory --activation tanh,sigmoid --sigma-w 1.5 --sigma-b 0.2 --depth 5 --width 8",
    "gradlab theory --activation tanh --phase-diagram --sigma-w 1,2 --sigma-b 0,0.1",
    "gradlab reproduce --list",
    "gradlab config init mine.toml",
    "gradlab config show --depth 5",
    "gradlab config validate smoke",
    "gradlab env",
    "gradlab cache",
    *(
        f"gradlab list {kind}"
        for kind in ("activations", "inits", "norms", "residuals", "datasets", "papers", "configs")
    ),
]
REFUSED = ["gradlab diagnose results/grid --try", "gradlab run --frobnicate 5"]
"""Commands whose errors name a command."""

SLOW_PAPERS = re.compile(r"gradlab reproduce (?!glorot-2010 --quick|.*--list).*")
"""Minutes of training; the test of each paper runs them."""


def suggested(text: str) -> Iterator[str]:
    """The commands in an output: each ends its line."""
    pattern = rf"\bgradlab (?:{'|'.join(COMMANDS)})\b[^`]*$"
    for line in text.splitlines():
        if found := re.search(pattern, line):
            yield found[0]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, value in SMALL.items():
        monkeypatch.setenv(name, value)
    Path("mymodel.py").write_text(MODEL + "\ndef own(z):\n    return torch.sigmoid(0.5 * z)\n")

    def run(command: str) -> tuple[int, str]:
        capsys.readouterr()
        code = main(shlex.split(command)[1:])
        done = capsys.readouterr()
        return code, done.out + done.err

    return run


@pytest.mark.slow
def test_every_command_that_is_suggested_works_when_it_is_pasted(call) -> None:  # type: ignore[no-untyped-def]
    """Those that pasted commands suggest, too, until nothing new is suggested."""
    outputs: list[tuple[str, str]] = []
    for command in STARTS:
        code, text = call(command)
        assert code == 0, f"{command}\n{text}"
        outputs.append((command, text))
    for command in REFUSED:
        code, text = call(command)
        assert code == 2 and [*suggested(text)], f"{command}\n{text}"
        outputs.append((command, text))
    done, depth = {*STARTS}, 0
    while outputs and depth < 3:
        found = {new: command for command, text in outputs for new in suggested(text) if new not in done}
        done |= {*found}
        outputs, depth = [], depth + 1
        for new, command in found.items():
            if SLOW_PAPERS.fullmatch(new):
                continue
            code, text = call(new)
            assert code == 0, f"{command}\nsuggests {new}\n{text}"
            if not new.endswith("--help"):  # its examples name folders that only their reader has
                outputs.append((new, text))
    assert any("--try --cell" in command for command in done)
    assert any("gradlab watch" in command and "--config" in command for command in done)
    assert any(command.startswith("gradlab run --activation relu --depth 8") for command in done)
