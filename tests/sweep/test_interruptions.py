"""Ctrl-C and kill -9 at any moment: what is finished is kept, and the continued run writes the same bytes."""

from __future__ import annotations

import csv
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from sweep.commands import kill, members, start, wait_for_stacks
from sweep.small_plans import table_bytes

from gradlab.base import blas

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks processes up in /proc")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], float]:
    """The tables of a run that nothing disturbs, and how long it trained and wrote."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    process = start(out, "--workers", "1")
    while not (out / ".journal").is_dir():
        time.sleep(0.01)
    began = time.monotonic()
    code, _, err = process.finish()
    assert code == 0, err
    return table_bytes(out), time.monotonic() - began


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_ctrl_c_keeps_what_is_finished(
    tmp_path: Path, sent: signal.Signals, workers: int, undisturbed: tuple[dict[str, bytes], float]
) -> None:
    out = tmp_path / "out"
    process = start(out, "--workers", str(workers))
    wait_for_stacks(out, 1, process)
    os.killpg(process.pid, sent)  # as a terminal or a scheduler sends it: to workers too
    code, _, err = process.finish()
    assert code == 130
    assert "the same command continues" in err and "Traceback" not in err
    kept = {path.name.split("-")[0] for path in (out / ".journal").glob("*.npz")}
    with (out / "summary.csv").open(newline="") as handle:
        assert {row["cell"] for row in csv.DictReader(handle)} == kept
    assert 1 <= len(kept) < 4 and not (out / "manifest.json").exists()
    assert not members(process)
    code, _, err = start(out, "--workers", str(workers)).finish()
    assert code == 0, err
    assert table_bytes(out) == undisturbed[0]


def test_ctrl_c_while_the_workers_server_starts_is_no_traceback(tmp_path: Path) -> None:
    # so many steps that it cannot have ended, however late the signal comes on a busy machine
    process = start(tmp_path / "out", "--workers", "2", "--steps", "1000000")
    while not members(process):
        assert process.poll() is None, process.finish()
        time.sleep(0.01)
    time.sleep(0.5)  # Python is up and imports torch, which takes it a second or more
    os.killpg(process.pid, signal.SIGINT)
    code, _, err = process.finish()
    assert code == 130 and "interrupted" in err and "Traceback" not in err
    assert not members(process)


def test_ctrl_c_twice_stops_at_once(tmp_path: Path, undisturbed: tuple[dict[str, bytes], float]) -> None:
    out = tmp_path / "out"
    process = start(out, "--workers", "2")
    wait_for_stacks(out, 1, process)
    os.killpg(process.pid, signal.SIGINT)
    os.killpg(process.pid, signal.SIGINT)
    began = time.monotonic()
    code, _, err = process.finish()
    assert code == 130 and "Traceback" not in err
    assert time.monotonic() - began < 20
    code, _, err = start(out).finish()
    assert code == 0, err
    assert table_bytes(out) == undisturbed[0]


def killed_and_continued(
    out: Path, chosen: random.Random, seconds: float, *more: str
) -> tuple[str, dict[str, bytes]]:
    """Kill something at a random moment, continue to the end, here or in workers; what was killed, and the tables."""
    whom = chosen.choice(["process", "worker", "both"])
    process = start(out, "--workers", "2", *more)
    while not (out / ".journal").is_dir():
        time.sleep(0.005)
    time.sleep(chosen.uniform(0, seconds))
    workers = members(process)
    if whom != "process" and workers:
        kill([chosen.choice(workers)])
    if whom != "worker":
        kill([process.pid])
    code, _, err = process.finish()
    assert code in (0, -signal.SIGKILL), err
    if whom == "worker":
        assert code == 0
    code, _, err = start(out, "--workers", chosen.choice(["1", "2"]), *more).finish()
    assert code == 0, err
    return whom, table_bytes(out)


def check_kills(
    tmp_path: Path, undisturbed: tuple[dict[str, bytes], float], seeds: range, *more: str
) -> None:
    expected, seconds = undisturbed
    for seed in seeds:
        whom, found = killed_and_continued(tmp_path / str(seed), random.Random(seed), seconds, *more)
        assert found == expected, f"seed {seed}: {whom} killed"
        assert not [path for path in tmp_path.rglob("*") if path.name.endswith(".part")]


def test_kill_9_changes_no_byte(tmp_path: Path, undisturbed: tuple[dict[str, bytes], float]) -> None:
    check_kills(tmp_path, undisturbed, range(2))


ONE_CELL = ["--activation", "relu", "--depth", "2", "--width", "16", "--seeds", "4", "--steps", "1500"]


@pytest.mark.skipif(blas.own() is None, reason="without gradlab's own BLAS no stack is divided")
def test_a_cell_divided_among_workers_goes_on_with_its_parts(tmp_path: Path) -> None:
    """Killed when one of its two parts is finished; then with one worker, which trains the other part alone."""
    out, whole = tmp_path / "out", tmp_path / "whole"
    code, _, err = start(whole, *ONE_CELL, "--workers", "1").finish()
    assert code == 0, err
    process = start(out, *ONE_CELL, "--workers", "2")
    wait_for_stacks(out, 1, process)
    kill([process.pid])
    process.finish()
    kept = {path.name for path in (out / ".journal").glob("*.npz")}
    code, _, err = start(out, *ONE_CELL, "--workers", "1").finish()
    assert code == 0, err
    assert table_bytes(out) == table_bytes(whole)
    left = [path.name for path in (out / ".journal").iterdir() if path.suffix in (".npz", ".checkpoint")]
    assert len(left) == 1 and left[0].endswith("-0-3.npz")
    assert len(kept) == 1 and next(iter(kept)).endswith(("-0-1.npz", "-2-3.npz", "-0-3.npz"))


@pytest.mark.slow
@pytest.mark.skipif(blas.own() is None, reason="without gradlab's own BLAS no stack is divided")
def test_kill_9_while_a_cell_is_divided_changes_no_byte(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    began = time.monotonic()
    code, _, err = start(whole, *ONE_CELL, "--workers", "1").finish()
    assert code == 0, err
    expected = table_bytes(whole), time.monotonic() - began
    check_kills(tmp_path / "killed", expected, range(8), *ONE_CELL)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(100, 130, 5))
def test_kill_9_at_thirty_random_moments_changes_no_byte(
    tmp_path: Path, first: int, undisturbed: tuple[dict[str, bytes], float]
) -> None:
    check_kills(tmp_path, undisturbed, range(first, first + 5))


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start(out, "--workers", "2", "--steps", "200000")
    deadline = time.monotonic() + 120
    while len(members(process)) < 3:  # the server and two workers
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    kill([process.pid])
    process.finish()
    deadline = time.monotonic() + 30
    while members(process):
        assert time.monotonic() < deadline, subprocess.run(["ps", "ax"], capture_output=True).stdout
        time.sleep(0.05)
