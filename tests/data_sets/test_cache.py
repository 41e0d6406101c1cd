"""A large file is read once: what is kept of it is what reading it gives, to the last bit, and is never in the way."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from rich.console import Console

from gradlab import data
from gradlab.base.errors import DataError
from gradlab.cli.main import main
from gradlab.cli.reading import LARGE, reading_shown
from gradlab.config import plan, resolve
from gradlab.data import cache, csv_file, files, split
from gradlab.data.dataset import Samples
from gradlab.data.reading import watched
from gradlab.lab import cost

ROWS = 120
ARRAYS = ("x_train", "x_val", "y_train", "y_val")


@pytest.fixture(autouse=True)
def everything_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small files count as large, in a cache of the test's own, and are read in many pieces."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(split, "KEPT_FROM", 1)
    monkeypatch.setattr(split, "BLOCK_NUMBERS", 64)
    monkeypatch.setattr(csv_file, "CELLS_AT_ONCE", 50)


def texts(rows: int, seed: int) -> list[list[str]]:
    """Numbers in every way that programs write them."""
    drawn = np.random.default_rng(seed)
    ways = ("{!r}", "{:.25e}", "{:.3f}", "{:.0f}", "{:+.17g}", " {:e}", "{:.40f}")
    values = drawn.standard_normal((rows, 5)) * 10.0 ** drawn.integers(-30, 30, (rows, 5))
    return [[ways[drawn.integers(len(ways))].format(float(value)) for value in row] for row in values]


def written(path: Path, rows: list[list[str]]) -> Path:
    lines = [",".join([*row, str(index % 3)]) for index, row in enumerate(rows)]
    path.write_text("a,b,c,d,e,y\n" + "\n".join(lines) + "\n")
    return path


def same(one: data.Dataset, other: data.Dataset) -> None:
    for name in ARRAYS:
        first, second = getattr(one, name), getattr(other, name)
        assert first.dtype == second.dtype
        np.testing.assert_array_equal(first.view(np.uint8), second.view(np.uint8), name)
    assert (one.digest, one.class_names, one.task, one.targets, one.either) == (
        other.digest, other.class_names, other.task, other.targets, other.either,
    )  # fmt: skip


def no_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the file is read again")

    monkeypatch.setattr(files, "load_file", refuse)


@pytest.mark.parametrize("seed", range(5))
def test_numbers_are_those_of_the_slow_reader_and_of_python(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = texts(ROWS, seed)
    path = written(tmp_path / "t.csv", rows)
    table, digest = csv_file.load_csv(path, "y", "t", "auto", csv_file.Dialect())
    np.testing.assert_array_equal(table.x, [[float(text) for text in row] for row in rows])
    monkeypatch.setattr(csv_file, "_streamed", lambda *_: None)
    slow, again = csv_file.load_csv(path, "y", "t", "auto", csv_file.Dialect())
    np.testing.assert_array_equal(slow.x.view(np.uint8), table.x.view(np.uint8))
    np.testing.assert_array_equal(slow.y, table.y)
    assert digest == again and data.load(str(path), "y").digest == data.digest(str(path), "y")


@pytest.mark.parametrize("columns", [1, 2, 3, 7, 64, 65])
def test_pieces_are_standardised_as_whole_tables_are(columns: int) -> None:
    drawn = np.random.default_rng(columns)
    x = drawn.standard_normal((ROWS, columns)) * 10.0 ** drawn.integers(-5, 5, columns)
    if columns > 2:
        x[:, 1] = 0.1
    found = split.prepare(Samples(x, np.arange(ROWS) % 2, ("a", "b")), "t", "d")
    train, val = split.stratified_split(np.arange(ROWS) % 2)
    mean = x[train].mean(axis=0)
    centred = x[train] - mean
    scale = np.sqrt(np.einsum("nf,nf->f", centred, centred) / len(train))
    constant = x[train].min(axis=0) == x[train].max(axis=0)
    for part, rows in ((found.x_train, train), (found.x_val, val)):
        expected = np.where(constant, 0.0, (x[rows] - mean) / np.where(constant, 1.0, scale))
        np.testing.assert_array_equal(part, expected)


def test_a_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "t.csv", texts(ROWS, 0))
    passed: list[int] = []
    with watched(lambda name, done, size: passed.append(done)):
        first = data.load(str(path), "y")
    assert passed[-1] == path.stat().st_size == max(passed)
    monkeypatch.setattr(split, "KEPT_FROM", 10**9)
    plainly = data.load(str(path), "y", task="classification")  # the same data, kept nowhere
    no_reading(monkeypatch)
    for again in (data.load(str(path), "y"), data.load(str(path), "y", known=first.digest)):
        same(again, first)
        for name in ARRAYS:
            np.testing.assert_array_equal(getattr(again, name), getattr(plainly, name))
        for single, double in zip(again.inputs("float32"), (again.x_train, again.x_val), strict=True):
            np.testing.assert_array_equal(single, torch.as_tensor(double).to(torch.float32).numpy())
        assert again.inputs("float64")[0] is again.x_train and plainly.inputs("float32")[0] is plainly.x_train
    with pytest.raises(AssertionError, match="read again"):
        data.load(str(path), "a")


def test_a_file_that_changes_is_another(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", texts(ROWS, 0))
    first = data.load(str(path), "y")
    text = path.read_text()
    path.write_text(text.replace("2\n", "1\n", 1))  # as many bytes as before
    second = data.load(str(path), "y")
    assert second.digest != first.digest and not np.array_equal(second.y_train, first.y_train)
    path.write_text(text)
    same(data.load(str(path), "y"), first)


@pytest.mark.parametrize("place", [0, 100, 3000, -1, -10, -40])
def test_a_damaged_entry_is_made_anew(place: int, tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", texts(ROWS, 0))
    first = data.load(str(path), "y")
    (entry,) = cache.entries()
    whole = entry.path.read_bytes()
    damaged = bytearray(whole)
    damaged[place] ^= 1
    for bad in (bytes(damaged), whole[: len(whole) // 2], b""):
        entry.path.unlink()  # the arrays of `first` are mapped from it
        entry.path.write_bytes(bad)
        assert cache.find(first.digest) is None
        same(data.load(str(path), "y"), first)
        assert entry.path.read_bytes() == whole


@pytest.mark.parametrize("ending", ["npz", "parquet"])
def test_other_files_are_kept_too(ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / f"t.{ending}"
    x, y = np.random.default_rng(0).standard_normal(ROWS), np.arange(ROWS) / 7
    if ending == "npz":
        np.savez(path, x=x, y=y)
    else:
        pytest.importorskip("pyarrow")
        pd.DataFrame({"x": x, "y": y}).to_parquet(path)
    first = data.load(str(path), "y")
    assert first.task == "regression" and first.digest == data.digest(str(path), "y")
    no_reading(monkeypatch)
    same(data.load(str(path), "y"), first)


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "t.csv", texts(ROWS, 0))
    first = data.load(str(path), "y")
    (tmp_path / "file").write_text("no folder")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        monkeypatch.setenv("XDG_CACHE_HOME", str(place))
        same(data.load(str(path), "y"), first)
        assert cache.entries() == []


def test_what_is_used_stays_and_the_rest_makes_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [written(tmp_path / f"{seed}.csv", texts(ROWS, seed)) for seed in range(4)]
    for age, path in zip((300, 200, 100), paths, strict=False):
        data.load(str(path), "y")
        newest = min(cache.entries(), key=lambda entry: entry.name != str(path))
        os.utime(newest.path, (newest.used - age, newest.used - age))
    data.load(str(paths[0]), "y")  # used again
    (cache.folder() / f".1-2{cache.ENDING}.77.part").write_bytes(b"left behind")
    os.utime(cache.folder() / f".1-2{cache.ENDING}.77.part", (0, 0))
    monkeypatch.setattr(cache, "LIMIT", 3 * newest.bytes + 100)
    data.load(str(paths[3]), "y")
    assert {entry.name for entry in cache.entries()} == {str(paths[place]) for place in (0, 2, 3)}
    assert not [*cache.folder().glob("*.part")]
    monkeypatch.setattr(cache, "LIMIT", 10)  # no room for any
    data.load(str(written(tmp_path / "5.csv", texts(ROWS, 5))), "y")
    assert len(cache.entries()) == 3
    assert (cache.folder().stat().st_mode & 0o777) == 0o700


def test_two_processes_at_once(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", texts(ROWS, 0))
    code = (
        "from gradlab import data; from gradlab.data import split; split.KEPT_FROM = 1\n"
        f"print(data.load({str(path)!r}, 'y').digest)"
    )
    started = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(2)]
    said = {process.communicate()[0].decode().strip() for process in started}
    assert said == {data.load(str(path), "y").digest} and len(cache.entries()) == 1


def test_a_plan_reads_a_file_once_and_its_stacks_share_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "t.csv", texts(ROWS, 0))
    read = files.load_file
    calls: list[Path] = []
    monkeypatch.setattr(files, "load_file", lambda *args: (calls.append(args[0]), read(*args))[1])
    flags = {"data": str(path), "target": "y", "batch_size": 8, "depth": [2, 3]}
    made = plan.make(resolve(flags=flags, lists=True))
    assert len(calls) == 1 and len(made.cells) == 2
    small = cost.memory(made.stacks()[0])
    plan._loaded.clear()  # as in a worker
    assert all(cell.dataset().digest == cell.digest for cell in made.cells) and len(calls) == 1
    cache.clear()
    plan._loaded.clear()
    monkeypatch.setattr(split, "KEPT_FROM", 10**9)
    assert cost.memory(made.stacks()[0]) > small, "an array of its own"
    path.write_text(path.read_text() + "1,1,1,1,1,1\n")
    plan._loaded.clear()
    with pytest.raises(DataError, match="has changed since this was planned"):
        made.cells[0].dataset()


def test_the_command_shows_and_empties_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path / "t.csv", texts(ROWS, 0))
    assert main(["cache"]) == 0 and capsys.readouterr().out.startswith("0 bytes of at most 8.0 GB in ")
    data.load(str(path), "y")
    (entry,) = cache.entries()
    assert main(["cache"]) == 0
    assert f"{path}: 120 rows of 5, " in capsys.readouterr().out
    assert main(["cache", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["entries"][0]["bytes"] == entry.bytes
    assert main(["cache", "--clear"]) == 0
    assert capsys.readouterr().out.startswith("removed ") and cache.entries() == []


def test_a_line_is_shown_on_a_terminal_alone(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = ["0.12345678901234567890" + f",{index}" * 2 for index in range(30)]
    path.write_text("a,b,y\n" + "\n".join(rows) + "\n" + " " * LARGE + "\n")
    for terminal, quiet in ((True, False), (False, False), (True, True)):
        stream = io.StringIO()
        console = Console(file=stream, force_terminal=terminal, width=100)
        with reading_shown(quiet, console):
            data.load(str(path), "y")
        assert ("reading" in stream.getvalue()) == (terminal and not quiet)
        cache.clear()
