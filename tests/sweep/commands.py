"""`gradlab compare` as a process of its own, to be interrupted and killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

CODE = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from gradlab.cli.main import main; raise SystemExit(main())"
)
"""A shell that runs the tests in its background has Ctrl-C ignored by everything below it."""
ARGUMENTS = (
    "compare --activation relu,sigmoid --depth 2,3 --width 8 --batch-size 16 --probe 32 --seeds 2 --steps 400"
)


def start(out: Path, *more: str) -> subprocess.Popen[str]:
    """A comparison of four small cells, in a session of its own."""
    command = [sys.executable, "-c", CODE, *ARGUMENTS.split(), "--out", str(out), *more]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for its end: exit code, stdout, stderr."""
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def wait_for_stacks(out: Path, count: int, process: subprocess.Popen[str]) -> None:
    """Until so many stacks are in the journal."""
    deadline = time.monotonic() + 120
    while len(list((out / ".journal").glob("*.npz"))) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def members(process: subprocess.Popen[str]) -> list[int]:
    """The processes of its session that train or fork trainers, without the command itself."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes()
            session = int((entry / "stat").read_text().rpartition(")")[2].split()[3])
        except (OSError, ValueError, IndexError):
            continue
        if session == process.pid and int(entry.name) != process.pid and b"forkserver" in command:
            found.append(int(entry.name))
    return sorted(found)


def kill(pids: Sequence[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
