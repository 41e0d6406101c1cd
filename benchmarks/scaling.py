"""What a comparison costs besides its training: planner, scheduler, journal and summary over canned stacks.

    python benchmarks/scaling.py [--workers N] [--ray] [--tables] [--small] 1000 10000 100000

For each number of cells, one process of its own. --tables writes layers.csv and steps.csv too. --small has cells of
depth 3 with 10 records; else they have the shape of the default run. --ray starts a cluster on this machine.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from itertools import islice
from pathlib import Path
from time import perf_counter, process_time

import canned

COLUMNS = (
    "cells",
    "plan s",
    "first s",
    "stacks/s",
    "cpu ms/stack",
    "resume s",
    "show s",
    "memory MB",
    "journal MB",
    "manifest MB",
)


def measure(cells: int, workers: int, ray: bool, tables: bool, out: Path) -> dict[str, float]:
    from gradlab.config import resolve
    from gradlab.config.plan import make
    from gradlab.lab import experiment, serial
    from gradlab.lab import summary_builder as known
    from gradlab.lab import workers as processes
    from gradlab.store import folder
    from gradlab.tables.summary import SUMMARY

    serial.work = canned.work
    processes._serve = canned.serve
    if ray:
        canned.ship()
    if not tables:
        whole = known.Cells.rows_of
        known.Cells.rows_of = lambda self, table: islice(whole(self, table), None if table == SUMMARY else 1)
    rates = [round(1e-6 * (1 + i), 6) for i in range(cells)]
    times = [perf_counter()]
    settings = {"lr": rates, "activation": "relu", "out": str(out), "workers": workers}
    settings |= {"executor": "ray"} if ray else {}
    plan = make(resolve(file=None, environment={}, flags=settings, sets=(), lists=True))
    times.append(perf_counter())
    used = process_time()
    experiment.execute(plan)
    used = process_time() - used
    times.append(perf_counter())
    manifest = (out / folder.MANIFEST).stat().st_size
    (out / folder.MANIFEST).unlink()
    for stack in plan.stacks()[::2]:
        (out / folder.JOURNAL / f"{stack.key}.npz").unlink()
    times.append(perf_counter())
    experiment.execute(plan)
    times.append(perf_counter())
    assert experiment.execute(plan).cached
    times.append(perf_counter())
    size = sum(path.stat().st_size for path in (out / folder.JOURNAL).iterdir())
    return {
        "cells": cells,
        "plan s": times[1] - times[0],
        "first s": times[2] - times[1],
        "stacks/s": cells / (times[2] - times[1]),
        "cpu ms/stack": 1e3 * used / cells,
        "resume s": times[4] - times[3],
        "show s": times[5] - times[4],
        "memory MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "journal MB": size / 1e6,
        "manifest MB": manifest / 1e6,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cells", type=int, nargs="+")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--ray", action="store_true")
    parser.add_argument("--tables", action="store_true")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        out = given.one / "out"
        print(json.dumps(measure(given.cells[0], given.workers, given.ray, given.tables, out)))
        return
    print("| " + " | ".join(COLUMNS) + " |\n|" + "---:|" * len(COLUMNS), flush=True)
    for cells in given.cells:
        place = tempfile.mkdtemp(prefix="gradlab-scaling-")
        try:
            command = [sys.executable, __file__, str(cells), "--workers", str(given.workers), "--one", place]
            command += [f"--{name}" for name in ("ray", "tables") if getattr(given, name)]
            environment = os.environ | ({"CANNED_SMALL": "1"} if given.small else {})
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
            row = json.loads(done.stdout)
            print("| " + " | ".join(f"{row[name]:,.4g}" for name in COLUMNS) + " |", flush=True)
        finally:
            shutil.rmtree(place)


if __name__ == "__main__":
    main()
