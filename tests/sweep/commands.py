"""`gradlab compare` as a process of its own, to be interrupted and killed."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ARGUMENTS = (
    "compare --activation relu,sigmoid --depth 2,3 --width 8 --batch-size 16 --probe 32 --seeds 2 --steps 400"
)

# It has imported what every command imports, which takes seconds, and forks each command from itself. Between the two
# stands a process that waits for the command and writes down how it ended: 130, or -9 where signal 9 killed it.
# A shell that runs the tests in its background has Ctrl-C ignored by everything below it, so Ctrl-C is set anew.
SERVER = """
import json, os, signal, sys
import gradlab.cli.compare, gradlab.lab.preload
from gradlab.cli.main import main

signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that wait
for line in sys.stdin:
    arguments, folder = json.loads(line)
    if os.fork():
        continue
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid:
        print(pid, flush=True)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with open(folder + "/unfinished", "w") as file:
            file.write(str(code))
        os.rename(folder + "/unfinished", folder + "/code")
        os._exit(0)
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, name in enumerate((os.devnull, folder + "/out", folder + "/err")):
        file = os.open(name, os.O_RDWR | os.O_CREAT, 0o600)
        os.dup2(file, number)
        os.close(file)
    sys.exit(main(arguments))
"""


@functools.cache
def _server() -> subprocess.Popen[str]:
    """Started once in each process that runs tests; it ends when that process does, since its input closes."""
    command, root = [sys.executable, "-c", SERVER], Path(__file__).parents[2]
    return subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


class Command:
    """A comparison of four small cells, in a session of its own."""

    def __init__(self, arguments: Sequence[str]) -> None:
        server = _server()
        assert server.stdin is not None and server.stdout is not None
        self._folder = Path(tempfile.mkdtemp())
        print(json.dumps([arguments, str(self._folder)]), file=server.stdin, flush=True)
        self.pid = int(server.stdout.readline())

    def poll(self) -> int | None:
        """Its exit code once it has ended, minus the signal that killed it; before, None."""
        code = self._folder / "code"
        return int(code.read_text()) if code.exists() else None

    def finish(self, seconds: float = 300) -> tuple[int, str, str]:
        """Wait for its end and for that of its workers, which write to the same files: exit code, stdout, stderr."""
        deadline = time.monotonic() + seconds
        while (code := self.poll()) is None or members(self):
            assert time.monotonic() < deadline
            time.sleep(0.005)
        return code, *((self._folder / name).read_text() for name in ("out", "err"))


def start(out: Path, *more: str) -> Command:
    return Command([*ARGUMENTS.split(), "--out", str(out), *more])


def wait_for_stacks(out: Path, count: int, process: Command) -> None:
    """Until so many stacks are in the journal."""
    deadline = time.monotonic() + 120
    while len(list((out / ".journal").glob("*.npz"))) < count:
        assert process.poll() is None, process.finish()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def members(process: Command) -> list[int]:
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
