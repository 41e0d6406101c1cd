"""Files that are none, and files that state or unpack to more than a machine holds: refused before they are read."""

import gzip
import io
import os
import re
import struct
import threading
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import gradlab as package
from gradlab import data
from gradlab.base import user_file
from gradlab.base.errors import UserError
from gradlab.config import plan, resolve
from gradlab.store.results import read_folder, read_layers, read_manifest

SECONDS = 20
"""A reader that has not come back by then waits for a pipe, or reads without end."""


def refusal(read: Callable[[], object]) -> str:
    """The error of a reader, which must come back by itself."""
    found: list[str] = []

    def call() -> None:
        try:
            read()
        except UserError as error:
            found.append(str(error))

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(SECONDS)
    assert not thread.is_alive(), "it waits, or reads without end"
    assert found, "it raised nothing, or something else"
    return found[0]


def idx_folder(folder: Path, rows: int) -> Path:
    folder.mkdir()
    images = bytes([0, 0, 8, 3]) + struct.pack(">3I", rows, 28, 28)
    labels = bytes([0, 0, 8, 1]) + struct.pack(">I", rows)
    for part, head, size in (("images-idx3", images, rows * 784), ("labels-idx1", labels, rows)):
        with gzip.open(folder / f"train-{part}-ubyte.gz", "wb", compresslevel=1) as stream:
            stream.write(head)
            stream.write(bytes(size))
    return folder


