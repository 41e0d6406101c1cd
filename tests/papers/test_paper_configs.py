"""The shipped configurations are the experiments of the reproductions: the same cells, to the hash."""

from math import sqrt
from pathlib import Path
from typing import Any

import pytest

from gradlab.config import resolve, shipped
from gradlab.config.plan import Plan, make
from gradlab.papers import glorot_2010, he_2015, nielsen_2015, schoenholz_2017
from gradlab.papers.poole_2016 import SIGMA_B

CONFIGS = shipped.FOLDER
SQUARES = (1.3, 1.76)
EXPERIMENTS: dict[str, dict[str, Any]] = {
    "paper-he-2015": he_2015.SETTINGS,
    "paper-glorot-2010": {
        **glorot_2010.TRAINED,
        "activation": "tanh",
        "init": [glorot_2010.STANDARD, glorot_2010.NORMALISED],
    },
    "paper-glorot-2010-saturation": glorot_2010.SATURATING,
    "paper-schoenholz-2017": {
        **schoenholz_2017.TRAINED,
        "depth": [20, 30, 150],
        "init": [f"gaussian:sigma_w={sqrt(square)!r}:sigma_b={SIGMA_B!r}" for square in SQUARES],
    },
    "paper-nielsen-2015": {
        **nielsen_2015.SETTINGS,
        "depth": list(nielsen_2015.SPEEDS),
        "seeds": 24,
    },
}


def planned(file: Path | None, flags: dict[str, Any]) -> Plan:
    return make(resolve(file=file, environment={}, flags=flags, sets=(), lists=True))


@pytest.mark.parametrize("name", list(EXPERIMENTS))
def test_a_config_is_the_experiment_of_its_paper(name: str) -> None:
    written, measured = planned(CONFIGS / f"{name}.toml", {}), planned(None, EXPERIMENTS[name])
    assert {cell.id for cell in written.cells} == {cell.id for cell in measured.cells}
    assert written.seeds == measured.seeds and written.recording == measured.recording


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("article-*.toml")), ids=lambda path: path.stem)
def test_a_config_of_the_article_resolves(path: Path) -> None:
    assert len(planned(path, {}).cells) == 6
