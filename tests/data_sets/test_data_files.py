"""A user's files and folders: what is read, and that everything wrong with one names file, column and row."""

import gzip
import io
import pickle
import socket
import struct
import sys
import tracemalloc
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from gradlab import data
from gradlab.base import user_file
from gradlab.base.errors import DataError
from gradlab.data.columns import classes, is_quantity
from gradlab.data.idx import load_folder, read_idx
from gradlab.data.split import stratified_split

FILES = Path(__file__).parents[1] / "data"
ROWS = 40
LABELS = np.arange(ROWS) % 2


def idx_bytes(array: np.ndarray, code: int = 8) -> bytes:
    big_endian = array.astype(array.dtype.newbyteorder(">"))
    return (
        bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + big_endian.tobytes()
    )


def expect(dataset: data.Dataset, x: np.ndarray, y: np.ndarray) -> None:
    """The data set is x [rows, features] with classes y, split and standardised."""
    train, val = stratified_split(y)
    mean, std = x[train].mean(axis=0), x[train].std(axis=0)
    np.testing.assert_array_equal(dataset.y_train, y[train])
    np.testing.assert_array_equal(dataset.y_val, y[val])
    np.testing.assert_allclose(dataset.x_train, (x[train] - mean) / std, atol=1e-12)
    np.testing.assert_allclose(dataset.x_val, (x[val] - mean) / std, atol=1e-12)


def test_csv() -> None:
    path = FILES / "good.csv"
    lines = [line.split(",") for line in path.read_text().splitlines()[1:]]
    names = sorted({line[2] for line in lines})
    dataset = data.load(str(path), "kind")
    expect(
        dataset,
        np.array([[float(a), float(b)] for a, b, _ in lines]),
        np.array([names.index(line[2]) for line in lines]),
    )
    assert dataset.class_names == ("None", "setosa", "virginica"), "a class may be called None"


def test_csv_as_spreadsheets_write_it(tmp_path: Path) -> None:
    path = tmp_path / "sheet.CSV"
    text = "Y, a,b \r\n" + "".join(f"{label},{i},1e-{i % 3}\r\n" for i, label in enumerate(LABELS))
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    x = np.array([[i, float(f"1e-{i % 3}")] for i in range(ROWS)])
    expect(data.load(str(path), "Y"), x, LABELS)
    with pytest.raises(DataError, match="allowed: Y, a, b; name it with"):
        data.load(str(path))


def test_parquet(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame(
        {
            "whole": pd.array(range(ROWS), dtype="Int64"),
            "truth": np.arange(ROWS) % 3 == 0,
            "label": pd.Categorical(np.where(LABELS == 0, "no", "yes")),
            "single": np.linspace(0, 1, ROWS, dtype=np.float32),
        }
    )
    frame.to_parquet(tmp_path / "t.parquet")
    dataset = data.load(str(tmp_path / "t.parquet"), "label")
    expect(dataset, frame[["whole", "truth", "single"]].to_numpy(dtype=np.float64), LABELS)
    assert dataset.class_names == ("no", "yes")


def test_npz_flattens_arrays_to_columns(tmp_path: Path) -> None:
    images = np.random.default_rng(0).standard_normal((ROWS, 2, 3))
    age = np.arange(ROWS, dtype=np.uint8)
    np.savez(tmp_path / "t.npz", images=np.asfortranarray(images), age=age, y=LABELS[:, None])
    expect(data.load(str(tmp_path / "t.npz"), "y"), np.column_stack([images.reshape(ROWS, 6), age]), LABELS)


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ([3, 1, 3, 1], ("1", "3")),
        ([10.0, 9.0, 10.0, 9.0], ("9", "10")),
        ([True, False, True, False], ("False", "True")),
        (["b", "a", "b", "a"], ("a", "b")),
    ],
)
def test_whole_numbers_truth_values_and_text_are_classes(
    labels: list[object], names: tuple[str, ...]
) -> None:
    y, found = classes(pd.Series(labels), "t")
    assert found == names
    np.testing.assert_array_equal(y, [1, 0, 1, 0])


