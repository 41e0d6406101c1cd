"""The wheel, in an environment that holds it and what it requires, and nothing else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PACKED = ("pyproject.toml", "README.md", "LICENSE")
BUILD = (
    "import sys; from setuptools import build_meta as hooks; print(getattr(hooks, sys.argv[1])(sys.argv[2]))"
)


def build(hook: str, source: Path, into: Path) -> Path:
    """What pip calls to build: the backend's own hook (PEP 517), with the setuptools that is installed here."""
    done = subprocess.run(
        [sys.executable, "-c", BUILD, hook, str(into)],
        cwd=source,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return into / done.stdout.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, since a build leaves files beside what it builds."""
    copy = tmp_path_factory.mktemp("source")
    shutil.copytree(ROOT / "gradlab", copy / "gradlab", ignore=shutil.ignore_patterns("__pycache__"))
    for name in PACKED:
        shutil.copy(ROOT / name, copy)
    return copy


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("build_wheel", source, tmp_path_factory.mktemp("wheel"))


def required(name: str, extras: frozenset[str] = frozenset()) -> set[str]:
    """The distributions that `name` needs, those included that they need in turn."""
    found: set[str] = set()
    todo = [(name, extras)]
    while todo:
        current, wanted = todo.pop()
        for text in distribution(current).requires or []:
            requirement = Requirement(text)
            marker = requirement.marker
            if marker and not any(marker.evaluate({"extra": extra}) for extra in wanted or {""}):
                continue
            if requirement.name.lower() not in found:
                found.add(requirement.name.lower())
                todo.append((requirement.name, frozenset(requirement.extras)))
    return found


def link_distribution(name: str, folder: Path) -> None:
    """The installed files of one distribution, as links at their first level."""
    try:
        files = distribution(name).files or []
    except PackageNotFoundError:  # its marker holds for a machine that this is not
        return
    base = Path(str(distribution(name).locate_file("")))
    for first in {file.parts[0] for file in files} - {"..", "__pycache__"}:
        if not (folder / first).exists():
            (folder / first).symlink_to(base / first)


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with the wheel and the closure of its requirements, taken from this one."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, with_pip=False, symlinks=os.name != "nt")
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    asked = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"],
        capture_output=True,
        text=True,
    )
    packages = Path(asked.stdout.strip())
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    for name in required("gradlab"):
        link_distribution(name, packages)
    return python


def run(python: Path, folder: Path, *arguments: str) -> str:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [python, *arguments], cwd=folder, env=inherited, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_readmes_first_commands_run_from_the_wheel(python: Path, tmp_path: Path) -> None:
    """The commands under "Three things to have from it", the smallest of each, and the first one as it stands."""

    def gradlab(command: str) -> str:
        return run(python, tmp_path, "-m", "gradlab", *command.split())

    where = run(python, tmp_path, "-c", "import gradlab; print(gradlab.__file__)")
    assert Path(where.strip()).is_relative_to(python.parents[1])
    first = gradlab("run --activation sigmoid --depth 20 --report")
    assert "The gradient dies" in first
    assert "report.html" in first
    gradlab("theory --activation tanh --sigma-w 1.5 --depth 50")
    gradlab("compare --config init-matters --steps 5 --seeds 1")
    gradlab("reproduce williams-1998 --quick")


def test_the_readmes_own_loop_runs_from_the_wheel(python: Path, tmp_path: Path) -> None:
    [block] = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text("utf-8"), re.M | re.S)
    assert "vanishing" in run(python, tmp_path, "-c", block)


def test_only_what_the_package_requires_is_there(python: Path, tmp_path: Path) -> None:
    """Else the tests above would run with what happens to be installed here."""
    for name in ("pytest", "pyarrow", "ray"):
        run(python, tmp_path, "-c", f"import importlib.util as u; assert u.find_spec({name!r}) is None")


def test_the_source_archive_builds_the_same_wheel(source: Path, wheel: Path, tmp_path: Path) -> None:
    archive = build("build_sdist", source, tmp_path)
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path, filter="data")
    again = build("build_wheel", tmp_path / archive.name.removesuffix(".tar.gz"), tmp_path)
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as other:
        assert {each.filename: each.CRC for each in one.infolist()} == {
            each.filename: each.CRC for each in other.infolist()
        }
        names = set(one.namelist())
    inside = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "gradlab").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert inside <= names, "every file of the package is in the wheel"
