"""Cases as processes of their own: with closed streams, on odd terminals, in a removed folder, under signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import IO, Any

from fuzz import configurations, data_files, flags, results_folders, users_parts
from fuzz.case import Case, Ended, contents, tiny

NOWHERE = "/dev/null/nowhere"  # cannot be made, by root neither
PLACES = {
    "plain": {},
    "no stdin": {},
    "no stdout": {},
    "no stderr": {},
    "full stdout": {},
    "narrow": {"COLUMNS": "1", "LINES": "1"},
    "odd size": {"COLUMNS": "-5", "LINES": "x"},
    "dumb": {"TERM": "dumb", "NO_COLOR": "1"},
    "ascii": {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "few files": {},
    "no home": {"HOME": NOWHERE, "XDG_CACHE_HOME": NOWHERE, "MPLCONFIGDIR": NOWHERE},
    "removed": {},
    "interrupted": {},
    "terminated": {},
}
SIGNALS = {"interrupted": signal.SIGINT, "terminated": signal.SIGTERM}


def make(r: Random) -> Case:
    """A case of another kind in some place."""
    place = r.choice(list(PLACES))
    if place in SIGNALS:
        delay = r.uniform(1, 5)  # Python itself has started then
        long = tiny(steps="100000", seeds="1", activation=r.choice(["relu", "tanh"]))
        return Case(
            [r.choice(["run", "compare"]), *long, "--out", "o"], writes=("o",), process=f"{place} {delay}"
        )
    if place == "removed":
        return Case(
            r.choice(
                [["run", *tiny()], ["config", "show"], ["list", "norms"], ["theory", "--activation", "relu"]]
            ),
            process=place,
        )
    made = r.choice([flags, configurations, data_files, results_folders, users_parts]).make(r)
    argv = [text.replace("\0", "") for text in made.argv]
    return replace(made, argv=argv, environment={**made.environment, **PLACES[place]}, process=place)


def run(case: Case, folder: Path, here: Path, environment: dict[str, str], limit: float) -> Ended:
    """The case in a process of its own."""
    assert case.process
    place, _, delay = case.process.partition(" ")
    before = contents(folder)
    streams: dict[str, Any] = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
    }
    opened: list[IO[bytes]] = []
    if place == "full stdout":
        opened.append(Path("/dev/full").open("wb"))  # noqa: SIM115
        streams["stdout"] = opened[0]
    shell = {"no stdin": "<&-", "no stdout": ">&-", "no stderr": "2>&-", "few files": "", "removed": ""}
    first = {"few files": "ulimit -n 40; ", "removed": 'rmdir "$PWD"; '}.get(place, "")
    command = [sys.executable, "-m", "gradlab", *case.argv]
    command = ["sh", "-c", f'{first}exec "$@" {shell[place]}', "sh", *command] if place in shell else command
    process = subprocess.Popen(
        command, cwd=here, env=environment | case.environment, start_new_session=True, **streams
    )
    try:
        if place in SIGNALS:
            time.sleep(float(delay))
            process.send_signal(SIGNALS[place])
        out, err = process.communicate(timeout=limit)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    finally:
        for each in opened:
            each.close()
    here.mkdir(exist_ok=True)
    code = (
        130 if process.returncode == -signal.SIGINT else process.returncode
    )  # as a shell has it, and says it
    return Ended(code, out or b"", err or b"", before, contents(folder))
