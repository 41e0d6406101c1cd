"""The two states of the code: the commands that run with each, and where the tables they write lie."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.equality.tables import Table, read_csv, read_json
from benchmarks.speed.pairs import ROOT, UNUSUAL, seconds

SMOKE, MODEL = "smoke.toml", "watched_model.py"
# Each command runs in a folder of its own. Only diagnose runs where "default" left its results.
COMMANDS = {
    "smoke": f"compare --config {SMOKE} --out out",
    "default": "compare --out out",
    "jacobian": "run --activation sigmoid --depth 5 --steps 50 --jacobian --histograms --out out",
    "residual": "run --activation relu --norm batch --residual pre --depth 9 --optimizer adam --metrics full "
    "--steps 60 --out out",
    "mse": "run --activation tanh --depth 4 --loss mse --optimizer rmsprop --steps 60 --out out",
    "clip": "run --activation prelu --init orthogonal --clip 1 --depth 6 --steps 60 --out out",
    "unrecorded": "run --activation relu --depth 4 --record off --steps 60 --out out",
    "watch": f"watch {Path(MODEL).stem}:make --data digits --steps 60 --out out",
    "reproduce": "reproduce he-2015 --quick",
    "diagnose": "diagnose out --json --ruleset all",
}
WATCHED = """from torch import nn


def make():
    return nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 10))
"""
# Prints the package's file as a command sees it and as a worker process sees it.
WHERE = """import multiprocessing as mp
method = "forkserver" if "forkserver" in mp.get_all_start_methods() else "spawn"
ask = "__import__('gradlab').__file__"
with mp.get_context(method).Pool(1) as pool:
    print(eval(ask), pool.apply(eval, (ask,)), sep="\\n")
"""


class CannotCompare(ValueError):
    """The user named something that holds no checkout of gradlab."""


@dataclass(frozen=True)
class Side:
    """One state of the code.

    name: before or after; tree: its checkout; home: the folder for whatever its commands write; config: the smoke
    test's configuration, which both sides share
    """

    name: str
    tree: Path
    home: Path
    config: bytes

    def python(self, arguments: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
        """Run Python in this folder so that it imports gradlab from this checkout, worker processes included."""
        environment = {
            k: v for k, v in os.environ.items() if k not in UNUSUAL and not k.startswith("GRADLAB_")
        }
        inherited = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = os.pathsep.join([str(self.tree), *([inherited] if inherited else [])])
        return subprocess.run(
            [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True
        )

    def check(self) -> None:
        """Raise CannotCompare if another checkout's code would run, such as the installed one's."""
        done = self.python(["-c", WHERE], self.home)
        files = done.stdout.splitlines()
        if done.returncode or any(not Path(file).is_relative_to(self.tree) for file in files):
            raise CannotCompare(
                f"{self.name}: gradlab does not come from {self.tree}:\n{done.stdout}{done.stderr}"
            )

    def run(self, name: str) -> str:
        """Run one of COMMANDS; what went wrong in words, or nothing."""
        results, folder = self.home / name, self.home / ("default" if name == "diagnose" else name)
        results.mkdir()
        (folder / MODEL).write_text(WATCHED, encoding="utf-8")
        (folder / SMOKE).write_bytes(self.config)
        done = self.python(["-m", "gradlab", *COMMANDS[name].split()], folder)
        if done.returncode:
            last_line = done.stderr.strip().rpartition("\n")[2]
            return f"{self.name} ends with {done.returncode}: {last_line}"
        if name == "diagnose":
            (results / "stdout.json").write_text(done.stdout, encoding="utf-8")
        return ""

    def tables(self, name: str) -> dict[str, Table]:
        """What a command wrote, by path in its folder. All tables of a folder number the cells alike."""
        folder = self.home / name
        if name == "diagnose":
            return {"stdout.json": read_json(folder / "stdout.json")}
        numbers: dict[str, str] = {}
        paths = sorted(folder.rglob("*.csv"))
        return {path.relative_to(folder).as_posix(): read_csv(path, numbers) for path in paths}

    def default_comparison(self) -> float:
        """Seconds of the whole command, start and tables included, with a results folder that is new."""
        with tempfile.TemporaryDirectory(dir=self.home) as folder:
            arguments = ["-m", "gradlab", "compare", "--out", "out", "--quiet"]
            return seconds(lambda: self.python(arguments, Path(folder)).check_returncode())


@contextmanager
def checkout(text: str) -> Iterator[Path]:
    """The folder of that name, or a temporary worktree of the git revision of that name."""
    if Path(text).is_dir():
        yield Path(text).resolve()
        return
    git = ["git", "-C", str(ROOT), "worktree"]
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder).resolve() / "tree"
        made = subprocess.run(
            [*git, "add", "--quiet", "--detach", tree, text], capture_output=True, text=True
        )
        if made.returncode:
            raise CannotCompare(f"{text} is neither a folder nor a git revision: {made.stderr.strip()}")
        try:
            yield tree
        finally:
            subprocess.run([*git, "remove", "--force", tree], check=True)


def smoke_config(*trees: Path) -> bytes:
    """configs/smoke.toml of the first tree that has one, wherever its folder of configurations lies."""
    for tree in trees:
        for path in [tree / "configs" / SMOKE, *sorted(tree.rglob(SMOKE))]:
            if path.exists():
                return path.read_bytes()
    raise CannotCompare(f"no {SMOKE} in {' or '.join(map(str, trees))}")
