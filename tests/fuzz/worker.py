"""A process that runs cases in itself, one after another, each in an empty folder, and says what is wrong with each."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import TimeoutExpired

from fuzz import judge, processes, results_folders
from fuzz.case import Case, Ended, contents
from fuzz.cases import case_of

from gradlab.cli.main import main

HANGS = 60.0  # seconds
SILENT = {
    "http_proxy": "http://127.0.0.1:9",
    "https_proxy": "http://127.0.0.1:9",
    "OMP_NUM_THREADS": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONWARNINGS": "ignore",
    "COLUMNS": "100",
}
"""The environment of every case: no network, and no files of Python's own."""


def run(case: Case, folder: Path) -> Ended:
    """The case in an empty folder; its working directory is two folders deeper, so that `../..` stays inside."""
    here = folder / judge.HERE
    here.mkdir(parents=True)
    temporary = (
        folder.parent / "tmp"
    )  # of all cases: the server that workers are forked from stays, and its socket
    temporary.mkdir(exist_ok=True)
    for prepare in case.prepare:
        prepare(here)
    if case.process is not None:
        environment = {name: text for name, text in os.environ.items() if not name.startswith("GRADLAB_")}
        return processes.run(case, folder, here, environment | {"TMPDIR": str(temporary)}, HANGS)
    before = contents(folder) | _left(temporary)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        with _as_it_was(case, here), _into(1, out.fileno()), _into(2, err.fileno()):
            try:
                code: int | None = main(case.argv)
            except SystemExit as error:
                code = error.code if isinstance(error.code, int) else -1
            except BaseException:
                code = None
                import traceback

                traceback.print_exc()
            for stream in (sys.__stdout__, sys.__stderr__):
                if stream is not None and not stream.closed:
                    stream.flush()
        out.seek(0)
        err.seek(0)
        return Ended(code, out.read(), err.read(), before, contents(folder) | _left(temporary))


def _left(temporary: Path) -> dict[str, str | bytes]:
    """Temporary files, but for the socket of the server that workers are forked from, and torch's own folder."""
    known = ("pymp-", "torchinductor_")
    return {path: what for path, what in contents(temporary).items() if not path.startswith(known)}


@contextmanager
def _into(descriptor: int, target: int) -> Iterator[None]:
    """What goes to a descriptor, also by C and by child processes, goes elsewhere."""
    saved = os.dup(descriptor)
    os.dup2(target, descriptor)
    try:
        yield
    finally:
        os.dup2(saved, descriptor)
        os.close(saved)


@contextmanager
def _as_it_was(case: Case, here: Path) -> Iterator[None]:
    """Whatever the case does to this process is undone: the next one starts as the first."""
    import torch

    saved = Path.cwd(), dict(os.environ), [*sys.path], set(sys.modules), sys.getrecursionlimit()
    tempfile.tempdir = str(here.parents[2] / "tmp")
    os.environ.update(case.environment)
    os.chdir(here)
    sys.stdout = sys.__stdout__ = open(1, "w", encoding="utf-8", errors="strict", closefd=False)  # noqa: SIM115
    sys.stderr = sys.__stderr__ = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        os.chdir(saved[0])
        os.environ.clear()
        os.environ.update(saved[1])
        sys.path[:] = saved[2]
        sys.setrecursionlimit(saved[4])
        for name in set(sys.modules) - saved[3]:
            made = getattr(sys.modules[name], "__file__", None) or ""
            if str(made).startswith(str(here)) or name.startswith("own"):
                del sys.modules[name]
        torch.set_default_dtype(torch.float32)
        torch.set_grad_enabled(True)
        tempfile.tempdir = None


def tell(seed: int, number: int, root: Path) -> dict[str, object]:
    """Run one case and say of which kind it is, what was typed, and what is wrong."""
    folder = root / f"{number}"
    kind, case = case_of(seed, number)
    found = {"number": number, "kind": kind, "argv": [*case.argv], "process": case.process}
    try:
        ended = run(case, folder)
    except TimeoutExpired:
        return {**found, "code": None, "faults": [f"it has not ended within {HANGS:.0f} s"]}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {**found, "code": ended.code, "faults": judge.faults(case, ended)}


def serve(seed: int, root: Path) -> None:
    """Numbers come on stdin, a line each; what was found of them goes to stdout, a line of JSON each."""
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    numbers = os.fdopen(os.dup(0), encoding="ascii")
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1):
        os.dup2(null, descriptor)
    os.environ.update(SILENT | {"XDG_CACHE_HOME": str(root / "cache")})
    sys.dont_write_bytecode = True
    signal.signal(signal.SIGINT, signal.default_int_handler)
    results_folders.made_in = root.parent / "templates"
    for line in numbers:
        print(json.dumps(tell(seed, int(line), root)), file=answers, flush=True)


if __name__ == "__main__":
    serve(int(sys.argv[1]), Path(sys.argv[2]))
