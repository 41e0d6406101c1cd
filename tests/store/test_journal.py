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
from gradlab.tables.block import Block
from gradlab.tables.layers import LAYERS
from gradlab.tables.spec import SCHEMA_VERSION
from gradlab.tables.steps import STEPS

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

    def floats(*shape: int) -> np.ndarray:
        return draw(arrays.arrays(np.float64, shape, elements=ANY_FLOAT))

    def flags(*shape: int) -> np.ndarray:
        return draw(arrays.arrays(np.bool_, shape))

    names = draw(some.lists(TEXT, min_size=layers, max_size=layers))
    batch, columns = draw(some.integers(1, 4)), len(LAYERS.recorded)
    empty = Block.empty(LAYERS, replicas, places(names, batch))
    steps = Block.empty(STEPS, replicas, {})
    return StackResult(
        cell=stack.cell.id,
        seeds=stack.seeds,
        steps=np.sort(draw(arrays.arrays(np.int64, records, elements=some.integers(0, 2**40)))),
        blocks={
            "layers": empty.with_records(
                floats(replicas, recorded, layers, columns), flags(recorded, layers, columns)
            ),
            "steps": steps.with_records(
                floats(replicas, records, len(STEPS.recorded)), flags(records, len(STEPS.recorded))
            ),
        },
        input_sq=floats(replicas, batch),
        timings=draw(some.dictionaries(TEXT, some.floats(allow_nan=False), max_size=3)),
    )


def places(names: list[str], batch: int) -> dict[str, object]:
    count = len(names)
    return {
        "layer": list(range(1, count + 1)),
        "name": names,
        "fan_in": [3] * count,
        "fan_out": [4] * count,
        "outputs": [4] * count,
        "layer_activation": ["tanh"] * count,
        "trains": ["yes"] * count,
        **{name: [""] * count for name in ("path", "into", "joins")},
        "batch": batch,
    }


def assert_same(one: StackResult, other: StackResult) -> None:
    for field in fields(StackResult):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if field.name == "blocks":
            assert a.keys() == b.keys()
            for name in a:
                assert (a[name].columns, dict(a[name].places)) == (b[name].columns, dict(b[name].places))
                assert a[name].values.tobytes() == b[name].values.tobytes(), name
                assert a[name].applies.tobytes() == b[name].applies.tobytes(), name
        elif isinstance(a, np.ndarray):
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
    replicas, random = len(stack.seeds), np.random.default_rng(0)
    empty = Block.empty(LAYERS, replicas, places(["hidden_1", "hidden_2", "output"], 16))
    steps = Block.empty(STEPS, replicas, {})

    def filled(block: Block) -> Block:
        shape = (replicas, 4, *block.values.shape[2:])
        return block.with_records(random.normal(size=shape), np.ones(shape[1:], dtype=bool))

    return StackResult(
        cell=stack.cell.id,
        seeds=stack.seeds,
        steps=np.arange(4),
        blocks={"layers": filled(empty), "steps": filled(steps)},
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
    layers, steps = good.blocks["layers"], good.blocks["steps"]
    for change in (
        {"layers": replace(layers, values=layers.values[:, :2])},
        {"layers": replace(layers, values=layers.values[:, :, :2])},
        {"layers": replace(layers, applies=layers.applies[:, :, :2])},
        {"steps": replace(steps, values=steps.values[:, 1:])},
        {"layers": replace(layers, values=layers.values.astype(np.complex128))},
        {"layers": replace(layers, places={**layers.places, "fan_in": [64, 8]})},
    ):
        journal.write_stack(path, stack, replace(good, blocks={**good.blocks, **change}))
        with pytest.raises(journal.Unusable, match="do not fit"):
            journal.read_stack(path, stack)


def test_joined_stacks_took_the_seconds_of_both(stack: Stack, written: Path) -> None:
    found = journal.read_stack(written, stack)
    assert found is not None
    paths, later = [], replace(stack, seeds=tuple(seed + len(stack.seeds) for seed in stack.seeds))
    for own, timings in ((stack, {"a": 1.5, "b": 0.5}), (later, {"a": 2.0})):
        paths.append(written.with_name(f"{own.key}.npz"))
        journal.write_stack(paths[-1], own, replace(found, seeds=own.seeds, timings=timings))
    assert journal.join_stacks(paths, written.with_name("joined.npz"))
    whole = journal.read_stack(
        written.with_name("joined.npz"), replace(stack, seeds=stack.seeds + later.seeds)
    )
    assert whole is not None and whole.timings == {"a": 3.5, "b": 0.5}
