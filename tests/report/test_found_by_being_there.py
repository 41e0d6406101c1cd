"""A figure is one file and a paper is one file: put into a copy of the package, nothing else has to know of them."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from synthetic_results import make
from test_page import write_folder

import gradlab

FIGURE = '''"""A figure that is nowhere else."""
from gradlab.report import axes
from gradlab.report.figure_spec import FigureSpec


def draw(data):
    figure = axes.new_figure(2.0)
    figure.subplots().plot(data.summary["depth"], data.summary["seeds"], label="seeds by depth")
    return figure


FIGURE = FigureSpec(name="seeds", of="cell", summary="how many seeds there are", draw=draw)
'''
PAPER = '''"""A paper that is nowhere else."""
from gradlab.papers.paper import Paper
from gradlab.papers.rows import Panel, Row, Series, absolute, exactly

PAPER = Paper(name="euclid-300", title="primes do not end", citation="Euclid, Elements, book IX, "
              "proposition 20")


def reproduce(quick):
    yield Row(row="a prime more", statement="2 * 3 + 1 is prime", published=7.0, measured=exactly(7.0),
              tolerance=absolute(7.0, 0.0, "exact"), source="proposition 20", provenance="P")
    yield Panel("primes", "n", "nth prime", [Series("primes", [1.0, 2.0], [2.0, 3.0])])
'''
PLOT = """
import sys
from pathlib import Path
from gradlab.report.figures import plot
from gradlab.store.results import read_folder
print(plot(read_folder(Path(sys.argv[1])), "seeds").axes[0].get_lines()[0].get_label())
"""


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a copy of the package in it, to which the two files were added."""
    folder = tmp_path_factory.mktemp("copy")
    package = folder / "gradlab"
    shutil.copytree(Path(gradlab.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "report" / "figures" / "seeds.py").write_text(FIGURE)
    (package / "papers" / "euclid_300.py").write_text(PAPER)
    return folder


def python(copied: Path, *arguments: str | Path) -> str:
    """What a fresh process prints that imports the copy."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=copied, env={**os.environ, "PYTHONPATH": str(copied)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_figure_is_listed_plotted_and_saved(copied: Path, tmp_path: Path) -> None:
    rows = json.loads(python(copied, "-m", "gradlab", "list", "figures", "--json"))
    assert {"name": "seeds", "summary": "how many seeds there are", "of": "cell"} in rows
    assert [row["name"] for row in rows if row["of"] == "cell"][-1] == "seeds", (
        "without an order it comes last"
    )
    folder = write_folder(make(("relu",), (3,)), tmp_path / "run")
    assert "seeds by depth" in python(copied, "-c", PLOT, folder)
    printed = python(copied, "-m", "gradlab", "report", folder, "--format", "svg").split()
    assert str(folder / "figures" / "seeds.svg") in printed
    assert (folder / "figures" / "seeds.svg").read_text().startswith("<?xml")


def test_a_paper_is_listed_run_and_written(copied: Path) -> None:
    assert "euclid-300" in python(copied, "-m", "gradlab", "list", "papers").splitlines()[-2]
    last = python(copied, "-m", "gradlab", "reproduce", "--list").splitlines()[-1]
    assert last.split(maxsplit=1) == [
        "euclid-300",
        "primes do not end (Euclid, Elements, book IX, proposition 20)",
    ]
    printed = python(copied, "-m", "gradlab", "reproduce", "euclid-300", "--quick", "--report")
    assert "1 rows pass, 0 fail" in printed
    folder = copied / "results" / "reproduce"
    assert sorted(path.name for path in folder.iterdir()) == [
        "euclid-300.csv",
        "euclid-300.png",
        "report.html",
    ]
    (row,) = csv.DictReader((folder / "euclid-300.csv").open(encoding="utf-8"))
    assert (row["row"], row["measured"], row["outcome"]) == ("a prime more", "7.0", "pass")
    assert "primes do not end" in (folder / "report.html").read_text(encoding="utf-8")
