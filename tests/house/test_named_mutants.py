"""The hand-picked mutants of benchmarks/mutants are of the code as it is, and their tests exist."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.mutants.named import NAMED, Named

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("mutant", NAMED, ids=lambda mutant: mutant.mistake)
def test_the_text_that_it_changes_stands_there_once(mutant: Named) -> None:
    assert (ROOT / mutant.file).read_text(encoding="utf-8").count(mutant.old) == 1
    assert mutant.old != mutant.new
    file, _, name = mutant.test.partition("::")
    assert f"\ndef {name}" in (ROOT / file).read_text(encoding="utf-8")


def test_each_is_in_the_documentation() -> None:
    text = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
    for mutant in NAMED:
        assert f"| {mutant.mistake} | `{mutant.test.removeprefix('tests/')}` |" in text


def test_no_two_are_the_same() -> None:
    assert (
        len({mutant.mistake for mutant in NAMED})
        == len({(m.file, m.old, m.new) for m in NAMED})
        == len(NAMED)
    )
