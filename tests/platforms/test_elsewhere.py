"""gradlab where Linux's calls are not: a process that pretends to be on Windows or macOS (elsewhere/sitecustomize.py).

No such machine is at hand, so these are simulations: they show that no call of another system is needed, that workers
start by `spawn`, that no file is replaced or removed while it is open, and that no file name has a colon. They do not
show that the packages below gradlab work there.
"""

from __future__ import annotations

import csv
import os
import random
import subprocess
import sys
from pathlib import Path

import filelock
import pytest

from gradlab.base import lock

ROOT = Path(__file__).parents[2]
OUT = "a folder with Ünicode"
FAST = ("--steps", "10", "--seeds", "2", "--workers", "2")
COMPARE = (
    "compare",
    "--activation",
    "relu,leaky_relu:negative_slope=0.3",
    "--init",
    "gaussian:sigma_w=1",
    "--depth",
    "2,3",
)
COMMANDS = [
    (*COMPARE, *FAST, "--out", OUT, "--set", "run.checkpoint=5"),
    (*COMPARE, *FAST, "--out", OUT),  # all is there already
    ("report", OUT, "--format", "pdf,html"),
    ("diagnose", OUT),
    ("run", "--depth", "2", *FAST, "--out", OUT, "--force"),
    ("run", "--data", "Ü data.csv", "--target", "y", "--depth", "2", *FAST, "--out", "own"),
    ("run", "--data", "Ü data.csv", "--target", "y", "--depth", "3", *FAST, "--out", "kept"),
    ("cache", "--clear"),
    ("watch", "model:net", "--steps", "10", "--seeds", "1", "--out", "watched"),
]


def pretending(
    system: str, folder: Path, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    paths = f"{ROOT / 'tests' / 'platforms' / 'elsewhere'}{os.pathsep}{ROOT}"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=inherited
        | {
            "PYTHONPATH": paths,
            "PRETEND": system,
            "XDG_CACHE_HOME": str(folder / "cache"),
            "GRADLAB_DEBUG": "1",
        }
        | environment,
        capture_output=True,
        text=True,
        encoding=environment.get("PYTHONIOENCODING", "utf-8"),
        timeout=300,
    )


@pytest.mark.slow
@pytest.mark.parametrize("system", ["windows", "macos"])
def test_every_kind_of_command_works_there(system: str, tmp_path: Path) -> None:
    draw = random.Random(0)
    with (tmp_path / "Ü data.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(
            [["a", "b", "y"], *[[draw.random(), draw.random(), row % 2] for row in range(200)]]
        )
    (tmp_path / "model.py").write_text(
        "from torch import nn\n\n\ndef net():\n    return nn.Sequential(nn.Linear(64, 8), nn.Linear(8, 10))\n"
    )
    for command in COMMANDS:
        done = pretending(system, tmp_path, "-m", "gradlab", *command)
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    assert {each.name for each in (tmp_path / "own").iterdir()} >= {"layers.csv", "manifest.json"}


@pytest.mark.slow
def test_workers_started_by_spawn_give_the_bytes_of_one_process(tmp_path: Path) -> None:
    for count in ("1", "2"):
        done = pretending("macos", tmp_path, "-m", "gradlab", *COMPARE, *FAST[:-1], count, "--out", count)
        assert done.returncode == 0, done.stderr
    for table in ("layers.csv", "steps.csv", "summary.csv"):
        assert (tmp_path / "1" / table).read_bytes() == (tmp_path / "2" / table).read_bytes()


def test_the_simulation_takes_away_what_it_says(tmp_path: Path) -> None:
    """Else the tests above could not fail."""
    program = """
import ctypes, multiprocessing, os, pathlib, signal
attempts = {
    "fork": lambda: os.fork(),
    "affinity": lambda: os.sched_getaffinity(0),
    "mask": lambda: signal.pthread_sigmask(signal.SIG_BLOCK, ()),
    "proc": lambda: pathlib.Path("/proc/meminfo").read_text(),
    "folder": lambda: os.open(".", os.O_RDONLY),
    "colon": lambda: pathlib.Path("a:b").write_text(""),
    "colon folder": lambda: pathlib.Path("a:b").mkdir(),
    "link": lambda: pathlib.Path("link").symlink_to("there"),
    "program": lambda: ctypes.CDLL(None),
    "server": lambda: multiprocessing.get_context("forkserver"),
}
pathlib.Path("held").write_text("")
held = open("held")
attempts["replaced"] = lambda: pathlib.Path("other").replace("held")
attempts["removed"] = lambda: pathlib.Path("held").unlink()
pathlib.Path("other").write_text("")
for name, attempt in attempts.items():
    try:
        attempt()
    except (AttributeError, OSError, TypeError, ValueError):
        continue
    print(name)
held.close()
pathlib.Path("other").replace("held")
"""
    done = pretending("windows", tmp_path, "-c", program)
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_a_console_that_has_few_letters(encoding: str, tmp_path: Path) -> None:
    """Windows' usual code page, and the C locale: what cannot be shown is replaced, and nothing stops."""
    done = pretending(
        "",
        tmp_path,
        *("-m", "gradlab", "theory", "--activation", "tanh", "--depth", "2"),
        PYTHONIOENCODING=encoding,
        PYTHONUTF8="0",
        LC_ALL="C",
    )
    assert done.returncode == 0, done.stderr
    assert "tanh" in done.stdout


def test_a_system_without_file_locks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """filelock then falls back to a file that outlives its writer: two writers could not be told from one that died."""
    monkeypatch.setattr(lock, "FileLock", filelock.SoftFileLock)
    with pytest.raises(OSError, match="lock"):
        lock.Lock(tmp_path / "lock")
    assert not (tmp_path / "lock").exists()
