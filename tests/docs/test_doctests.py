"""The examples in the docstrings of what a user imports: each function has one, and it gives what it says."""

from __future__ import annotations

import doctest
import inspect
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

import gradlab
from gradlab import theory

PUBLIC: dict[str, Any] = {
    **{f"theory.{name}": getattr(theory, name) for name in theory.__all__},
    **{name: getattr(gradlab, name) for name in gradlab.__all__ if name not in ("__version__", "theory")},
}


def examples(name: str) -> list[doctest.DocTest]:
    found = doctest.DocTestFinder(recurse=False).find(inspect.unwrap(PUBLIC[name]), name, globs={})
    return [test for test in found if test.examples]


@pytest.mark.parametrize("name", [name for name in PUBLIC if isinstance(PUBLIC[name], FunctionType)])
def test_every_public_function_has_an_example(name: str) -> None:
    assert examples(name)


@pytest.mark.parametrize("name", [name for name in PUBLIC if examples(name)])
def test_the_examples_hold(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    for test in examples(name):
        doctest.DocTestRunner(verbose=False).run(test, out=said.append)
    assert not said, "".join(said)
