"""A stack divided among workers: its replicas have the bits that they have together, and what was begun goes on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sweep.small_plans import Notes, plan_of, table_bytes

from gradlab.base import blas
from gradlab.config.plan import Stack
from gradlab.lab import division
from gradlab.lab.division import Division, divisible, joined
from gradlab.lab.experiment import execute
from gradlab.lab.summary_builder import Cells
from gradlab.train.loop import train_stack

needs_own_blas = pytest.mark.skipif(
    blas.own() is None, reason="without gradlab's own BLAS no stack is divided"
)


def stack_of(**settings: Any) -> Stack:
    one = {"activation": "relu", "depth": 3, "width": 16, "seeds": 5}
    return plan_of(Path("unused"), **{**one, **settings}).stacks()[0]


@needs_own_blas
@pytest.mark.parametrize(
    "settings",
    [
        *({"activation": name} for name in ("sigmoid", "elu", "selu", "mish", "silu", "softplus", "tanh", "gelu")),
        {"batch_size": 7},
        {"width": 48, "batch_size": 1},
        {"activation": "prelu:per=unit"},
        {"activation": "softmax"},
        {"norm": "layer"},
        {"norm": "batch", "activation": "sigmoid"},
        {"residual": "pre", "batch_size": 9},
        {"optimizer": "adam", "lr": 0.001, "clip": 0.1},
        {"init": "lsuv", "dtype": "float64"},
        {"loss": "mse", "data": "moons"},
        {"jacobian": True, "histograms": True, "probe": "77", "eval_rows": "77"},
        {"sharpness": True, "activation": "tanh", "steps": 40, "probe": "77"},
    ],
    ids=str,
)  # fmt: skip
def test_a_replica_has_the_same_bits_alone_and_in_a_stack(settings: dict[str, Any]) -> None:
    stack = stack_of(metrics="full", **settings)
    assert divisible(stack)
    dataset = stack.cell.dataset()
    whole = train_stack(stack, dataset)
    for spans in (((0, 3), (3, 5)), tuple((seed, seed + 1) for seed in range(5))):
        parts = [replace(stack, seeds=stack.seeds[first:stop]) for first, stop in spans]
        found = joined([train_stack(part, dataset) for part in parts])
        assert found.seeds == whole.seeds
        np.testing.assert_array_equal(found.input_sq, whole.input_sq)
        for name, block in whole.blocks.items():
            np.testing.assert_array_equal(found.blocks[name].values, block.values, err_msg=name)
            np.testing.assert_array_equal(found.blocks[name].applies, block.applies, err_msg=name)


def test_what_may_have_other_bits_alone_stays_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(division.blas, "own", lambda: object())
    assert divisible(stack_of())
    assert not divisible(stack_of(width=20))
    assert not divisible(stack_of(dtype="bfloat16"))
    assert not divisible(stack_of(activation="torch:relu"))
    monkeypatch.setattr(division.blas, "own", lambda: None)
    assert not divisible(stack_of())


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(division, "divisible", lambda stack: True)


def spans(found: Division) -> list[tuple[int, int]]:
    return [(unit.seeds[0], unit.seeds[-1]) for unit in found.units]


@pytest.mark.parametrize(
    ("workers", "expected"),
    [(1, [(0, 4)]), (2, [(0, 1), (2, 4)]), (3, [(0, 0), (1, 2), (3, 4)]), (9, [(n, n) for n in range(5)])],
)
def test_one_cell_is_divided_as_evenly_as_its_seeds_allow(
    always: None, workers: int, expected: list[tuple[int, int]]
) -> None:
    assert spans(Division([stack_of()], workers)) == expected


def test_as_many_stacks_as_workers_stay_whole_and_a_long_one_does_not(always: None) -> None:
    stacks = plan_of(Path("unused"), seeds=5).stacks()
    assert [unit.key for unit in Division(stacks, 2).units] == [stack.key for stack in stacks]
    uneven = plan_of(Path("unused"), activation="relu", depth=2, seeds=10).stacks()  # 8 and 2 of one cell
    assert spans(Division(uneven, 2)) == [(0, 3), (4, 7), (8, 9)]


@pytest.mark.parametrize(
    ("begun", "expected"),
    [
        ([(0, 4)], [(0, 4)]),  # all together, whatever the number of workers is now
        ([(0, 1)], [(0, 1), (2, 2), (3, 4)]),
        ([(2, 2)], [(0, 1), (2, 2), (3, 4)]),
        ([(0, 2), (3, 4)], [(0, 2), (3, 4)]),
        ([(0, 2), (2, 3)], [(0, 2), (3, 4)]),  # not both
        ([(4, 9)], [(0, 1), (2, 4)]),  # of another plan
    ],
)
def test_what_was_begun_keeps_its_parts(
    always: None, begun: list[tuple[int, int]], expected: list[tuple[int, int]]
) -> None:
    stack = stack_of()
    assert spans(Division([stack], 2, {stack.cell.id: begun})) == expected


@needs_own_blas
@pytest.mark.parametrize("workers", [2, 5])
def test_one_cell_on_any_number_of_workers_writes_the_same_bytes(tmp_path: Path, workers: int) -> None:
    flags = {"activation": ["relu"], "depth": [2], "width": 16, "seeds": 5}
    found = []
    for count in (1, workers):
        notes = Notes()
        execute(plan_of(tmp_path / str(count), **flags, workers=count), notes)
        assert notes.total == notes.steps == 5 * 6 and len(notes.cells) == 1
        found.append(table_bytes(tmp_path / str(count)))
        assert len(list((tmp_path / str(count) / ".journal").glob("*.npz"))) == 1
    assert found[0] == found[1]


@needs_own_blas
def test_weights_are_kept_in_one_file_a_stack(tmp_path: Path) -> None:
    flags = {
        "activation": ["relu"],
        "depth": [2],
        "width": 16,
        "seeds": 3,
        "workers": 2,
        "save_weights": True,
    }
    execute(plan_of(tmp_path / "out", **flags))
    assert [path.name.partition("-")[2] for path in (tmp_path / "out" / "weights").iterdir()] == [
        "0-2.safetensors"
    ]
    assert execute(plan_of(tmp_path / "out", **flags)).cached


def test_the_seconds_of_parts_and_of_stacks_add_up() -> None:
    plan = plan_of(Path("unused"), activation=["relu", "tanh"], depth=[1], width=4, steps=0)
    cells = Cells(plan, lambda stack, tables: None)
    for stack, timings in zip(plan.stacks(), ({"a": 1.5, "b": 0.5}, {"a": 2.0, "c": 3.0}), strict=True):
        result = train_stack(stack, stack.cell.dataset())
        parts = [replace(result, timings=timings), replace(result, timings={"a": 4.0})]
        whole = joined(parts)
        assert whole.timings == timings | {"a": timings["a"] + 4.0}
        assert cells.add(stack, parts[0]) is not None
    assert cells.timings == {"a": 3.5, "b": 0.5, "c": 3.0}
