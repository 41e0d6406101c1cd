"""A command line run in this process, in an empty working directory."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gradlab.cli.main import main

TINY = [
    "--data",
    "moons:samples=60",
    "--width",
    "8",
    "--depth",
    "3",
    "--batch-size",
    "16",
    "--steps",
    "4",
    "--seeds",
    "2",
]


@dataclass
class Ended:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out, parse_constant=_refuse)


def _refuse(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


@pytest.fixture
def gradlab(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Ended]:
    """gradlab("run", "--depth", "5"): the exit code and what was printed. The working directory is empty."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> Ended:
        capsys.readouterr()
        code = main(arguments)
        return Ended(code, *capsys.readouterr())

    return call
