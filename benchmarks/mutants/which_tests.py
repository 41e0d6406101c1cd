"""Which fast test runs which line, and how long it takes: measured once, kept outside git, asked for every mutant."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from itertools import accumulate
from math import inf
from pathlib import Path

from coverage import CoverageData

from benchmarks.mutants.areas import TESTS

_TIME = re.compile(r"^\s*([\d.]+)s (?:call|setup)\s+(\S+.*)$")
DEAREST_S = 20.0
"""A test that takes longer is asked by nobody: its mutants die in cheaper ones or count as survivors."""


class WhichTests:
    """Test -> seconds, (file, line) -> tests; made by `measure`, read from its folder."""

    def __init__(self, folder: Path) -> None:
        self.seconds: dict[str, float] = {}
        self.known: set[str] = set()
        self._lines: dict[str, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
        self._hashes: dict[str, str] = json.loads((folder / "hashes.json").read_text())
        for log in sorted(folder.glob("*.log")):
            for line in log.read_text(errors="replace").splitlines():
                if match := _TIME.match(line):
                    self.seconds[match[2]] = self.seconds.get(match[2], 0.0) + float(match[1])
        for path in sorted(folder.glob("*.lines")):
            measured = json.loads(path.read_text())
            for file, lines in measured["lines"].items():
                for line, tests in lines.items():
                    self._lines[file][int(line)] |= {measured["tests"][test] for test in tests}
            self.known |= set(measured["tests"])

    def of(self, file: str, line: int, root: Path, area: str, most: float = inf) -> list[str]:
        """The tests that run this line: those of the area's own folder first, of these the cheap ones.

        All that run any line of the file if it changed since. All of these and of the folder if the line runs as the
        file is imported: then coverage knows of one test at most, the first that needed it.
        most: seconds of tests in all; what comes first is asked
        """
        lines, path = self._lines[file], root / file
        found = lines.get(line, set()) if self._hashes.get(file) == digest(path) else set()
        if len(found) <= 1 or line not in _in_functions(path.read_text(encoding="utf-8")):
            found = set().union(
                *lines.values(), (test for test in self.known if test.startswith(f"tests/{area}/"))
            )
        cost = {test: self.seconds.get(test, 0.0) for test in found}
        ordered = sorted(found, key=lambda test: (not test.startswith(f"tests/{area}/"), cost[test]))
        until = accumulate(cost[test] for test in ordered)
        return [
            test
            for test, spent in zip(ordered, until, strict=True)
            if cost[test] < DEAREST_S and spent <= most
        ]

    def changed_tests(self, root: Path) -> set[str]:
        """Files of tests that are new or other than they were: those of their tests that are unknown here are
        asked about the mutants of their area."""
        return {
            str(path.relative_to(root))
            for folder in TESTS
            for path in (root / "tests" / folder).glob("test_*.py")
            if self._hashes.get(str(path.relative_to(root))) != digest(path)
        }


def _in_functions(source: str) -> set[int]:
    """The lines that run when a function is called."""
    lines: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.Lambda):
            body = node.body if isinstance(node.body, list) else [node.body]
            lines |= set(range(body[0].lineno, (body[-1].end_lineno or 0) + 1))
    return lines


def measure(root: Path, folder: Path) -> None:
    """Runs the fast tests of every folder once under coverage; some ten minutes on a free core."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in TESTS:
        lines = folder / f"{name}.lines"
        if lines.exists():
            continue
        data = folder / f".coverage.{name}"
        command = [sys.executable, "-P", "-m", "pytest", f"tests/{name}", "-q", "-p", "no:cacheprovider"]
        command += ["-m", "not slow", "--durations=0", "--cov=gradlab", "--cov-branch", "--cov-context=test"]
        command += ["--cov-report="]
        environment = os.environ | {"PYTHONPATH": str(root), "COVERAGE_FILE": str(data)}
        print(f"which line is run by which of tests/{name}", flush=True)
        with (folder / f"{name}.log").open("w") as log:
            subprocess.run(
                command, cwd=root, env=environment, stdout=log, stderr=subprocess.STDOUT, check=False
            )
        lines.write_text(json.dumps(_lines(data, root)))
    files = [*(root / "gradlab").rglob("*.py"), *(root / "tests").rglob("*.py")]
    (folder / "hashes.json").write_text(json.dumps({str(f.relative_to(root)): digest(f) for f in files}))


def _lines(path: Path, root: Path) -> dict[str, object]:
    """What coverage wrote, as {"tests": names, "lines": {file: {line: numbers of tests}}}."""
    data = CoverageData(str(path))
    data.read()
    numbers: dict[str, int] = {}
    lines: dict[str, dict[int, list[int]]] = {}
    for measured in data.measured_files():
        of_file = lines.setdefault(str(Path(measured).relative_to(root)), {})
        for line, contexts in data.contexts_by_lineno(measured).items():
            tests = {context.split("|")[0] for context in contexts if context}
            of_file[line] = sorted(numbers.setdefault(test, len(numbers)) for test in tests)
    return {"tests": list(numbers), "lines": lines}


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
