"""A copy of the package in which a test may place a file: what one file adds must work without touching another."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import gradlab


def copy_package(where: Path) -> Path:
    """The package's folder in a copy below `where`."""
    ignored = shutil.ignore_patterns("__pycache__")
    return Path(shutil.copytree(Path(gradlab.__file__).parent, where / "copy" / "gradlab", ignore=ignored))


def command(package: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The command `gradlab` of the copy."""
    return python(package, "-m", "gradlab", *arguments, cwd=cwd)


def python(package: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(package.parent), "NO_COLOR": "1"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
    )
