"""Imports go down the floors, and those inside functions have a reason: something heavy that is not always needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from house.imports import Package

KNOWN: dict[str, set[str]] = {
    # pydantic is loaded with the configuration
    "gradlab/analyse/advice.py": {"from pydantic import ValidationError"},
    "gradlab/cli/fix_option.py": {"from gradlab.analyse.findings import ALL_WELL"},
    # `gradlab list KIND` imports the tables of that kind alone
    "gradlab/cli/listing.py": {
        "from gradlab.data import OTHERS",
        "from gradlab.sensors.describe import described",
        "from gradlab.analyse.verdict import HEALTHY",
        "from gradlab.papers.registry import PAPERS",
    },
    # what a finished recording is made into
    "gradlab/recorder/recorder.py": {
        "from gradlab.tables.table import write_csv",
        "from gradlab.recorder.text import report",
        "from gradlab.recorder.sinks import sink",
    },
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