def empty_texts(path: Path) -> Path:
    """An npz archive of 690 bytes with 90,000,000,000 texts of no characters."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|S0", "fortran_order": False, "shape": (30, 3_000_000_000)}
    )
    np.savez(path, y=np.arange(30) % 2)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x.npy", header.getvalue())
    assert path.stat().st_size < 1000
    return path


def test_an_archive_of_texts_without_characters(tmp_path: Path) -> None:
    path = empty_texts(tmp_path / "t.npz")
    assert "array 'x': it holds |S0 [30, 3000000000], texts without characters" in refusal(
        lambda: data.load(str(path), "y")
    )


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(user_file, "available_memory", lambda: 8_000_000)
    return 8_000_000


def peak_of(call: Callable[[], object]) -> int:
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_what_unpacks_to_more_than_memory_is_refused_with_both_numbers(
    tmp_path: Path, little_memory: int
) -> None:
    rows = 20_000
    folder = idx_folder(tmp_path / "idx", rows)
    says = r"its header states [20000, 28, 28], which take 250.9 MB, and 8.0 MB of memory are free"
    assert peak_of(lambda: says in refusal(lambda: data.load(str(folder)))) < little_memory
    assert says in refusal(lambda: data.load(str(folder)))

    np.savez_compressed(tmp_path / "t.npz", x=np.zeros((rows, 100)), y=np.arange(rows) % 2)
    says = "its arrays (x [20000, 100], y [20000]) take 48.5 MB, and 8.0 MB of memory are free"
    assert peak_of(lambda: refusal(lambda: data.load(str(tmp_path / "t.npz"), "y"))) < little_memory
    assert says in refusal(lambda: data.load(str(tmp_path / "t.npz"), "y"))

    line = ",".join(["0"] * 100) + "\n"
    (tmp_path / "t.csv").write_text(",".join(f"c{i}" for i in range(100)) + "\n" + line * rows)
    found = refusal(lambda: data.load(str(tmp_path / "t.csv"), "c0"))
    assert "rows, or so, of 100 columns take 32." in found and "8.0 MB of memory are free" in found


def test_a_parquet_file_that_states_more_than_memory(tmp_path: Path, little_memory: int) -> None:
    pytest.importorskip("pyarrow")
    rows = 1_000_000
    pd.DataFrame({"x": np.zeros(rows), "y": np.arange(rows) % 2}).to_parquet(tmp_path / "t.parquet")
    assert (tmp_path / "t.parquet").stat().st_size < little_memory
    says = "its 1,000,000 rows of 2 columns take 32.0 MB, and 8.0 MB of memory are free"
    assert says in refusal(lambda: data.load(str(tmp_path / "t.parquet"), "y"))


def test_long_texts_of_parquet_are_held_once(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    rows, long = 20_000, "x" * 100_000  # 2 GB, where each row had its own
    label = pd.Categorical.from_codes(np.arange(rows) % 2, categories=["b", long])
    pd.DataFrame({"x": np.arange(rows) ** 0.5, "y": label}).to_parquet(tmp_path / "t.parquet")
    pool = pa.default_memory_pool()
    found: list[data.Dataset] = []
    peak = peak_of(lambda: found.append(data.load(str(tmp_path / "t.parquet"), "y")))
    assert found[0].class_names == ("b", long) and peak < 100_000_000 and pool.max_memory() < 500_000_000


def test_real_data_that_fit_are_read(tmp_path: Path, little_memory: int) -> None:
    rows = 2000
    frame = pd.DataFrame(np.random.default_rng(0).standard_normal((rows, 20)))
    frame.assign(y=np.arange(rows) % 2).to_csv(tmp_path / "t.csv", index=False)
    assert data.load(str(tmp_path / "t.csv"), "y").features == 20


def pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def device(path: Path) -> Path:
    path.symlink_to("/dev/zero")
    return path


@pytest.mark.parametrize(("make", "kind"), [(pipe, "a pipe"), (device, "a device")])
@pytest.mark.parametrize("ending", [".csv", ".parquet", ".npz"])
def test_a_data_file_that_is_none(
    ending: str, make: Callable[[Path], Path], kind: str, tmp_path: Path
) -> None:
    path = make(tmp_path / f"t{ending}")
    for read in (lambda: data.load(str(path), "y"), lambda: data.digest(str(path), "y")):
        assert f"{path}: it cannot be read: it is {kind}, not a file" in refusal(read)


@pytest.mark.parametrize(("make", "kind"), [(pipe, "a pipe"), (device, "a device")])
def test_other_files_that_are_none(make: Callable[[Path], Path], kind: str, tmp_path: Path) -> None:
    folder = idx_folder(tmp_path / "idx", 30)
    (folder / "train-images-idx3-ubyte.gz").unlink()
    make(folder / "train-images-idx3-ubyte")
    assert f"train-images-idx3-ubyte: it cannot be read: it is {kind}, not a file" in refusal(
        lambda: data.load(str(folder))
    )

    config = make(tmp_path / "t.toml")
    assert f"{config}: cannot be read: it is {kind}, not a file" in refusal(lambda: resolve(file=config))

    results = tmp_path / "results"
    results.mkdir()
    make(results / "manifest.json")
    assert f"it is {kind}, not a file" in refusal(lambda: read_manifest(results))
    layers = make(tmp_path / "records.csv")
    assert f"it is {kind}, not a file" in refusal(lambda: read_layers(layers))


def test_a_configuration_of_many_bytes(tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    with path.open("wb") as stream:
        stream.truncate(1 << 30)
    says = "cannot be read: it holds 1.1 GB, and 16.8 MB are read at most"
    assert says in refusal(lambda: resolve(file=path))


def test_a_table_of_more_than_memory(tmp_path: Path, little_memory: int) -> None:
    with (tmp_path / "layers.csv").open("wb") as stream:
        stream.truncate(1 << 30)
    assert "it holds 1.1 GB, and 8.0 MB of memory are free" in refusal(
        lambda: read_layers(tmp_path / "layers.csv")
    )
    with pytest.raises(UserError):
        read_folder(tmp_path)


def test_a_grid_that_nobody_means_is_asked_for(tmp_path: Path) -> None:
    many = [1e-5 * (1 + value) for value in range(1499)]
    request = resolve(flags={"lr": many, "weight_decay": many}, lists=True)
    says = r"grid: 1,499 of --lr x 1,499 of --weight-decay are 2,247,001 cells; allowed: 10,000 cells without --yes"
    assert says in refusal(lambda: plan.make(request))
    small = resolve(flags={"lr": many[:3], "steps": 1}, lists=True)
    with pytest.raises(UserError, match="3 cells; allowed: 2 cells"):
        plan.make(small, most=2)
    assert len(plan.make(small, most=None).cells) == 3


OPENS = re.compile(
    r"""\.read_(text|bytes)\(|\.open\(("r|encoding)|(np\.load|p[dq]\.read_\w+)\((self\.)?path"""
)
OWN_FILES = {
    *("base/user_file.py", "base/machine.py", "base/blas.py"),  # the reader itself; what the kernel tells
    *(
        "data/registry.py",
        "papers/registry.py",
        "report/resources.py",
        "config/shipped.py",
        "papers/gallery.py",
    ),  # the package's own tables and templates
}


def test_nothing_opens_a_file_that_it_has_not_looked_at() -> None:
    """A path that is opened by itself waits for the writer of a pipe: `gradlab.base.user_file` opens files alone."""
    root = Path(package.__file__).parent
    found = [
        f"{path.relative_to(root)}:{number}"
        for path in sorted(root.rglob("*.py"))
        if str(path.relative_to(root)) not in OWN_FILES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if OPENS.search(line)
    ]
    assert not found