@pytest.mark.parametrize(
    "labels", [np.linspace(0, 1, 50), np.r_[np.arange(49.0), 0.5], np.arange(100) // 2, [1e300, 2e300] * 2]
)
def test_a_quantity_is_no_class(labels: object) -> None:
    assert is_quantity(pd.Series(labels))
    with pytest.raises(DataError, match=r"a quantity, not a class.*--task regression takes"):
        classes(pd.Series(labels), "t")


def test_many_classes_with_many_rows_are_classes() -> None:
    assert len(classes(pd.Series(np.arange(1000) % 100), "t")[1]) == 100


def test_idx_folder_keeps_the_distributed_split() -> None:
    table = load_folder(FILES / "idx_good", "idx_good")
    with gzip.open(FILES / "idx_good" / "train-images-idx3-ubyte.gz") as stream:
        pixels = np.frombuffer(stream.read()[16:], dtype=np.uint8).reshape(40, 6)
    np.testing.assert_array_equal(table.x, pixels)
    np.testing.assert_array_equal(table.y, np.arange(40) % 4)
    assert table.held_out is not None
    np.testing.assert_array_equal(table.held_out[1], np.arange(12) % 4)

    dataset = data.load(str(FILES / "idx_good"))
    expected = (table.held_out[0] - pixels.mean(axis=0)) / pixels.std(axis=0)
    np.testing.assert_allclose(dataset.x_val, expected, atol=1e-12)
    assert dataset.x_train.shape == (40, 6) and dataset.class_names == ("0", "1", "2", "3")


def test_idx_folder_with_a_training_part_alone_is_split(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (ROWS, 2, 2)).astype(np.uint8)
    (tmp_path / "train-images.idx3-ubyte").write_bytes(idx_bytes(images))
    (tmp_path / "train-labels.idx1-ubyte").write_bytes(idx_bytes((LABELS + 5).astype(np.uint8)))
    dataset = data.load(str(tmp_path))
    expect(dataset, images.reshape(ROWS, 4).astype(np.float64), LABELS)
    assert dataset.class_names == ("5", "6")


@pytest.mark.parametrize(
    ("code", "dtype"), [(8, "u1"), (9, "i1"), (11, "i2"), (12, "i4"), (13, "f4"), (14, "f8")]
)
def test_idx_types(tmp_path: Path, code: int, dtype: str) -> None:
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    path = tmp_path / "some-idx3"
    path.write_bytes(idx_bytes(array, code))
    np.testing.assert_array_equal(read_idx(path, "t"), array)


def test_idx_header_that_states_an_absurd_size_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "some-idx3"
    path.write_bytes(bytes([0, 0, 14, 3]) + b"\xff" * 12 + b"123")
    with pytest.raises(DataError, match="and it holds 3"):
        read_idx(path, "t")


def test_files_that_no_writer_makes_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path, says: str, target: str = "y") -> None:
        with pytest.raises(DataError, match=says) as caught:
            data.load(str(path), target)
        assert path.name in caught.value.problems[0].where

    y = LABELS
    np.savez(tmp_path / "struct.npz", x=np.zeros(ROWS, dtype=[("a", "f8"), ("b", "f8")]), y=y)
    refused(tmp_path / "struct.npz", "not a readable table|not numbers|values")
    np.savez(tmp_path / "twice.npz", **{"x": np.zeros((ROWS, 2)), "x[0]": np.zeros(ROWS), "y": y})
    refused(tmp_path / "twice.npz", "is called 'x\\[0\\]'")
    with zipfile.ZipFile(tmp_path / "foreign.npz", "w") as archive:
        archive.writestr("notes.txt", "no array")
        archive.writestr("y.txt", "no array")
    refused(tmp_path / "foreign.npz", "not a readable table")
    np.savez(tmp_path / "large.npz", x=np.zeros((ROWS, 2)), y=y)
    monkeypatch.setattr(user_file, "available_memory", lambda: 2000)
    refused(
        tmp_path / "large.npz",
        r"its arrays \(x \[40, 2\], y \[40\]\) take 3.1 kB, and 2.0 kB of memory are free",
    )
    (tmp_path / "axes").mkdir()
    header = bytes([0, 0, 8, 251]) + b"\0\0\0\1" * 251 + b"1"
    with pytest.raises(DataError, match="states 251 dimensions"):
        (tmp_path / "axes-idx3").write_bytes(header)
        read_idx(tmp_path / "axes-idx3", "t")


