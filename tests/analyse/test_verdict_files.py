"""A verdict is one file and a ruleset is one file: nothing else of the package needs to know them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import gradlab
from gradlab.analyse.records_from_tables import split_cells
from gradlab.analyse.rule import judge
from gradlab.analyse.verdict import HEALTHY, UNDECIDED
from gradlab.analyse.verdicts import COLUMNS, VERDICTS, WORDS

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```python\n(# gradlab/analyse/verdicts/frozen.py\n.*?)^```", re.M | re.S)
RULESET = """
from gradlab.analyse.ruleset import Hit, Rule, published

def still(records, seed):
    return Hit(0, 1, "no update") if (records.layer("update_ratio")[seed] == 0).any() else None

RULESET = published(name="strict", order=15, summary="no update may be 0", rules=[Rule("Still", "frozen", still)])
"""
CODE = """
import io, json, sys
from contextlib import redirect_stdout
from gradlab.cli.main import main

def said(*arguments):
    out = io.StringIO()
    with redirect_stdout(out):
        assert main(arguments) == 0, arguments
    return out.getvalue()

run = "run --activation tanh --depth 2 --width 4 --steps 100 --lr 1e-30 --seeds 2 --out out --workers 1"
found = {
    "run": said(*run.split()),
    "verdicts": json.loads(said("list", "verdicts", "--json")),
    "rulesets": json.loads(said("list", "rulesets", "--json")),
    "own": json.loads(said("diagnose", "out", "--json"))["diagnoses"],
    "strict": json.loads(said("diagnose", "out", "--json", "--ruleset", "strict"))["diagnoses"],
    "all": said("diagnose", "out", "--ruleset", "all"),
    "report": said("report", "out", "--format", "html"),
}
json.dump(found, sys.stderr)
"""


@pytest.mark.slow
def test_one_file_brings_a_verdict_and_one_file_a_ruleset(tmp_path: Path) -> None:
    """A copy of the package with two files more diagnoses, lists, advises and colours what they define."""
    package = tmp_path / "gradlab"
    shutil.copytree(Path(gradlab.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    (frozen,) = FENCE.findall((ROOT / "docs" / "extending.md").read_text(encoding="utf-8"))
    (package / "analyse" / "verdicts" / "frozen.py").write_text(frozen)
    (package / "analyse" / "rulesets" / "strict.py").write_text(RULESET)
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "FORCE_COLOR": "1", "TERM": "xterm-256color"}
    environment.pop("NO_COLOR", None)
    done = subprocess.run(
        [sys.executable, "-c", CODE], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stderr.splitlines()[-1])

    assert [row["name"] for row in found["verdicts"]] == [HEALTHY.name, UNDECIDED.name, "frozen", *VERDICTS]
    assert found["verdicts"][2] == {
        "name": "frozen",
        "summary": "no update changes any weight",
        "severity": "stops learning",
    }
    (diagnosis,) = found["own"]
    assert diagnosis["verdicts"] == ["frozen", "not-learning"] and diagnosis["verdict_seeds"] == "2/2,2/2"
    assert diagnosis["findings"][0]["evidence"].startswith("no weight of 2 layers changes")
    assert diagnosis["advice"] == "try --lr 0.03: steps as small as these round to nothing"
    assert "\x1b[1;34mfrozen\x1b[0m" in found["run"], "bold and blue"
    assert "try:" in found["run"] and "--lr 0.03" in found["run"]
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert ".badge.frozen { background: var(--ice-back); color: var(--ice); }" in page
    assert "--ice: #0b57a4; --ice-back: #dcecfb;" in page and "--ice: #86bff5; --ice-back: #12314f;" in page
    assert 'class="badge frozen"' in page

    order = ["gradlab", "smdebug", "strict", "autotrainer", "deepchecker", "torchmortem", "neuraldbg"]
    assert [row["name"] for row in found["rulesets"]] == order
    assert found["rulesets"][0]["rules"].startswith("frozen, bad-targets, ")
    assert found["rulesets"][2]["rules"] == "Still (frozen)"
    (strict,) = found["strict"]
    assert strict["ruleset"] == "strict" and strict["verdicts"] == ["frozen"]
    assert strict["findings"][0]["rule"] == "Still" and strict["findings"][0]["name"] == "hidden_2"
    said = [word.rstrip(":") for word in found["all"].split()]
    assert [word for word in said if word in order] == order


def forward_overflow(layers: pd.DataFrame, steps: pd.DataFrame) -> None:
    layers["z_std"] = np.where(layers["layer"] < 8, 10.0 ** (3 * layers["layer"] / 7), np.inf)
    layers["delta_rms"] = np.nan
    layers["nonfinite"] = 640  # on the way down it is everywhere


def round_off(layers: pd.DataFrame, steps: pd.DataFrame) -> None:
    layers["delta_rms"] = layers["delta_rms"].where(layers["delta_rms"] > 1e-45, 0.0)


FAULTY = {
    "dead": {"activation": "relu", "layers_more": {"dead_fraction": 2 / 3, "fan_out": 3}},
    "saturated": {"activation": "hard_tanh", "layers_more": {"saturated_fraction": 0.85}},
    "exploding": {"change": forward_overflow},
    "vanishing": {"decay": 0.5},
    "underflow": {"depth": 80, "decay": 0.236, "change": round_off},
    "diverged": {"layers_more": {"nonfinite": 3}},
    "not-learning": {},
}


@pytest.mark.parametrize("name", FAULTY)
def test_a_verdict_is_judged_by_the_columns_that_the_verdicts_say_they_read(cell, name: str) -> None:  # type: ignore[no-untyped-def]
    """So that a run in progress, which keeps no other, has the verdict of the summary."""
    (records,) = split_cells(*cell(learns=False, **FAULTY[name]))
    known = {
        kind: {column: v for column, v in getattr(records, kind).items() if column in COLUMNS}
        for kind in ("hidden", "output", "run")
    }
    assert any(len(known[kind]) < len(getattr(records, kind)) for kind in known)
    whole, less = judge(records), judge(replace(records, **known))
    assert name in whole.verdicts
    assert (less.verdicts, less.seeds_text) == (whole.verdicts, whole.seeds_text)


def test_every_word_says_what_it_means_and_has_its_colours() -> None:
    assert list(WORDS) == [HEALTHY.name, UNDECIDED.name, *VERDICTS]
    for name, word in WORDS.items():
        assert name == word.name and word.summary and word.style.terminal
        assert all(len(colours) == 2 for colours in (word.style.light, word.style.dark))
    by_name: dict[str, set[object]] = {}
    for word in WORDS.values():
        by_name.setdefault(word.style.name, set()).add(word.style)
    assert all(len(styles) == 1 for styles in by_name.values()), "one name, one style"
