"""Runs tests against one mutant: a copy of the repository, and a forked process for each so that torch loads once."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import pytest

PRELOADED = (
    "torch",
    "pandas",
    "scipy.stats",
    "scipy.optimize",
    "scipy.integrate",
    "matplotlib.figure",
    "pydantic",
)
PATIENCE = 20
"""Times as long as its processor time a trial may take: whoever waits for ever is killed, and a busy machine is not
taken for one that waits."""
NO_TESTS = int(pytest.ExitCode.NO_TESTS_COLLECTED)
PRELOADED += (
    "sklearn.datasets",
    "hypothesis",
    "rich.console",
    "typer",
    "safetensors.torch",
    "plotly.graph_objects",
)


@dataclass(frozen=True)
class Outcome:
    killed: bool
    by: str
    """The test that failed first, "too long", or why nothing ran."""
    seconds: float


@dataclass(frozen=True)
class New:
    """The tests whose names begin with one of `beginnings`, without the known ones."""

    beginnings: tuple[str, ...] = ()
    known: Collection[str] = ()

    def __contains__(self, name: str) -> bool:
        return name.startswith(self.beginnings) and name not in self.known


class Copy:
    """A copy of the repository's files in which mutants are put and taken out again."""

    def __init__(self, root: Path, place: Path) -> None:
        self.place = place
        self._tried = 0
        shutil.rmtree(place, ignore_errors=True)
        listed = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard"],
            cwd=root,
            check=True,
            capture_output=True,
            text=True,
        )
        for name in listed.stdout.splitlines():
            if (root / name).is_file():
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(root / name, place / name)
        for name in ("gradlab", "tests"):  # what Python and pytest have compiled is valid here, too
            for compiled in (root / name).rglob("__pycache__/*.pyc"):
                (place / compiled.relative_to(root)).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(compiled, place / compiled.relative_to(root))

    def run(self, file: str, text: str, tests: Sequence[str], new: New, limit_s: float) -> Outcome:
        """Puts `text` in the file's place, runs the tests until one fails, and puts the old text back."""
        path = self.place / file
        old, stamp = path.read_text(encoding="utf-8"), path.stat()
        path.write_text(text, encoding="utf-8")
        self._tried += 1
        # a time of its own, so that no other text's compiled code is taken for it
        os.utime(path, (stamp.st_atime, stamp.st_mtime + 10 * self._tried))
        try:
            return self._run(tests, new, limit_s)
        finally:
            path.write_text(old, encoding="utf-8")
            os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))

    def _run(self, tests: Sequence[str], new: New, limit_s: float) -> Outcome:
        begun = time.monotonic()
        verdict = self.place / ".verdict"
        verdict.unlink(missing_ok=True)
        child = os.fork()
        if child == 0:
            os.setsid()
            resource.setrlimit(resource.RLIMIT_CPU, (ceil(limit_s), ceil(limit_s)))
            _child(self.place, tests, new, verdict)
        while time.monotonic() < begun + PATIENCE * limit_s:
            done, status = os.waitpid(child, os.WNOHANG)
            if done and os.WIFSIGNALED(status):
                return Outcome(True, "too long", time.monotonic() - begun)
            if done:
                spent = time.monotonic() - begun
                by = verdict.read_text() if verdict.exists() else ""
                code = os.waitstatus_to_exitcode(status)
                return Outcome(code not in (0, NO_TESTS), "no test ran" if code == NO_TESTS else by, spent)
            time.sleep(0.02)
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return Outcome(True, "too long", time.monotonic() - begun)


class _Chosen:
    """Keeps the chosen tests and the new ones, in that order, and notes the first that fails."""

    def __init__(self, tests: Sequence[str], new: New, verdict: Path) -> None:
        self._rank = {name: rank for rank, name in enumerate(tests)}
        self._new, self._verdict = new, verdict

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        last = len(self._rank)
        kept = [one for one in items if one.nodeid in self._rank or one.nodeid in self._new]
        items[:] = sorted(kept, key=lambda one: self._rank.get(one.nodeid, last))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self._verdict.exists():
            self._verdict.write_text(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed and not self._verdict.exists():
            self._verdict.write_text(f"{report.nodeid} (does not import)")


def _child(place: Path, tests: Sequence[str], new: New, verdict: Path) -> None:
    code = 3
    try:
        output = os.open(place / ".output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(output, stream)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(place)
        os.environ["PYTHONPATH"] = str(place)
        sys.path[:] = [str(place), *(entry for entry in sys.path if entry)]
        for name in [name for name in sys.modules if name.split(".")[0] in ("gradlab", "benchmarks")]:
            del sys.modules[name]
        if not tests and not new.beginnings:
            verdict.write_text("no test reaches it")
            code = 0
            return
        files = sorted({test.split("::")[0] for test in (*tests, *new.beginnings)})
        arguments = [
            *files,
            "-x",
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:cov",
            "-p",
            "no:xdist",
            "--tb=short",
        ]
        arguments += ["-m", "not slow", f"--basetemp={place / '.temporary'}"]
        code = int(pytest.main(arguments, plugins=[_Chosen(tests, new, verdict)]))
    finally:
        os._exit(code)


def preload() -> None:
    """Imports what is heavy and not ours, before the first fork."""
    os.environ["OMP_NUM_THREADS"] = "1"
    for name in PRELOADED:
        __import__(name)
