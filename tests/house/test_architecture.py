"""docs/architecture.md speaks of the package as it is."""

from __future__ import annotations

import re
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest

ARROW = re.compile(r"^ +(\w+(?: & \w+)*) --> (\w+(?: & \w+)*)$", re.M)
ROOM = re.compile(r"^\| `([a-z]+)` \| .+", re.M)
PATH = re.compile(r"`([\w.-]+/[\w./-]*)`|\]\(([\w./-]+)\)")


@pytest.fixture(scope="module")
def root(pytestconfig: pytest.Config) -> Path:
    return pytestconfig.rootpath


@pytest.fixture(scope="module")
def text(root: Path) -> str:
    return (root / "docs" / "architecture.md").read_text(encoding="utf-8")


def drawn(text: str) -> list[set[str]]:
    """The floors of the drawing from the top, each with its rooms."""
    arrows = [tuple(set(side.split(" & ")) for side in arrow) for arrow in ARROW.findall(text)]
    for (_, below), (above, _) in pairwise(arrows):
        assert below == above, "an arrow goes from one floor to the next"
    return [arrows[0][0], *(below for _, below in arrows)]


def test_the_drawings_order_is_the_contracts(root: Path, text: str) -> None:
    with (root / "pyproject.toml").open("rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract["id"] == "floors")
    assert drawn(text) == [set(re.split(r" [|:] ", layer)) for layer in layers]


def test_every_room_is_drawn_and_described(root: Path, text: str) -> None:
    packages = {path.parent.name for path in (root / "gradlab").glob("*/__init__.py")}
    modules = {path.stem for path in (root / "gradlab").glob("[!_]*.py")}
    floors = drawn(text)
    assert set().union(*floors) == packages | modules
    described = ROOM.findall(text)
    assert sorted(described) == sorted(packages | modules), "one sentence a room"
    assert described == [room for floor in floors for room in described if room in floor], (
        "the top floor first"
    )


def test_every_path_exists(root: Path, text: str) -> None:
    named = [root / path if path else root / "docs" / link for path, link in PATH.findall(text)]
    assert len(named) > 30
    assert not [path for path in named if not path.exists()]
