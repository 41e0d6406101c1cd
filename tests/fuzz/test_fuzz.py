"""Whatever gradlab's commands are given: no traceback, a known exit code, one error that helps, nothing left half."""

from __future__ import annotations

import json
import os
import queue
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fuzz import results_folders
from fuzz.cases import ROUND
from fuzz.worker import HANGS, SILENT

SEED = int(os.environ.get("FUZZ_SEED", "0"))
CASES = int(os.environ.get("FUZZ_CASES", "1200"))
WORKERS = 2
HERE = Path(__file__).parent


class Worker:
    """A process that is given the number of a case and says what is wrong with it; a new one where it is lost."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._process: subprocess.Popen[str] | None = None

    def tell(self, number: int) -> dict[str, Any]:
        if self._process is None:
            self._root.mkdir(parents=True, exist_ok=True)
            # An empty entry is the working directory, and Python itself does not start where that is gone.
            found = [HERE.parent, HERE.parents[1], *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
            path = os.pathsep.join(str(Path(each).absolute()) for each in found if str(each) not in ("", "."))
            command = [sys.executable, "-m", "fuzz.worker", str(SEED), str(self._root)]
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
                env=os.environ | SILENT | {"PYTHONPATH": path},
            )  # fmt: skip
        assert self._process.stdin and self._process.stdout
        print(number, file=self._process.stdin, flush=True)
        ready, _, _ = select.select([self._process.stdout], [], [], HANGS + 15)
        line = self._process.stdout.readline() if ready else ""
        if line:
            found: dict[str, Any] = json.loads(line)
            return found
        self.end()
        return {
            "number": number,
            "faults": ["it ended its process" if ready else f"it has not ended within {HANGS:.0f} s"],
        }

    def end(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.communicate()
            self._process = None


@contextmanager
def workers(root: Path) -> Iterator[list[Worker]]:
    made = [Worker(root / f"worker{each}") for each in range(WORKERS)]
    try:
        yield made
    finally:
        for each in made:
            each.end()


def run_all(root: Path) -> list[dict[str, Any]]:
    """What each case came to, by number."""
    numbers: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in range(CASES):
        numbers.put(number)
    found: list[dict[str, Any]] = []

    def work(worker: Worker) -> None:
        while True:
            try:
                found.append(worker.tell(numbers.get_nowait()))
            except queue.Empty:
                return

    with workers(root) as made:
        threads = [threading.Thread(target=work, args=(each,)) for each in made]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return sorted(found, key=lambda each: each["number"])


@pytest.mark.slow
def test_whatever_a_command_is_given_it_ends_well(tmp_path: Path) -> None:
    results_folders.make_templates(tmp_path / "templates")
    print(f"seed {SEED}: {CASES} cases")
    found = run_all(tmp_path)
    bad = [each for each in found if each["faults"]]
    report = [
        f"{each['number']} ({each.get('kind')}): {each['faults']}\n    {each.get('argv')!r:.300}"
        for each in bad
    ]
    assert len(found) == CASES >= len(ROUND)
    assert not bad, (
        f"{len(bad)} of {CASES} cases of seed {SEED}; again: cd tests; python -m fuzz NUMBER {SEED}\n"
        + "\n".join(report)
    )
