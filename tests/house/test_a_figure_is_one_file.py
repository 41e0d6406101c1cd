"""A figure is one file in gradlab/report/figures: it is listed, plotted and saved, and nothing else knows of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from house.copied import copy_package, several

FIGURE = '''"""The seeds of a cell."""
from gradlab.report import axes
from gradlab.report.figure_spec import FigureSpec


def draw(data):
    figure = axes.new_figure(2.0)
    figure.subplots().plot(data.summary["depth"], data.summary["seeds"], label="seeds by depth")
    return figure


FIGURE = FigureSpec(name="seeds", of="cell", summary="how many seeds there are", draw=draw)
'''
RUN = "run --activation relu --depth 2 --width 4 --data moons --seeds 2 --steps 1 --quiet --out run"
ONE = """
from gradlab.base.registry import Registry
from gradlab.report import figures
figures.FIGURES = Registry("figure", {name: figures.FIGURES[name] for name in ("learning", "seeds")})
"""
PLOT = """
from pathlib import Path
from gradlab.report.figures import plot
from gradlab.store.results import read_folder
print(plot(read_folder(Path("run")), "seeds").axes[0].get_lines()[0].get_label())
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package with one more figure."""
    found = copy_package(tmp_path_factory.mktemp("house"))
    (found / "report" / "figures" / "seeds.py").write_text(FIGURE)
    return found


@pytest.mark.slow
def test_a_figure_is_listed_plotted_and_saved(package: Path, tmp_path: Path) -> None:
    report = ["report", "run", "--format", "svg"]
    listed, ran, _, plotted, drawn = several(
        package, ["list", "figures", "--json"], RUN.split(), ONE, PLOT, report, cwd=tmp_path
    )
    of_cell = [row for row in json.loads(listed.out) if row["of"] == "cell"]
    expected = {"name": "seeds", "summary": "how many seeds there are", "of": "cell"}
    assert of_cell[-1] == expected, "without an order it comes last"
    assert ran.code == 0 and plotted.out == "seeds by depth\n"
    assert "run/figures/seeds.svg" in drawn.out.split(), drawn.err
    assert (tmp_path / "run" / "figures" / "seeds.svg").read_text().startswith("<?xml")
