"""The examples that `--help` shows, read out of it and run: each ends with 0."""

from __future__ import annotations

import re
import shlex
import webbrowser
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gradlab.cli.main import ABOUT, COMMANDS, load, main

DEAR = re.compile(
    r"--(?:report|open|format|phase-diagram|try|ruleset|best-over)\b|^gradlab (?:compare|report)"
)
"""What draws, or trains more than one net."""
ELSEWHERE = re.compile(r"gradlab reproduce (?!--list)")
"""Minutes of training; the test of each paper runs them."""

ENVIRONMENT = {
    "GRADLAB_TRAINING__STEPS": "2",
    "GRADLAB_NETWORK__WIDTH": "8",
    "GRADLAB_RUN__SEEDS": "1",
}
"""What an example trains that does not say otherwise."""

MODEL = """
import torch
from torch import nn

def make_net():
    return nn.Sequential(nn.Linear(64, 8), nn.Sigmoid(), nn.Linear(8, 10))

class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(4, 8), nn.Sigmoid(), nn.Linear(8, 3))

def batches(seed=0):
    g = torch.Generator().manual_seed(seed)
    for _ in range(2):
        yield torch.randn(8, 4, generator=g), torch.randint(0, 3, (8,), generator=g)
"""


def commands(name: str) -> Iterator[Any]:
    """A command, and those that it holds."""
    found = load(name)
    yield found
    yield from getattr(found, "commands", {}).values()


def examples() -> Iterator[str]:
    texts = [ABOUT, *(each.help or "" for name in COMMANDS for each in commands(name))]
    for text in texts:
        for line in text.splitlines():
            example, *_ = re.split(r"\s{2,}", line.strip())  # behind it ABOUT says what it answers
            if example.startswith("gradlab ") and "COMMAND" not in example:
                yield example


EXAMPLES = [example for example in dict.fromkeys(examples()) if not ELSEWHERE.match(example)]


@pytest.fixture
def paste(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], int]:
    """Run a command line where the folders, models and files are that the examples speak of."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(webbrowser, "open", lambda link: True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    package = Path("mypackage")
    package.mkdir()
    for name in ("__init__", "models", "data"):
        (package / f"{name}.py").write_text(MODEL)
    columns = ",".join(f"x{i}" for i in range(64))
    rows = (f"{','.join(str((i * k) % 7) for k in range(64))},{'no' if i % 2 else 'yes'}" for i in range(60))
    Path("train.csv").write_text("\n".join([f"{columns},y", *rows]))

    def run(command: str) -> int:
        if command.startswith("gradlab watch"):
            monkeypatch.delenv("GRADLAB_NETWORK__WIDTH")  # has no meaning for a model of one's own
        return main(shlex.split(command)[1:])

    return run


NEEDED = {
    "results/FOLDER": "gradlab compare --activation sigmoid,relu --depth 20 --out results/FOLDER",
    "results/ONE": "gradlab run --activation sigmoid --depth 2 --out results/ONE",
    "results/OTHER": "gradlab run --activation relu --depth 2 --out results/OTHER",
    "results/ON-A": "gradlab run --activation sigmoid --depth 2 --out results/ON-A",
    "results/ON-B": "gradlab run --activation relu --depth 2 --out results/ON-B",
}
"""What makes the folders that an example reads."""


@pytest.mark.parametrize(
    "example", [pytest.param(each, marks=[pytest.mark.slow] * bool(DEAR.search(each))) for each in EXAMPLES]
)
def test_an_example_of_the_help_works_when_it_is_pasted(paste: Callable[[str], int], example: str) -> None:
    for folder, command in NEEDED.items():
        if folder in example:
            assert paste(f"{command} --quiet") == 0
    assert paste(example) == 0


def test_every_command_has_an_example() -> None:
    without = [
        each.name for name in COMMANDS for each in commands(name) if "gradlab " not in (each.help or "")
    ]
    assert without == ["", "schema"], "config's are those of its commands; schema takes nothing"


def test_no_help_shows_a_type_of_python(capsys: pytest.CaptureFixture[str]) -> None:
    for name in COMMANDS:
        inner = [each.name for each in [*commands(name)][1:]]
        for words in ([name], *([name, each] for each in inner)):
            assert main([*words, "--help"]) == 0
            assert not re.search(r"<(?:bool|str|int|float|list|Path)\b", capsys.readouterr().out), words
