"""What the journal keeps comes back bit for bit; what is damaged or foreign is named, never read as a result."""

from __future__ import annotations

import pickle
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from hypothesis.extra import numpy as arrays
from sweep.small_plans import plan_of

from gradlab.config.plan import Stack
from gradlab.store import journal
from gradlab.store.stack_result import StackResult
from gradlab.tables.columns import STEP_COLUMNS, layer_columns
from gradlab.tables.schema import SCHEMA_VERSION

ANY_FLOAT = some.floats(width=64)  # NaN, infinities, subnormals and -0.0 included
TEXT = some.text(some.characters(codec="utf-8", exclude_characters="\0"), max_size=8)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    return plan_of(tmp_path_factory.mktemp("plan"), activation="tanh", depth=2).stacks()[0]


@some.composite
def stack_results(draw: some.DrawFn, stack: Stack) -> StackResult:
    """Any records with the shapes of the stack."""
    recorded, replicas, layers = draw(some.integers(0, 3)), len(stack.seeds), draw(some.integers(1, 3))
    records = recorded or draw(some.integers(1, 3))
    columns, batch = layer_columns("standard"), draw(some.integers(1, 4))

    def floats(*shape: int) -> np.ndarray:
        return draw(arrays.arrays(np.float64, shape, elements=ANY_FLOAT))

    def flags(*shape: int) -> np.ndarray:
        return draw(arrays.arrays(np.bool_, shape))

    return StackResult(
        cell=stack.cell.id,
        seeds=stack.seeds,
        steps=np.sort(draw(arrays.arrays(np.int64, records, elements=some.integers(0, 2**40)))),
        layers=floats(recorded, layers, replicas, len(columns)),
        layer_applies=flags(recorded, layers, len(columns)),
        scalars=floats(records, replicas, len(STEP_COLUMNS)),
        scalar_applies=flags(records, len(STEP_COLUMNS)),
        layer_columns=columns,
        names=tuple(draw(some.lists(TEXT, min_size=layers, max_size=layers))),
        fan_in=(3,) * layers,
        fan_out=(4,) * layers,
        batch=batch,
        input_sq=floats(replicas, batch),
        timings=draw(some.dictionaries(TEXT, some.floats(allow_nan=False), max_size=3)),
        predicted=floats(replicas, layers),
    )


def assert_same(one: StackResult, other: StackResult) -> None:
    for field in fields(StackResult):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, np.ndarray):
            assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes()), field.name
        else:
            assert a == b, field.name


@given(data=some.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_stack_comes_back_bit_for_bit(data: some.DataObject, stack: Stack, tmp_path: Path) -> None:
    result = data.draw(stack_results(stack))
    journal.write_stack(tmp_path / "a.npz", stack, result)
    found = journal.read_stack(tmp_path / "a.npz", stack)
    assert found is not None
    assert_same(found, result)


@pytest.fixture
def written(stack: Stack, tmp_path: Path) -> Path:
    path = tmp_path / "a.npz"
    journal.write_stack(path, stack, example(stack))
    return path


def example(stack: Stack) -> StackResult:
    columns, replicas = layer_columns("standard"), len(stack.seeds)
    random = np.random.default_rng(0)
    return StackResult(
        cell=stack.cell.id,
        seeds=stack.seeds,
        steps=np.arange(4),
        layers=random.normal(size=(4, 3, replicas, len(columns))),
        layer_applies=np.ones((4, 3, len(columns)), dtype=bool),
        scalars=random.normal(size=(4, replicas, len(STEP_COLUMNS))),
        scalar_applies=np.ones((4, len(STEP_COLUMNS)), dtype=bool),
        layer_columns=columns,
        names=("hidden_1", "hidden_2", "output"),
        fan_in=(64, 8, 8),
        fan_out=(8, 8, 10),
        batch=16,
        input_sq=random.normal(size=(replicas, 16)),
        timings={},
    )


@given(share=some.floats(0, 1, exclude_max=True))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_file_torn_anywhere_is_not_read(share: float, stack: Stack, written: Path) -> None:
    torn = written.with_name("torn.npz")
    whole = written.read_bytes()
    torn.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(journal.Unusable, match="torn"):
        journal.read_stack(torn, stack)


@given(place=some.floats(0, 1, exclude_max=True), flip=some.integers(1, 255))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_changed_byte_never_changes_a_number(place: float, flip: int, stack: Stack, written: Path) -> None:
    """The byte may lie where it means nothing (a date in the archive); then the same records are read."""
    damaged = written.with_name("damaged.npz")
    whole = bytearray(written.read_bytes())
    whole[int(place * len(whole))] ^= flip
    damaged.write_bytes(whole)
    try:
        found = journal.read_stack(damaged, stack)
    except journal.Unusable:
        return
    good = journal.read_stack(written, stack)
    assert found is not None and good is not None
    assert_same(found, good)


def test_a_missing_file_is_no_damage(stack: Stack, tmp_path: Path) -> None:
    assert journal.read_stack(tmp_path / "none.npz", stack) is None


def test_foreign_files_are_named(stack: Stack, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    path.write_text("seed,step\n")
    with pytest.raises(journal.Unusable, match="no file of gradlab's"):
        journal.read_stack(path, stack)
    np.savez(path, weights=np.zeros(3))
    with pytest.raises(journal.Unusable, match="no file of gradlab's"):
        journal.read_stack(path, stack)
    path.unlink()
    path.mkdir()
    with pytest.raises(journal.Unusable, match="cannot be read"):
        journal.read_stack(path, stack)


def test_nothing_is_unpickled(stack: Stack, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    path = tmp_path / "a.npz"
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(journal.Unusable):
        journal.read_stack(path, stack)
    np.savez(path, header=np.array([Trap()], dtype=object))
    with pytest.raises(journal.Unusable):
        journal.read_stack(path, stack)
    assert not (tmp_path / "sprung").exists()


def test_another_schema_version_is_named(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.npz"
    with monkeypatch.context() as patch:
        patch.setattr(journal, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
        journal.write_stack(path, stack, example(stack))
    with pytest.raises(journal.Unusable, match=f"schema version {SCHEMA_VERSION + 1}"):
        journal.read_stack(path, stack)


def test_another_stacks_records_are_named(stack: Stack, written: Path) -> None:
    other = replace(stack, seeds=(7, 8))
    with pytest.raises(journal.Unusable, match=rf"holds cell {stack.cell.id}, seeds \[0, 1\]"):
        journal.read_stack(written, other)
    recorded = replace(stack, recording=stack.recording.model_copy(update={"probe": "all"}))
    with pytest.raises(journal.Unusable, match="other settings"):
        journal.read_stack(written, recorded)


def test_arrays_that_do_not_fit_are_refused(stack: Stack, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    good = example(stack)
    for change in (
        {"layers": good.layers[:, :2]},
        {"scalars": good.scalars[1:]},
        {"layers": good.layers.astype(np.complex128)},
        {"fan_in": (64, 8)},
    ):
        journal.write_stack(path, stack, replace(good, **change))  # type: ignore[arg-type]
        with pytest.raises(journal.Unusable, match="do not fit"):
            journal.read_stack(path, stack)
