"""A published result is one file in gradlab/papers: it is listed, measured and written; nothing else knows."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from house.copied import command, copy_package

PAPER = '''"""Primes do not end."""
from gradlab.papers.paper import Paper
from gradlab.papers.rows import Panel, Row, Series, absolute, exactly

PAPER = Paper(name="euclid-300", title="primes do not end", citation="Euclid, Elements, book IX, "
              "proposition 20")


def reproduce(quick):
    yield Row(row="one more", statement="2 * 3 + 1 is prime", published=7.0, measured=exactly(7.0),
              tolerance=absolute(7.0, 0.0, "exact"), source="proposition 20", provenance="P")
    yield Panel("primes", "n", "nth prime", [Series("primes", [1.0, 2.0], [2.0, 3.0])])
'''


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package with one more paper."""
    found = copy_package(tmp_path_factory.mktemp("house"))
    (found / "papers" / "euclid_300.py").write_text(PAPER)
    return found


@pytest.mark.parametrize("arguments", [("list", "papers"), ("reproduce", "--list")])
def test_a_paper_is_listed_last_where_it_has_no_order(
    package: Path, arguments: tuple[str, ...], tmp_path: Path
) -> None:
    printed = command(package, *arguments, cwd=tmp_path).stdout
    last = " ".join(printed[printed.index("activations-article") :].split())
    assert "euclid-300" in last and "primes do not end" in last
    assert "Euclid, Elements, book IX, proposition 20" in last


def test_a_paper_is_measured_and_written(package: Path, tmp_path: Path) -> None:
    done = command(package, "reproduce", "euclid-300", "--quick", "--report", cwd=tmp_path)
    assert done.returncode == 0 and "1 rows pass, 0 fail" in done.stdout, done.stderr
    folder = tmp_path / "results" / "reproduce"
    assert sorted(path.name for path in folder.iterdir()) == [
        "euclid-300.csv",
        "euclid-300.png",
        "report.html",
    ]
    (row,) = csv.DictReader((folder / "euclid-300.csv").open(encoding="utf-8"))
    assert (row["row"], row["measured"], row["outcome"]) == ("one more", "7.0", "pass")
    assert "primes do not end" in (folder / "report.html").read_text(encoding="utf-8")
