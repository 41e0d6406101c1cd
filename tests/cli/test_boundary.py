"""Errors: one form on stderr, one document under --json, the right exit code, and never a traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest
from cli.conftest import TINY

from gradlab.__main__ import console
from gradlab.lab import experiment

PROGRAM = [sys.executable, "-c", "import sys; from gradlab.cli.main import main; sys.exit(main())"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["rnu"], ["gradlab: unknown command 'rnu'", "run, compare", "did you mean 'run'?"]),
        (["--halp"], ["--halp: there is no such flag", "did you mean '--help'?"]),
        (["config"], ["gradlab config: Missing command"]),
        (["config", "shwo"], ["gradlab config: No such command 'shwo'", "show"]),
        (["config", "validate"], ["gradlab config validate: Missing argument"]),
        (["config", "init", "--forse"], ["--forse: there is no such flag"]),
        (["list"], ["gradlab list: it is not said what", "activations, inits", "gradlab list activations"]),
        (["list", "optimisers"], ["unknown list 'optimisers'", "did you mean 'optimizers'?"]),
        (["run", "--depth"], ["--depth: Option '--depth' requires an argument"]),
        (["run", "--force=no"], ["--force: Option '--force' does not take a value"]),
        (
            ["run", "--depht", "3", "--wdth=4", "stray", "--lr", "0", "--set", "run.sedes=1"],
            [
                "--depht: there is no such flag",
                "did you mean '--depth'?",
                "--wdth: there is no such flag",
                "did you mean '--width'?",
                "gradlab run: 'stray' is not expected",
                "--lr: '0' is out of range",
                "--set run.sedes: [run] has no key 'sedes'",
            ],
        ),
        (
            ["run", "--depth", "0", "--activation", "sigmod", "--probe", "x"],
            ["--depth: '0' is out of range", "--activation: unknown activation", "--probe: 'x'"],
        ),
        (["run", "--depth", "5,20"], ["--depth: 5, 20 is a list", "gradlab compare"]),
        (["run", "--config", "none.toml"], ["none.toml: no such file"]),
        (
            ["compare", "--seeds", "1,2"],
            ["--seeds: '1,2' is not a whole number; it takes one value, not a list"],
        ),
        (["compare", "--lr", "0.1,0.2", "--best-over", "depth"], ["--best-over", "'depth'", "allowed: lr"]),
        (["run", "--data", "nothing.csv"], ["--data nothing.csv"]),
        (["run", "--activation", "no_module:thing"], ["--activation: cannot import 'no_module'"]),
        (
            ["run", "--activation", "mine.py:Act"],
            ["--activation: 'mine.py' is the name of a file", "write mine:Act"],
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_wrong_usage_is_exit_2_in_one_form_and_writes_nothing(gradlab, arguments, says, tmp_path) -> None:  # type: ignore[no-untyped-def]
    ended = gradlab(*arguments)
    assert ended.code == 2 and ended.out == ""
    assert all(text in ended.err for text in says), ended.err
    assert all(line.startswith(("error: ", "  allowed: ", "  hint: ")) for line in ended.err.splitlines())
    assert list(tmp_path.iterdir()) == []

    ended = gradlab(*arguments, "--json")
    if "--json" in ended.err:  # the command has no --json of its own: nothing but usage can be wrong
        return
    document = ended.json
    assert ended.code == 2 and ended.err == ""
    assert set(document) == {"error"} and set(document["error"]) == {"message", "problems"}
    assert all(set(p) == {"where", "message", "allowed", "hint"} for p in document["error"]["problems"])
    assert list(tmp_path.iterdir()) == []


def test_an_unexpected_error_is_one_line_that_owns_up(gradlab, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    def broken(*_: object) -> None:
        raise LookupError("no such thing")

    monkeypatch.setattr(experiment, "execute", broken)
    ended = gradlab("run", *TINY)
    assert ended.code == 1 and ended.out == ""
    assert ended.err.splitlines() == [
        "error: LookupError: no such thing: this is a bug in gradlab",
        "  hint: GRADLAB_DEBUG=1 shows the traceback",
    ]
    assert "bug in gradlab" in gradlab("run", *TINY, "--json").json["error"]["message"]
    monkeypatch.setenv("GRADLAB_DEBUG", "1")
    assert "Traceback" in gradlab("run", *TINY).err


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            OSError(28, "No space left on device", "out/layers.csv"),
            "error: out/layers.csv: No space left on device",
        ),
        (MemoryError(), "error: out of memory"),
    ],
)
def test_what_the_machine_refuses_is_no_bug(gradlab, monkeypatch, error, says) -> None:  # type: ignore[no-untyped-def]
    def failing(*_: object) -> None:
        raise error

    monkeypatch.setattr(experiment, "execute", failing)
    ended = gradlab("run", *TINY)
    assert ended.code == 1 and ended.err.startswith(says) and "bug" not in ended.err
    told, hint = gradlab("run", *TINY, "--json").json["error"], "  hint: "
    assert [line.removeprefix(hint) for line in ended.err.splitlines() if line.startswith(hint)] == [
        *({told["hint"]} if "hint" in told else {})
    ]


@pytest.mark.slow
def test_an_interrupted_run_ends_with_130_and_one_line(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*PROGRAM, "run", *TINY, "--steps", "1000000"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    limit = time.monotonic() + 60
    while not (tmp_path / "results").exists() and time.monotonic() < limit:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == "" and "Traceback" not in err
    assert err.splitlines()[-1] == "error: interrupted" and len(err.splitlines()) <= 2
    assert not list(tmp_path.rglob("manifest.json")), "nothing claims to be finished"


def test_a_reader_that_goes_away_is_no_error() -> None:
    process = subprocess.Popen([*PROGRAM, "list", "metrics"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.wait(60) == 1
    assert process.stderr.read() == b""


def test_the_same_problem_is_said_once(gradlab) -> None:  # type: ignore[no-untyped-def]
    ended = gradlab("watch", "no_module:net", "--depth", "1", "--depth", "2")
    assert ended.code == 2 and ended.err.count("--depth: it has no meaning") == 1


def test_an_interruption_while_gradlab_is_imported_is_one_too(monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    class Interrupted(ModuleType):
        def __getattr__(self, name: str) -> object:
            raise KeyboardInterrupt

    for name in ("collect_rarely", "keep_for_good"):  # they are for a process that ends
        monkeypatch.setattr(f"gradlab.__main__.{name}", lambda: None)
    monkeypatch.setitem(sys.modules, "gradlab.cli.main", Interrupted("gradlab.cli.main"))
    assert console() == 130
    assert capsys.readouterr().err == "error: interrupted\n"
