"""Data files: CSV in many dialects, npz, IDX plain and gzipped, Parquet; right, odd and torn."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from fuzz.case import Case, Prepare, file, tiny
from fuzz.flags import NET
from fuzz.values import NUMBERS, TEXTS, damaged, hostile, near

ROWS = 40
CELLS = [
    *(
        text
        for text in (*NUMBERS, *TEXTS)
        if len(text) < 400 and text.encode("utf-8", "replace").decode() == text
    ),
    *("NA", "1e400", "2020-01-01"),
]
"""What may stand in a cell: texts that UTF-8 can hold."""


def make(r: Random) -> Case:
    """A command that trains on a file, or looks at it."""
    name, content = r.choice([csv_file, csv_file, npz_file, parquet_file, idx_folder])(r)
    prepare: list[Prepare]
    if isinstance(content, dict):
        prepare = [file(f"{name}/{each}", inside) for each, inside in content.items()]
    else:
        torn = damaged(r, content) if r.random() < 0.2 else content
        prepare = [file(name, torn)]
    flags = {"data": name, "target": r.choice(["y", "y", "y", "a", "a,y", "y,a,b", " y", "Y", hostile(r)])}
    if isinstance(content, dict) and r.random() < 0.9:
        del flags["target"]
    if r.random() < 0.3:
        flags["task"] = r.choice(["auto", "classification", "regression", "multilabel"])
    if r.random() < 0.2:
        flags["batch_size"] = r.choice(["1", "4", "1000"])
    command = r.choice([["run"], ["run"], ["run"], ["compare", "--dry-run"], ["watch", "net:Net"]])
    given = tiny(**flags)
    if command[0] == "watch":
        given = [
            text
            for pair in zip(given[::2], given[1::2], strict=True)
            if pair[0] not in ("--width", "--depth")
            for text in pair
        ]
    argv = [*command, *given, *r.choice([[], ["--json"], ["--quiet"]])]
    writes = () if "--dry-run" in argv else ("results",)
    return Case(argv, [*prepare, file("net.py", NET)], writes)


def target_of(r: Random, generator: np.random.Generator, rows: int) -> Any:
    """A column to learn: classes, numbers, texts, and what is none of them."""
    makers: list[Callable[[], Any]] = [
        lambda: generator.integers(0, 2, rows),
        lambda: generator.integers(0, 3, rows),
        lambda: generator.normal(size=rows),
        lambda: np.array(["a", "b"])[generator.integers(0, 2, rows)],
        lambda: np.array(CELLS)[generator.integers(0, len(CELLS), rows)],
        lambda: np.array(r.sample(CELLS, 2))[generator.integers(0, 2, rows)],
        lambda: np.full(rows, r.choice([0.0, 1.0, np.nan, np.inf])),
        lambda: np.arange(rows),
        lambda: generator.integers(0, 2, rows) * r.choice([1e308, 1e-308, 2**62, 0.5]),
        lambda: generator.integers(0, 2, rows).astype(bool),
    ]
    return r.choice(makers)()


def table_of(r: Random) -> dict[str, list[str]]:
    """Columns of texts, as a CSV file has them."""
    generator = np.random.default_rng(r.getrandbits(32))
    rows = r.choice([ROWS, ROWS, ROWS, ROWS, 9, 8, 2, 1, 0])
    columns = {name: [repr(float(each)) for each in generator.normal(size=rows)] for name in "ab"}
    columns["y"] = [str(each) for each in target_of(r, generator, rows)]
    for _ in range(r.choice([0, 0, 0, 1, 1, 3])):
        if rows:
            columns[r.choice("aby")][r.randrange(rows)] = r.choice(CELLS)
    for _ in range(r.choice([0, 0, 0, 1])):
        columns[r.choice(CELLS)] = [r.choice(CELLS) for _ in range(rows)]
    if r.random() < 0.1:
        scale = r.choice([1e308, 1e-308, 0.0, 1e-200])
        columns["a"] = [repr(number * scale) for number in generator.normal(size=rows).tolist()]
    return columns


def csv_file(r: Random) -> tuple[str, bytes]:
    """A table in a dialect."""
    columns = table_of(r)
    frame = pd.DataFrame(columns)
    dialect: dict[str, Any] = {"index": r.random() < 0.1, "header": r.random() < 0.95}
    if r.random() < 0.3:
        dialect |= r.choice(
            [
                {"sep": ";"},
                {"sep": "\t"},
                {"sep": "|"},
                {"quoting": 1},
                {"lineterminator": "\r\n"},
                {"lineterminator": "\r"},
                {"sep": ";", "decimal": ","},
                {"na_rep": "?"},
            ]
        )
    text = frame.to_csv(**dialect).encode("utf-8", "surrogateescape")
    if r.random() < 0.15:
        code = r.choice(["utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252"])
        text = text.decode("utf-8", "replace").encode(code, "replace")
    return r.choice(
        ["t.csv", "t.csv", "t.CSV", "t t.csv", "[red]t.csv", "t\x1b[31m.csv", "t.tsv", "t.txt", "t.csv.gz"]
    ), text


def npz_file(r: Random) -> tuple[str, bytes]:
    """An archive of arrays: of many types and shapes, with headers that lie, members that are no arrays."""
    generator = np.random.default_rng(r.getrandbits(32))
    rows = r.choice([ROWS, ROWS, ROWS, 8, 1, 0])
    arrays: dict[str, Any] = {"x": generator.normal(size=(rows, 2)), "y": target_of(r, generator, rows)}
    if r.random() < 0.5:
        arrays[
            r.choice(
                [
                    "x",
                    "y",
                    "z",
                    r.choice(TEXTS[1:]).encode("utf-8", "replace").decode().replace("\0", "0")[:100] or "w",
                ]
            )
        ] = r.choice(
            [
                generator.normal(size=(rows, 2, 2)),
                generator.normal(size=rows).astype(np.float16),
                generator.normal(size=rows).astype(np.longdouble),
                generator.normal(size=rows) + 1j,
                np.array(["a", "b"] * rows)[:rows],
                np.array([b"a", b"\xff"] * rows)[:rows],
                np.zeros(rows, dtype="M8[ns]"),
                np.zeros(rows, dtype="m8[s]"),
                np.zeros(rows, dtype=[("a", "f8"), ("b", "i4")]),
                np.zeros(rows, dtype="V8"),
                np.array([{}] * rows, dtype=object),
                np.float64(1),
                np.zeros(0),
                np.zeros((rows, 0)),
                np.zeros((rows, 3)),
                np.zeros((rows, 1)),
                np.zeros(rows + 1),
                np.full((rows, 2), np.nan),
                np.full((rows, 2), 1e308) * np.array([1, -1]),
                np.asfortranarray(generator.normal(size=(rows, 2))),
                generator.normal(size=(rows, 2)).astype(">f4"),
                np.zeros((1,) * 32),
            ]
        )
    raw = io.BytesIO()
    np.savez(raw, **arrays)
    if r.random() < 0.25:
        raw = _forged(r, raw.getvalue())
    return r.choice(["t.npz", "t.npz", "t.NPZ", "t.npy", "[/]t.npz"]), raw.getvalue()


def _forged(r: Random, archive: bytes) -> io.BytesIO:
    """The archive with one member more, or another one in a member's place."""
    header = r.choice(
        [
            f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({10 ** r.randint(3, 19)},), }}",
            "{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }",
            "{'descr': '|O', 'fortran_order': False, 'shape': (40,), }",
            "{'descr': '<f9', 'fortran_order': False, 'shape': (40,), }",
            "{'descr': '<f8', 'fortran_order': 3, 'shape': 'a', }",
            "__import__('os').system('touch made')",
            "[" * 300,
            "",
        ]
    )
    text = header.encode().ljust(117) + b"\n"
    member = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + b"\0" * 320
    member = r.choice([member, member, b"", b"hello", b"\x80\x04N."])
    made = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(archive)) as old,
        zipfile.ZipFile(made, "w", r.choice([0, 8, 12, 14])) as new,
    ):
        for each in old.namelist():
            new.writestr(each, member if r.random() < 0.4 else old.read(each))
        if r.random() < 0.5:
            new.writestr(
                r.choice(["z.npy", "../up.npy", "/abs.npy", "z", "a/b.npy", "z.npy" * 50]),
                member,
            )
    return made


