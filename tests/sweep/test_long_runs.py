"""Checkpoints of stacks in training, and the weights they end with, through a whole experiment."""

from __future__ import annotations

import multiprocessing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from sweep.small_plans import Notes, plan_of, table_bytes

from gradlab.config.plan import Cell
from gradlab.lab.experiment import execute

EVERY_STEP = 1e-9
ONE = {"activation": "relu", "depth": [3], "record": "all"}


class Steps(Notes):
    """The recorded steps it was told of; something may happen at one of them."""

    def __init__(self, at: int = -1, happening: Any = None) -> None:
        super().__init__()
        self.seen: list[int] = []
        self.at, self.happening = at, happening

    def record(self, cell: Cell, step: int, layers: Mapping[str, Any]) -> None:
        self.seen.append(step)
        if step == self.at and self.happening:
            happening, self.happening = self.happening, None
            happening()


def stop() -> None:
    raise KeyboardInterrupt


def test_a_stopped_stack_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    execute(plan_of(tmp_path / "whole", **ONE))
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        execute(plan_of(out, checkpoint=EVERY_STEP, **ONE), Steps(4, stop))
    assert len(list((out / ".journal").glob("*.checkpoint"))) == 1
    rest = Steps()
    execute(plan_of(out, **ONE), rest)
    assert rest.seen == [4, 5, 6]  # step 4 was made but its checkpoint not yet written
    assert rest.steps == rest.total == 2 * 6
    assert table_bytes(out) == table_bytes(tmp_path / "whole")
    assert not list((out / ".journal").glob("*.checkpoint"))


def test_a_killed_workers_stack_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    grid = {**ONE, "depth": [3, 4], "steps": 300, "record": "every:50"}
    execute(plan_of(tmp_path / "whole", **grid))
    observer = Steps(100, lambda: [child.kill() for child in multiprocessing.active_children()])
    execute(plan_of(tmp_path / "out", checkpoint=EVERY_STEP, workers=2, **grid), observer)
    assert observer.seen.count(0) == 2, "no stack began again"
    assert table_bytes(tmp_path / "out") == table_bytes(tmp_path / "whole")


def test_an_unusable_checkpoint_is_named(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        execute(plan_of(out, checkpoint=EVERY_STEP, **ONE), Steps(4, stop))
    (file,) = (out / ".journal").glob("*.checkpoint")
    file.write_bytes(file.read_bytes()[:-9])
    notes = Steps()
    execute(plan_of(out, **ONE), notes)
    assert len(notes.messages) == 1 and str(file) in notes.messages[0]
    assert notes.seen == list(range(7))


def test_final_weights_are_kept_on_request(tmp_path: Path) -> None:
    execute(plan_of(tmp_path / "one", save_weights=True, workers=1))
    execute(plan_of(tmp_path / "two", save_weights=True, workers=2))
    names = {f"{stack.key}.safetensors" for stack in plan_of(tmp_path).stacks()}
    found = [
        {path.name: path.read_bytes() for path in (tmp_path / n / "weights").iterdir()}
        for n in ("one", "two")
    ]
    assert set(found[0]) == names and found[0] == found[1]

    later, notes = tmp_path / "later", Notes()
    execute(plan_of(later))
    assert not (later / "weights").exists()
    execute(plan_of(later, save_weights=True), notes)  # they are gone: only training brings them back
    assert notes.total == 4 * 2 * 6
    assert {path.name: path.read_bytes() for path in (later / "weights").iterdir()} == found[0]
    assert execute(plan_of(later, save_weights=True)).cached


def test_a_users_random_activation_gives_the_same_bytes_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It draws from the global generator, which gradlab itself never does."""
    (tmp_path / "noisy_activations.py").write_text(
        "import torch\ndef noisy(z):\n    return torch.relu(z) + 0.1 * torch.rand_like(z)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    grid = {"activation": ["noisy_activations:noisy", "relu"], "depth": [2]}
    for workers in (1, 2):
        execute(plan_of(tmp_path / str(workers), workers=workers, **grid))
    assert table_bytes(tmp_path / "1") == table_bytes(tmp_path / "2")
