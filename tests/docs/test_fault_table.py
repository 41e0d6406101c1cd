"""Each fault that the documents speak of names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "scaling.md"
ROW = re.compile(r"^\| (?P<fault>[^|]+) \|.*\| (?P<tests>[^|]*) \|$", re.M)


def rows() -> list[tuple[str, str]]:
    table = PAGE.read_text(encoding="utf-8").partition("| fault |")[2].partition("\n\n")[0]
    return [(row["fault"], row["tests"]) for row in ROW.finditer(table)]


def test_the_table_has_its_rows() -> None:
    assert len(rows()) > 20


@pytest.mark.parametrize(("fault", "tests"), rows())
def test_a_fault_names_tests_that_exist(fault: str, tests: str) -> None:
    named = re.findall(r"`(test_\w+\.py)(?:::(test_\w+))?`", tests)
    assert named and len(named) == tests.count("`") // 2, f"no test is named for: {fault}"
    for file, name in named:
        (path,) = (found for folder in ("store", "sweep", "train") for found in (TESTS / folder).glob(file))
        assert not name or f"\ndef {name}(" in path.read_text(encoding="utf-8"), f"{file} has no {name}"


def test_every_promise_about_security_names_tests_that_exist() -> None:
    page = (TESTS.parent / "SECURITY.md").read_text(encoding="utf-8")
    named = re.findall(r"`(?:tests/(\w+)/)?(test_\w+\.py)?(?:::)?(test_\w+)?`", page)
    assert len(named) > 20
    last = ""
    for folder, file, name in named:
        if not (file or name):
            continue
        last = file or last
        paths = [*TESTS.glob(f"{folder or '*'}/{last}")] if file or folder else [*TESTS.glob("*/test_*.py")]
        assert paths, f"there is no {last}"
        found = any(f"\ndef {name}(" in path.read_text(encoding="utf-8") for path in paths)
        assert not name or found, f"there is no {name}"