def parquet_file(r: Random) -> tuple[str, bytes]:
    """A table with columns of many types."""
    generator = np.random.default_rng(r.getrandbits(32))
    rows = r.choice([ROWS, ROWS, ROWS, 8, 1, 0])
    columns: dict[str, Any] = {name: generator.normal(size=rows) for name in "ab"}
    columns["y"] = pa.array(target_of(r, generator, rows).tolist())
    if r.random() < 0.6:
        odd: list[Callable[[], Any]] = [
            lambda: pa.array([[1.0, 2.0]] * rows),
            lambda: pa.array([{"p": 1}] * rows, pa.struct([("p", pa.int64())])),
            lambda: pa.array([None] * rows),
            lambda: pa.array([None, True] * rows)[:rows],
            lambda: pa.array([1, None] * rows, pa.int64())[:rows],
            lambda: pa.array([b"\xff"] * rows),
            lambda: pa.array([1] * rows).cast(pa.decimal128(38, 3)),
            lambda: pa.array([1] * rows).cast(pa.timestamp("ns")),
            lambda: pa.array([1] * rows).cast(pa.timestamp("s", tz="Europe/Berlin")),
            lambda: pa.array([2**40] * rows).cast(pa.timestamp("s")),
            lambda: pa.array([1] * rows, pa.duration("s")),
            lambda: pa.array([1] * rows, pa.date32()),
            lambda: pa.array([1] * rows, pa.time64("ns")),
            lambda: pa.array(["a", "b"] * rows)[:rows].dictionary_encode(),
            lambda: pa.array([1.5, 2.5] * rows)[:rows].dictionary_encode(),
            lambda: pa.array([2**64 - 1] * rows, pa.uint64()),
            lambda: pa.array([1.5] * rows, pa.float16()),
            lambda: pa.array(r.choices(CELLS, k=rows)),
            lambda: pa.array([""] * rows, pa.large_string()),
        ]
        columns[r.choice(["a", "y", "y", r.choice(CELLS)])] = r.choice(odd)()
    table = pa.table(columns)
    if r.random() < 0.1:
        table = pa.Table.from_arrays([table.column(0)] * 2, names=["a", "a"])
    raw = io.BytesIO()
    pq.write_table(table, raw)
    return r.choice(["t.parquet", "t.parquet", "t.PARQUET", "t.pq"]), raw.getvalue()


