"""Worker processes give the same bytes as one process, and the death of one costs its stack another attempt."""

from __future__ import annotations

import csv
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from sweep.small_plans import Notes, plan_of, table_bytes

from gradlab.base import machine as processes
from gradlab.base.errors import GradlabError, UserError
from gradlab.config.plan import Cell
from gradlab.lab import cost
from gradlab.lab.experiment import execute

USERS_OWN = """
import multiprocessing, os, signal
import torch

def in_worker():
    return multiprocessing.parent_process() is not None

def deadly(z):
    if in_worker():
        with open("deaths", "a") as file:
            file.write("x")
        os.kill(os.getpid(), signal.SIGKILL)
    return torch.relu(z)

def leaving(z):
    if in_worker():
        os._exit(7)
    return torch.tanh(z)

def broken(z):
    if z.shape[-2:] == (16, 8) and z.requires_grad:
        raise ValueError("no such\\nnumber")
    return torch.relu(z)
"""


@pytest.fixture
def users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Activations that fail, in a module of the working directory."""
    (tmp_path / "failing_activations.py").write_text(USERS_OWN)
    monkeypatch.chdir(tmp_path)
    yield
    sys.modules.pop("failing_activations", None)
    sys.path[:] = [path for path in sys.path if path != str(tmp_path)]


def test_one_two_and_four_workers_write_the_same_bytes(tmp_path: Path) -> None:
    """Cells of several stacks among them: five seeds in stacks of two."""
    found = {}
    for workers in (1, 2, 4):
        out = tmp_path / str(workers)
        notes = Notes()
        execute(plan_of(out, seeds=5, stack_size=2, workers=workers), notes)
        assert notes.steps == notes.total == 4 * 5 * 6
        assert not notes.messages and len(notes.cells) == 4
        found[workers] = {**table_bytes(out), "config": (out / "config.toml").read_bytes()}
    assert found[1] == found[2] == found[4]


def test_the_observer_hears_from_this_process_alone(tmp_path: Path) -> None:
    processes: set[int] = set()
    records = []

    class Listening(Notes):
        def record(self, cell: Cell, step: int, layers: Mapping[str, Any]) -> None:
            processes.add(os.getpid())
            records.append((cell.id, step, layers["delta_rms"].shape))

    plan = plan_of(tmp_path / "out", workers=2, depth=[2])
    execute(plan, Listening())
    assert processes == {os.getpid()}
    assert {(cell, step) for cell, step, _ in records} == {
        (c.id, step) for c in plan.cells for step in range(7)
    }
    assert {shape for *_, shape in records} == {(2, 3)}


def test_a_killed_worker_is_replaced_and_its_stack_trained_again(tmp_path: Path) -> None:
    class Killing(Notes):
        killed = 0

        def record(self, cell: Cell, step: int, layers: Mapping[str, Any]) -> None:
            if self.killed < 2:
                self.killed += 1
                multiprocessing.active_children()[0].kill()

    execute(plan_of(tmp_path / "alone", workers=1))
    observer = Killing()
    outcome = execute(plan_of(tmp_path / "out", workers=2), observer)
    assert observer.killed == 2 and not outcome.failed
    assert table_bytes(tmp_path / "out") == table_bytes(tmp_path / "alone")
    assert not multiprocessing.active_children()


def test_a_killed_server_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It dies while it is asked for a worker; the sweep does not. One that never starts is an error in words."""
    from gradlab.lab import workers

    start, left = workers._start, [2]

    def failing(*given: Any) -> Any:
        left[0] -= 1
        if left[0] >= 0:
            raise EOFError("unexpected EOF")
        return start(*given)

    monkeypatch.setattr(workers, "_start", failing)
    monkeypatch.setattr(workers, "sleep", lambda seconds: None)
    assert len(execute(plan_of(tmp_path / "out", workers=2)).summary) == 4
    left[0] = 1000
    with pytest.raises(GradlabError, match="cannot be started"):
        execute(plan_of(tmp_path / "none", workers=2))


