"""Imports go down the floors, and those inside functions have a reason: something heavy that is not always needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from house.imports import Package

KNOWN: dict[str, set[str]] = {
    # analyse: to have the theory only where there is something to compare with; it loads no more than NumPy
    "gradlab/analyse/agreement.py": {
        "from gradlab import theory",
        "from gradlab import activations, theory",
        "from gradlab.parts import inits",
    },
    # cli: the parts of a command that not every call needs
    "gradlab/cli/diagnose.py": {
        "from gradlab.cli.fix_option import repair_document, repair_saved, repair_text",
        "from gradlab.report.diagnoses import diagnosis_text, side_by_side",
    },
    # cli: `gradlab list KIND` imports the tables of that kind alone
    "gradlab/cli/listing.py": {
        "from gradlab.data import OTHERS",
        "from gradlab.sensors.describe import described",
        "from gradlab.papers.registry import PAPERS",
    },
    # lab: beside others that load torch
    "gradlab/lab/job.py": {"from gradlab.analyse.predicted import predicted_delta, predicted_jacobian"},
    # lab: each way to train imports what is heavy by itself, on use
    "gradlab/lab/sweep.py": {
        "from gradlab.lab.on_ray import train_on_ray",
        "from gradlab.lab.serial import train_here",
        "from gradlab.lab.workers import train_in_workers",
    },
    # lab: meant to load pandas while the workers' server starts, but the package loads its modules on use
    "gradlab/lab/workers.py": {"import gradlab.analyse"},
    # recorder: what a finished recording is made into
    "gradlab/recorder/recorder.py": {
        "from gradlab.tables.table import write_csv",
        "from gradlab.recorder.text import report",
        "from gradlab.recorder.sinks import sink",
    },
    # sensors: their own subpackage, whose files are found later
    "gradlab/sensors/__init__.py": {"from gradlab.sensors import extra"},
    # report: beside others that load more; jinja2 brings markupsafe, and the live verdict has loaded pandas
    "gradlab/report/build.py": {
        "from gradlab.base import atomic",
        "from gradlab.report import figures, html, tables",
    },
    "gradlab/report/html.py": {"from markupsafe import Markup, escape"},
    "gradlab/report/layer_table.py": {"from gradlab.analyse.agreement import agreement"},
    "gradlab/report/progress.py": {"import pandas as pd"},
}
"""Imports that do not belong where they are, by their file."""


def test_imports_inside_functions_load_something_heavy(pytestconfig: pytest.Config) -> None:
    package = Package(pytestconfig.rootpath / "gradlab")
    wrong = [
        f"{each.file}:{each.line}: {each.text}"
        for each in package.superfluous()
        if each.text not in KNOWN.get(each.file, ())
    ]
    assert not wrong, "these belong at the top of their file:\n" + "\n".join(wrong)


def test_which_imports_count_as_superfluous(tmp_path: Path) -> None:
    house = tmp_path / "house"
    house.mkdir()
    (house / "__init__.py").write_text('_HOME = {"draw": "pictures"}\n')
    (house / "light.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch\n"
        "def late():\n    import pandas\n"
    )
    (house / "nets.py").write_text("import torch.nn\n")
    (house / "pictures.py").write_text("import house.nets\n")
    (house / "user.py").write_text(
        "import scipy\n"
        "def f():\n"
        "    import json\n"  # 3: of Python's own
        "    import torch\n"
        "    import house.pictures\n"
        "    from house import nets\n"
        "    from house import draw\n"
        "    import house.light\n"  # 8: loads nothing heavy by itself
        "    import numpy\n"  # 9: scipy has loaded it
        "    from somewhere import something\n"  # 10: not known to be heavy
    )
    assert [(each.file, each.line) for each in Package(house).superfluous()] == [
        ("house/user.py", line) for line in (3, 8, 9, 10)
    ]


def test_the_floors_hold(pytestconfig: pytest.Config) -> None:
    """The contracts of pyproject.toml, as `make check` runs them."""
    pytest.importorskip("importlinter", reason="import-linter is not installed; the extra `test` has it")
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    command = [sys.executable, "-c", code, "--no-cache", "--no-logo"]
    done = subprocess.run(command, cwd=pytestconfig.rootpath, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
