"""A copy of the package in which a test may place a file: what one file adds must work without touching another."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import gradlab

SEVERAL = """
import contextlib, io, json, sys
from gradlab.cli.main import main

ended = []
for call in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = exec(call) if isinstance(call, str) else main(call)
    ended.append([code, out.getvalue(), err.getvalue()])
print(json.dumps(ended))
"""


class Ended(NamedTuple):
    code: int | None
    out: str
    err: str


def copy_package(where: Path) -> Path:
    """The package's folder in a copy below `where`."""
    ignored = shutil.ignore_patterns("__pycache__")
    return Path(shutil.copytree(Path(gradlab.__file__).parent, where / "copy" / "gradlab", ignore=ignored))


def command(package: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The command `gradlab` of the copy."""
    return python(package, "-m", "gradlab", *arguments, cwd=cwd)


def several(package: Path, *calls: list[str] | str, cwd: Path) -> list[Ended]:
    """Commands of the copy, and lines of Python between them, one after the other in one process."""
    done = python(package, "-c", SEVERAL, json.dumps(calls), cwd=cwd)
    assert done.returncode == 0, done.stderr
    return [Ended(*each) for each in json.loads(done.stdout)]


def python(package: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(package.parent), "NO_COLOR": "1"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
    )