def test_an_idx_file_that_unpacks_to_more_than_it_states_is_read_no_further(tmp_path: Path) -> None:
    path = tmp_path / "bomb-idx1.gz"
    with gzip.open(path, "wb", compresslevel=1) as stream:
        stream.write(bytes([0, 0, 8, 1, 0, 0, 0, 5]))
        for _ in range(64):
            stream.write(bytes(1 << 20))
    tracemalloc.start()
    with pytest.raises(DataError, match="5 bytes, and it holds more"):
        read_idx(path, "t")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_a_parquet_index_is_a_column(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame({"a": np.arange(ROWS) ** 3, "b": np.arange(ROWS) ** 2, "y": LABELS})
    frame.set_index("a").to_parquet(tmp_path / "t.parquet")
    assert data.load(str(tmp_path / "t.parquet"), "y").features == 2


@pytest.mark.parametrize(
    ("file", "target", "says"),
    [
        ("bad_missing_value.csv", "kind", ["column 'height'", "row 7 of 60 is empty or NaN"]),
        ("bad_text.csv", "kind", ["column 'width'", "row 5 of 60 is text, 'wide'"]),
        ("bad_infinity.csv", "kind", ["column 'height'", "row 9 of 60 is inf"]),
        ("bad_missing_class.csv", "kind", ["column 'kind'", "row 4 of 60 has no class"]),
        ("bad_one_class.csv", "kind", ["column 'kind'", "all 60 rows are of one class, 'same'"]),
        ("bad_single_row_class.csv", "kind", ["column 'kind'", "single row among the 60 (lonely)"]),
        ("bad_ragged.csv", "kind", ["row 6 has 4 cells, the header names 3"]),
        ("bad_duplicate_columns.csv", "kind", ["3 columns is called 'width'"]),
        ("bad_no_header.csv", "kind", ["first row is numbers", "names the columns"]),
        ("bad_row_numbers.csv", "kind", ["column 1 of 4 has no name", "index=False"]),
        ("bad_only_header.csv", "y", ["no rows"]),
        ("bad_only_target.csv", "y", ["'y' is its only column"]),
        ("bad_empty.csv", "y", ["the file is empty"]),
        ("bad_latin1.csv", "kind", ["not UTF-8"]),
        ("bad_not_parquet.parquet", "kind", ["not a readable Parquet file"]),
        ("bad_not_npz.npz", "y", ["not a complete npz archive"]),
        ("bad_objects.npz", "y", ["Python objects", "does not unpickle"]),
        ("bad_lengths.npz", "y", ["array 'x'", "[9, 2]", "[10 rows, ...]"]),
        ("good.csv", "", ["3 columns and 60 rows", "width, height, kind", "--target COLUMN"]),
        ("good.csv", "kinds", ["3 columns and 60 rows, no column 'kinds'", "did you mean 'kind'?"]),
        ("god.csv", "kind", ["no such file", "did you mean 'good.csv'?"]),
        ("nowhere/good.csv", "kind", ["no such file"]),
        ("idx_bad_magic", "", ["train-images-idx3-ubyte", "89 50 4e 47"]),
        ("idx_truncated", "", ["train-images-idx3-ubyte", "240 bytes, and it holds 235"]),
        ("idx_truncated_gzip", "", ["train-images-idx3-ubyte.gz", "ended before"]),
        ("idx_counts", "", ["40 images", "39 labels"]),
        ("idx_no_labels", "", ["no IDX file of train-labels"]),
        ("idx_good", "kind", ["leave --target out"]),
    ],
)
def test_bad_data_names_the_file_the_column_and_the_row(file: str, target: str, says: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        data.load(str(FILES / file), target)
    message = str(caught.value)
    assert file in message
    for words in says:
        assert words in message


def test_a_file_of_another_kind_is_an_error() -> None:
    with pytest.raises(DataError, match=r"a \.py file is not supported; allowed: \.csv, \.parquet, \.npz"):
        data.load(__file__, "y")


def test_rows_longer_than_the_header_are_an_error_and_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b,y\n" + "".join(f"{i},{i},{i % 2},7\n" for i in range(ROWS)))
    with pytest.raises(DataError, match="as many cells in every row"):
        data.load(str(path), "y")


def test_all_columns_with_problems_are_told_at_once_and_a_flood_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    header = ",".join([*(f"c{i}" for i in range(30)), "y"])
    path.write_text(header + "\n" + "".join("x," * 30 + "\n" for _ in range(ROWS)))
    with pytest.raises(DataError) as caught:
        data.load(str(path), "y")
    assert len(caught.value.problems) == 1 + 10 + 1
    assert "20 more of its 30 columns" in str(caught.value)


def test_parquet_columns_that_are_no_numbers(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame(
        {
            "day": pd.to_datetime(["2026-01-01"] * ROWS),
            "list": [[1, 2]] * ROWS,
            "gap": pd.array([1, None] * (ROWS // 2), dtype="Int64"),
            "y": LABELS,
        }
    )
    frame.to_parquet(tmp_path / "t.parquet")
    with pytest.raises(DataError) as caught:
        data.load(str(tmp_path / "t.parquet"), "y")
    assert [problem.where.split("column ")[1] for problem in caught.value.problems] == [
        "'day'",
        "'list'",
        "'gap'",
    ]
    with pytest.raises(DataError, match="datetime"):
        data.load(str(tmp_path / "t.parquet"), "day")


def test_parquet_columns_of_the_same_name(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    column = pa.array(LABELS)
    parquet.write_table(pa.table([column, column, column], names=["a", "a", "y"]), tmp_path / "t.parquet")
    with pytest.raises(DataError, match="called 'a'"):
        data.load(str(tmp_path / "t.parquet"), "y")


def test_parquet_without_pyarrow_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"pip install 'gradlab\[parquet\]'"):
        data.load(str(FILES / "bad_not_parquet.parquet"), "y")


class Trap:
    """Unpickling it would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("kind", ["bare pickle", "object array"])
def test_nothing_is_unpickled(tmp_path: Path, kind: str) -> None:
    trap, path = tmp_path / "sprung", tmp_path / "t.npz"
    if kind == "bare pickle":
        path.write_bytes(pickle.dumps(Trap(trap)))
    else:
        np.savez(path, x=np.array([Trap(trap)] * ROWS, dtype=object), y=LABELS)
    with pytest.raises(DataError):
        data.load(str(path), "y")
    assert not trap.exists()


def test_damaged_archives_are_data_errors(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, x=np.ones((ROWS, 3)), y=LABELS)
    whole = buffer.getvalue()
    path = tmp_path / "t.npz"
    for damaged in (whole[:300], whole[:200] + b"\xff" + whole[201:], whole.replace(b"(40, 3)", b"(40,9e9")):
        path.write_bytes(damaged)
        with pytest.raises(DataError):
            data.load(str(path), "y")


def test_digest_is_of_the_bytes_and_moves_with_them(tmp_path: Path) -> None:
    one, two = tmp_path / "one.csv", tmp_path / "two.csv"
    one.write_bytes((FILES / "good.csv").read_bytes())
    two.write_bytes(one.read_bytes())
    assert data.digest(str(one), "kind") == data.digest(str(two), "kind")
    assert data.digest(str(one), "kind") != data.digest(str(one), "width")
    assert data.digest(str(one), "kind") == data.load(str(one), "kind").digest
    two.write_bytes(one.read_bytes() + b"\n")
    assert data.digest(str(one), "kind") != data.digest(str(two), "kind")
    assert data.digest(str(FILES / "idx_truncated")) != data.digest(str(FILES / "idx_counts"))


def test_a_file_of_the_name_of_a_built_in_is_reached_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    assert data.load("digits").features == 64
    with pytest.raises(DataError, match="no IDX file"):
        data.load("./digits")


def fake_openml(
    monkeypatch: pytest.MonkeyPatch, frame: pd.DataFrame, targets: list[str]
) -> list[dict[str, object]]:
    calls: list[dict[str, object]] = []

    def fetch_openml(name: str, **options: object) -> SimpleNamespace:
        calls.append({"name": name, **options})
        return SimpleNamespace(frame=frame.copy(), target_names=targets)

    monkeypatch.setattr("sklearn.datasets.fetch_openml", fetch_openml)
    return calls


def test_openml(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).standard_normal((ROWS, 2))
    label = np.where(LABELS == 0, "'no one'", "yes")
    frame = pd.DataFrame({"a": x[:, 0], "label": label, "b": x[:, 1]})
    calls = fake_openml(monkeypatch, frame, ["label"])
    dataset = data.load("openml:some-set:version=2")
    expect(dataset, x, LABELS)
    assert dataset.class_names == ("no one", "yes") and dataset.name == "openml:some-set:version=2"
    data.load("openml:some-set", "label")
    assert [(call["name"], call["version"], call["target_column"]) for call in calls] == [
        ("some-set", 2, "default-target"),
        ("some-set", "active", "label"),
    ]


def test_openml_without_a_single_default_target_asks_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for targets in ([], ["a", "b"]):
        fake_openml(monkeypatch, pd.DataFrame({"a": LABELS, "b": LABELS}), targets)
        with pytest.raises(DataError, match="--target COLUMN"):
            data.load("openml:some-set")


def test_openml_without_network_or_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    with pytest.raises(
        DataError, match="openml:iris: it is not in scikit-learn's cache and could not be fetched"
    ):
        data.load("openml:iris")


@pytest.mark.parametrize("place", [10, -6])  # the first deflate block (zlib's error), the checksum (gzip's)
def test_a_damaged_gzip_is_a_data_error(tmp_path: Path, place: int) -> None:
    packed = bytearray(gzip.compress(idx_bytes(np.arange(200, dtype=np.uint8))))
    packed[place] = 0xFF
    path = tmp_path / "some-idx1-ubyte.gz"
    path.write_bytes(packed)
    with pytest.raises(DataError, match="download it again"):
        read_idx(path, "t")