def idx_folder(r: Random) -> tuple[str, dict[str, bytes]]:
    """The files of a folder as MNIST's, some of them odd, torn, missing or gzipped."""
    generator = np.random.default_rng(r.getrandbits(32))
    found: dict[str, bytes] = {}
    for part in r.choice([["train"], ["train", "t10k"], ["train", "t10k"], ["t10k"]]):
        rows = r.choice([ROWS, ROWS, ROWS, 3, 0])
        images = generator.integers(0, 255, (rows, 2, 2)).astype(np.uint8)
        labels = generator.integers(0, r.choice([1, 2, 3]), rows if r.random() < 0.9 else rows + 1).astype(
            np.uint8
        )
        for kind, axes, array in (("images", 3, images), ("labels", 1, labels)):
            content = _idx(r, array)
            if r.random() < 0.1:
                content = damaged(r, content)
            name = f"{part}-{kind}-idx{axes}-ubyte"
            if r.random() < 0.3:
                content, name = gzip.compress(content), name + ".gz"
                if r.random() < 0.3:
                    content = damaged(r, content)
            if r.random() < 0.95:
                found[
                    near(r, name).replace("/", "").replace("\0", "")[:200] if r.random() < 0.05 else name
                ] = content
    return r.choice(["d", "./d/", "d d", "d.csv"]), found or {"other": b""}


def _idx(r: Random, array: Any) -> bytes:
    code, dtype = r.choice(
        [(8, ">u1")] * 6 + [(9, ">i1"), (0x0B, ">i2"), (0x0C, ">i4"), (0x0D, ">f4"), (0x0E, ">f8")]
    )
    sizes = [*array.shape]
    if r.random() < 0.1:
        sizes[r.randrange(len(sizes))] = r.choice([0, 1, 2**31, 2**32 - 1, sizes[0] + 1])
    axes = len(sizes) if r.random() < 0.97 else r.choice([0, 1, 4, 33, 255])
    return (
        bytes([0, 0, code, axes])
        + b"".join(size.to_bytes(4, "big") for size in sizes)
        + array.astype(dtype).tobytes()
    )
