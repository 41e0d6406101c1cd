"""The documentation's site, the citation and the lowest versions say what the package says."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import gradlab
from gradlab.analyse.verdicts import WORDS
from gradlab.cli.main import COMMANDS

ROOT = Path(__file__).parents[2]


def test_the_citation_names_this_version() -> None:
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {gradlab.__version__}\n" in citation


def test_the_lowest_versions_are_those_of_the_package() -> None:
    """torch is the exception: its lower versions for the CPU alone are in no index that everybody has."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    asked = [*project["dependencies"], *project["optional-dependencies"]["parquet"]]
    allowed = dict(re.fullmatch(r"([\w-]+)>=([\d.]+)", each).groups() for each in asked)  # type: ignore[union-attr]
    lines = (ROOT / "constraints-lowest.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if not line.startswith("#"))
    del allowed["torch"]
    for name, version in allowed.items():
        assert pinned[name].removesuffix(".0").removesuffix(".0") == version.removesuffix(".0"), name


@pytest.mark.slow
def test_the_site_is_built_and_nothing_in_it_leads_nowhere(tmp_path: Path) -> None:
    """Warnings are errors: a link, an anchor or a name of the library that is not there."""
    if importlib.util.find_spec("mkdocs") is None:
        pytest.skip("needs the extra docs")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    headings = re.findall(
        r'<h2 id="gradlab-(\w+)">', (tmp_path / "commands.html").read_text(encoding="utf-8")
    )
    assert headings == list(COMMANDS)
    words = re.findall(r"<tr>\s*<td>([\w-]+)</td>", (tmp_path / "verdicts.html").read_text(encoding="utf-8"))
    assert words == list(WORDS)
    assert (tmp_path / "results" / "reference" / "sigmoid-depth-20.png").stat().st_size > 10_000
    scripts = [
        f"{page.relative_to(tmp_path)}: {source}"
        for page in tmp_path.rglob("*.html")
        for source in re.findall(
            r'<(?:script|link|img)[^>]+(?:src|href)="(https?:[^"]+)"', page.read_text("utf-8")
        )
    ]
    assert not scripts, "a page fetches nothing from elsewhere"