@pytest.mark.usefixtures("users_own")
def test_a_stack_that_kills_every_worker_is_reported_and_the_rest_go_on(tmp_path: Path) -> None:
    grid = {
        "activation": ["failing_activations:deadly", "failing_activations:leaving", "relu"],
        "depth": [2, 3],
    }
    out, notes = tmp_path / "out", Notes()
    outcome = execute(plan_of(out, workers=2, **grid), notes)
    assert list(outcome.summary["activation"]) == ["relu", "relu"]
    reasons = {(f.cell.network.activation, f.cell.network.depth): f.message for f in outcome.failed}
    assert len(reasons) == 4
    assert "died 3 times (killed" in reasons["failing_activations:deadly", 2]
    assert "died 3 times (exit code 7)" in reasons["failing_activations:leaving", 3]
    assert (tmp_path / "deaths").read_text() == "x" * 3 * 2, "each of its two stacks was tried three times"
    assert len(notes.messages) == 4 and all("seeds 0-1 failed" in text for text in notes.messages)
    with (out / "failures.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [row["message"] for row in rows] == [failure.message for failure in outcome.failed]
    assert {row["cell"] for row in rows} == {failure.cell.id for failure in outcome.failed}

    again = Notes()
    execute(plan_of(out, workers=1, **grid), again)  # in this process the two are harmless
    assert again.total == 4 * 2 * 6
    assert not (out / "failures.csv").exists()
    assert len((out / "summary.csv").read_text().splitlines()) == 1 + 6


@pytest.mark.usefixtures("users_own")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_stack_that_raises_fails_alone(tmp_path: Path, workers: int) -> None:
    grid = {"activation": ["failing_activations:broken", "relu"], "depth": [2]}
    outcome = execute(plan_of(tmp_path / "out", workers=workers, **grid))
    told = "--activation: failing_activations:broken failed: ValueError: no such number; "
    told += "GRADLAB_DEBUG=1 shows where in your code"
    assert [failure.message for failure in outcome.failed] == [told]
    assert list(outcome.summary["activation"]) == ["relu"]
    again, notes = tmp_path / "out", Notes()
    assert len(execute(plan_of(again, workers=workers, **grid), notes).failed) == 1
    assert notes.total == 2 * 6  # only what failed is tried again


@pytest.mark.usefixtures("users_own")
@pytest.mark.parametrize("workers", ["1", "2"])
def test_tracebacks_are_shown_when_asked_for(tmp_path: Path, workers: str) -> None:
    command = ["compare", "--activation", "failing_activations:broken,relu", "--depth", "2", "--width", "8",
               "--batch-size", "16", "--steps", "2", "--workers", workers]  # fmt: skip
    for debug in ("0", "1"):
        done = subprocess.run(
            [sys.executable, "-m", "gradlab", *command, "--out", debug],
            cwd=tmp_path,
            env={**os.environ, "GRADLAB_DEBUG": debug},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 3 and "no such number" in done.stderr
        assert ("in broken" in done.stderr) == (debug == "1")


@pytest.mark.usefixtures("users_own")
def test_on_error_stop_trains_nothing_more(tmp_path: Path) -> None:
    grid = {"activation": ["failing_activations:broken", "relu"], "depth": [2, 3]}
    outcome = execute(plan_of(tmp_path / "out", workers=1, on_error="stop", **grid))
    assert len(outcome.failed) == 1 and len(outcome.summary) == 0
    assert (tmp_path / "out" / "summary.csv").read_text().startswith("cell,activation,")
    notes = Notes()
    execute(plan_of(tmp_path / "out", workers=1, **grid), notes)
    assert notes.total == 4 * 2 * 6


def test_a_script_without_a_guard_is_not_run_again_in_the_workers(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "print('started', flush=True)\n"
        "import gradlab\n"
        "result = gradlab.compare(activation=['relu', 'tanh'], depth=2, width=8, steps=3, seeds=2, workers=2)\n"
        "print(len(result.summary))\n"
    )
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["started", "2"]


def test_how_many_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "cores", lambda: 4)

    def count(**settings: object) -> int:
        plan = plan_of(tmp_path, **settings)
        return cost.workers_wanted(plan.run, plan.stacks())

    long = {"depth": [50, 60], "steps": 20_000}
    assert count(**long) == 4
    assert count(**long, workers=3) == 3
    assert count() == 1  # over sooner than workers are ready
    assert count(workers=2) == 2


def test_the_largest_stacks_come_first(tmp_path: Path) -> None:
    stacks = plan_of(tmp_path, activation="relu", depth=[5, 50, 20], width=[32, 256]).stacks()
    ordered = [(s.cell.network.depth, s.cell.network.width) for s in cost.largest_first(stacks)]
    assert ordered[0] == (50, 256) and ordered[-1] == (5, 32)


def test_stacks_wait_for_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for one and a half of them, no two train at once, whatever --workers says."""
    from gradlab.lab import workers

    plan = plan_of(tmp_path / "out", workers=3)
    largest = max(map(cost.memory, plan.stacks()))
    monkeypatch.setattr(workers, "available_memory", lambda: largest * 3 // 2)
    most = [0]

    class Counting(Notes):
        def record(self, cell: Cell, step: int, layers: Mapping[str, Any]) -> None:
            most[0] = max(most[0], len(multiprocessing.active_children()))

    outcome = execute(plan, Counting())
    assert most[0] == 1 and len(outcome.summary) == 4


def test_what_cannot_fit_is_refused_with_the_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(tmp_path / "out")
    largest = max(map(cost.memory, plan.stacks()))
    monkeypatch.setattr(cost, "available_memory", lambda: largest // 3)
    with pytest.raises(UserError, match=r"2 seeds of depth 3 and width 8 .* GiB, and .* GiB are free"):
        execute(plan)
    assert not (tmp_path / "out").exists(), "the next attempt may be another configuration"
    notes = Notes()
    monkeypatch.setattr(cost, "available_memory", lambda: largest - 1)
    execute(plan, notes)
    assert len(notes.messages) == 1 and notes.messages[0].startswith("warning: 2 seeds of depth 3")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak of memory in /proc")
@pytest.mark.parametrize(
    "settings",
    [
        {"width": 512, "depth": 10, "seeds": 4},
        {"width": 512, "depth": 6, "seeds": 4, "optimizer": "adam", "dtype": "float64"},
        {"width": 64, "depth": 50, "seeds": 8, "batch_size": 1024},
        {"width": 512, "depth": 6, "seeds": 4, "histograms": True, "probe": "all"},
        {"width": 16, "depth": 100, "seeds": 8, "record": "all", "steps": 400},
        {"width": 16, "depth": 20, "seeds": 8, "record": "all", "steps": 300, "histograms": True},
    ],
)
def test_the_memory_of_a_stack_is_known_within_a_factor_of_two(settings: dict[str, Any]) -> None:
    code = (
        "import sys; sys.path.insert(0, 'tests')\n"
        "from pathlib import Path; from sweep.small_plans import plan_of; from gradlab.lab import cost\n"
        "from gradlab.train.loop import train_stack; import torch; torch.set_num_threads(1)\n"
        f"small, large = ({{'activation': 'relu', 'depth': 2, 'steps': 2}} | more for more in ({{}}, {settings!r}))\n"
        "for settings in (small, large):\n"
        "    stack = plan_of(Path('unused'), **settings).stacks()[0]; train_stack(stack, stack.cell.dataset())\n"
        "    peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        "    print(int(peak.split()[1]) * 1024, cost.memory(stack))\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    (before, _), (after, guessed) = (map(int, line.split()) for line in done.stdout.splitlines())
    assert 0.5 < guessed / (after - before) < 2.2


def test_a_containers_share_of_processor_time_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes.os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    for text, cores in (("150000 100000\n", 2), ("max 100000\n", 8), ("50000 100000\n", 1), ("", 8)):
        monkeypatch.setattr(processes.Path, "read_text", lambda path, encoding, text=text: text)
        assert processes.cores() == cores
