"""docs/gallery.md, made from the files of `gradlab reproduce --all`; README's counts are its counts."""

import re
from pathlib import Path

import pytest
from mutations import MUTATIONS

from gradlab.papers import gallery
from gradlab.papers.registry import PAPERS

ROW = {
    "row": "a_b",
    "statement": "|x| * 2",
    "published": "1.0",
    "measured": "1.23456789",
    "ci_low": "1.0",
    "ci_high": "2.0",
}
REST = {"tolerance": "0 to 2: why", "outcome": "pass", "provenance": "P", "found": ""}


def test_the_gallery_has_a_section_for_every_result_and_nothing_else(pytestconfig: pytest.Config) -> None:
    text = (pytestconfig.rootpath / "docs" / "gallery.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == list(PAPERS)
    figures = {path.stem for path in (pytestconfig.rootpath / "docs" / "gallery").iterdir()}
    assert figures == set(PAPERS)


def test_readme_says_what_the_gallery_counts(pytestconfig: pytest.Config) -> None:
    text = (pytestconfig.rootpath / "docs" / "gallery.md").read_text(encoding="utf-8")
    counts = re.search(r"(\d+) sources, (\d+) asserted rows", text)
    assert counts
    outcomes = re.findall(r"\| (pass|fail|not asserted) \| [PDR] \|$", text, re.MULTILINE)
    assert counts.groups() == (str(len(PAPERS)), str(sum(each != "not asserted" for each in outcomes)))
    readme = " ".join(Path(pytestconfig.rootpath / "README.md").read_text(encoding="utf-8").split())
    failing = f"{outcomes.count('fail')} do not hold, and say what was found instead"
    assert f"{counts[0]}, measured. {failing}; each of the others fails under one of" in readme
    assert f"one of {len(MUTATIONS)} deliberate breaks" in readme


def test_a_row_shows_what_it_holds_without_breaking_its_table() -> None:
    (row,) = [line for line in gallery.page({"lu-2019": [ROW | REST]}).splitlines() if "a\\_b" in line]
    assert row == "| **a\\_b**: \\|x\\| \\* 2 | 1 | 1.23457 [1, 2] | 0 to 2 | pass | P |"


def test_a_row_that_fails_says_what_was_found_and_counts() -> None:
    text = gallery.page({"lu-2019": [ROW | REST, ROW | REST | {"outcome": "fail", "found": "3 * 2"}]})
    assert "2 asserted rows, of which 1 pass and 1\nfail" in text
    assert "\\|x\\| \\* 2. *Found: 3 \\* 2* | 1 |" in text
