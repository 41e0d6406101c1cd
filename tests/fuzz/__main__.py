"""`python -m fuzz NUMBER [SEED]`: one case again, with all that it prints and everything it leaves.

Run it in tests/; the folder that it names stays.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from fuzz import judge, results_folders, worker
from fuzz.cases import case_of

number, seed = int(sys.argv[1]), int((sys.argv[2:] or ["0"])[0])
root = Path(tempfile.mkdtemp(prefix="fuzz-"))
os.environ.update(worker.SILENT | {"XDG_CACHE_HOME": str(root / "cache")})
sys.dont_write_bytecode = True
results_folders.make_templates(root / "templates")
results_folders.made_in = root / "templates"
kind, case = case_of(seed, number)
print(f"case {number} of seed {seed}: {kind}, in {root / 'case'}")
print(
    f"argv: {[*case.argv]!r}\nvariables: {dict(case.environment)!r}, as a process: {case.process!r}",
    flush=True,
)
ended = worker.run(case, root / "case")
print(f"-- exit code {ended.code}\n-- stdout: {ended.out!r}\n-- stderr: {ended.err!r}")
for fault in judge.faults(case, ended):
    print(f"-- fault: {fault}")
