"""A training stopped at any step goes on from its checkpoint with the same bits."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sweep.small_plans import plan_of

from gradlab.base import blas, generators
from gradlab.config.plan import Stack
from gradlab.store.stack_result import StackResult
from gradlab.train import checkpoint as checkpoints
from gradlab.train.checkpoint import Checkpoint
from gradlab.train.loop import Training, train_stack

STEPS = 12


def stack_of(tmp_path: Path, **settings: Any) -> Stack:
    grid = {"activation": "relu", "depth": 3, "steps": STEPS, "record": "every:3", **settings}
    return plan_of(tmp_path / "out", **grid).stacks()[0]


def assert_same_records(one: StackResult, other: StackResult) -> None:
    for field in fields(StackResult):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if field.name == "blocks":
            assert a.keys() == b.keys()
            for name, block in a.items():
                assert block.values.tobytes() == b[name].values.tobytes(), name
                assert block.applies.tobytes() == b[name].applies.tobytes(), name
        elif isinstance(a, np.ndarray):
            assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes()), field.name
        elif field.name != "timings":
            assert a == b, field.name


class Stop(Exception):
    pass


def stopped_after(checkpoint: Checkpoint, stack: Stack, step: int) -> None:
    """Train until the checkpoint holds `step`, then stop as if killed."""
    write = checkpoint.write

    def write_and_stop(training: Any, stack: Stack, following: int) -> None:
        if following == step:
            write(training, stack, following)
            raise Stop

    checkpoint.write = write_and_stop  # type: ignore[method-assign]
    with pytest.raises(Stop):
        train_stack(stack, stack.cell.dataset(), checkpoint=checkpoint)


VARIANTS: dict[str, dict[str, Any]] = {
    "sgd, several passes over the data": {"batch_size": 300},
    "momentum and clipping": {"optimizer": "momentum", "clip": 0.5},
    "adam, batch norm": {"optimizer": "adam", "norm": "batch"},
    "jacobians": {"jacobian": True},
    "sharpness, batch norm": {"sharpness": True, "norm": "batch"},
    "adam, maximal update": {"optimizer": "adam", "init": "mup:base=4"},
    "adamw, float64, cosine": {
        "optimizer": "adamw",
        "dtype": "float64",
        "schedule": "cosine:warmup=3",
        "weight_decay": 0.1,
    },
    "rmsprop with momentum, prelu": {"optimizer": "rmsprop", "momentum": 0.5, "activation": "prelu"},
    "bfloat16": {"dtype": "bfloat16", "optimizer": "momentum"},
    "records off": {"record": "off"},
    "full metrics, residual": {"metrics": "full", "residual": "pre", "norm": "layer"},
    "learned skip": {"residual": "rezero"},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_it_goes_on_with_the_same_bits(tmp_path: Path, variant: str) -> None:
    stack = stack_of(tmp_path, **VARIANTS[variant])
    data = stack.cell.dataset()
    expected = train_stack(stack, data, weights=tmp_path / "expected.safetensors")
    for step in (1, 4, STEPS):
        path = tmp_path / f"{step}.checkpoint"
        stopped_after(Checkpoint(path, 0), stack, step)
        made = []
        said: list[str] = []
        checkpoint = Checkpoint(path, 1e9, said.append)
        found = train_stack(
            stack,
            data,
            lambda step, new, shown, made=made: made.append((step, new)),  # type: ignore[misc]
            checkpoint,
            tmp_path / "found.safetensors",
        )
        assert not said
        assert_same_records(found, expected)
        weights = [(tmp_path / f"{name}.safetensors").read_bytes() for name in ("found", "expected")]
        assert weights[0] == weights[1]
        assert made[0][0] >= step and sum(new for _, new in made) == STEPS
        assert found.timings["plain_steps"] + found.timings["recorded_steps"] == STEPS + 1


def test_writing_checkpoints_changes_nothing(tmp_path: Path) -> None:
    stack = stack_of(tmp_path)
    path = tmp_path / "a.checkpoint"
    assert_same_records(
        train_stack(stack, stack.cell.dataset(), checkpoint=Checkpoint(path, 0)),
        train_stack(stack, stack.cell.dataset()),
    )
    assert path.exists()


def test_none_is_written_before_its_time(tmp_path: Path) -> None:
    stack = stack_of(tmp_path)
    train_stack(stack, stack.cell.dataset(), checkpoint=Checkpoint(tmp_path / "a.checkpoint", 1e9))
    assert not (tmp_path / "a.checkpoint").exists()


@pytest.mark.parametrize(
    "damage",
    ["torn", "foreign", "another stack's", "by another library", "by another torch", "by another recipe"],
)
def test_a_checkpoint_that_cannot_be_used_is_named(
    tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = stack_of(tmp_path)
    path = tmp_path / "a.checkpoint"
    whose = replace(stack, seeds=(5, 6)) if damage == "another stack's" else stack
    with monkeypatch.context() as before:
        if damage == "by another library":
            before.setattr(blas, "name", lambda: "OpenBLAS of the past")
        elif damage == "by another torch":
            before.setattr(torch, "__version__", "1.0")
        elif damage == "by another recipe":
            before.setattr(checkpoints, "RECIPE", 1)
        stopped_after(Checkpoint(path, 0), whose, 4)
    if damage == "torn":
        path.write_bytes(path.read_bytes()[:-50])
    elif damage == "foreign":
        path.write_text("x")
    said: list[str] = []
    found = train_stack(stack, stack.cell.dataset(), checkpoint=Checkpoint(path, 1e9, said.append))
    assert len(said) == 1 and str(path) in said[0] and "starts again" in said[0]
    assert_same_records(found, train_stack(stack, stack.cell.dataset()))


def test_a_checkpoint_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    stack = stack_of(tmp_path)
    said: list[str] = []
    checkpoint = Checkpoint(tmp_path / "no such folder" / "a.checkpoint", 0, said.append)
    found = train_stack(stack, stack.cell.dataset(), checkpoint=checkpoint)
    assert len(said) == 1 and "goes on without" in said[0]
    assert_same_records(found, train_stack(stack, stack.cell.dataset()))


def test_saved_weights_are_those_of_the_last_step(tmp_path: Path) -> None:
    """No update of a rate too small to count: they are the initial draws."""
    from safetensors import safe_open

    from gradlab.train.loop import build_stack

    stack = stack_of(tmp_path, lr=1e-30)
    train_stack(stack, stack.cell.dataset(), weights=tmp_path / "w" / "a.safetensors")
    initial = build_stack(stack, stack.cell.dataset()).state_dict()
    with safe_open(str(tmp_path / "w" / "a.safetensors"), framework="pt") as saved:
        assert json.loads(saved.metadata()["gradlab"]) == {"cell": stack.cell.id, "seeds": [0, 1]}
        assert set(saved.keys()) == set(initial)
        for name, value in initial.items():
            assert torch.allclose(saved.get_tensor(name), value, rtol=0, atol=1e-25), name


def test_random_numbers_go_on_where_they_stopped(tmp_path: Path) -> None:
    """A part of the user's own may draw while it trains."""
    stack = stack_of(tmp_path)
    with generators.seeded(3, "cpu"):
        training = Training(stack, stack.cell.dataset())
        training.input_sq = np.zeros((2, 16))  # of the first batch, which none of these sees
        state = training.state()
        expected = torch.rand(3)
        other = Training(stack, stack.cell.dataset())
        torch.default_generator.manual_seed(99)
        other.load_state(state)
        assert torch.equal(torch.rand(3), expected)
