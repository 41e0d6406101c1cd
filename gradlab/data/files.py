"""A user's CSV, Parquet or npz file as a frame. Files are data: nothing in them is evaluated or unpickled."""

from __future__ import annotations

import zipfile
import zlib
from hashlib import file_digest
from io import BufferedReader
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gradlab.base.errors import DataError, Problem
from gradlab.base.user_file import READABLE, Unfit, check_room, open_file
from gradlab.data.columns import SHOWN, check_header
from gradlab.data.csv_file import load_csv
from gradlab.data.dataset import AUTO, Samples
from gradlab.data.dialect import Dialect
from gradlab.data.targets import table_from_frame, target_columns

BYTES_A_NUMBER = 16
"""What a number takes while it is read: twice as float64."""
UNREADABLE = (ValueError, EOFError, KeyError, NotImplementedError, MemoryError)
"""What numpy.load raises for a damaged archive; MemoryError when a header states an absurd shape."""


def load_file(
    path: Path, target: str, source: str, task: str = AUTO, dialect: Dialect | None = None
) -> tuple[Samples, bytes]:
    """The file at `path` with its column (or array) `target` as what is to be learned, and the sha256 of its bytes.

    target: several columns are separated by commas. source: the file as the user wrote it, for errors. dialect: how a
    CSV file is written. Raises DataError when it cannot be read as what its ending says, or its columns are not what
    `gradlab.data.targets` allows.
    """
    try:
        ending = path.suffix.lower()
        if ending == ".csv":
            return load_csv(path, target, source, task, dialect or Dialect())
        with open_file(path) as stream:
            if not stream.peek(1):
                raise DataError(Problem(source, "the file is empty", "a header row and rows of numbers"))
            digest = file_digest(stream, "sha256").digest()
            stream.seek(0)
            frame = READERS[ending](stream, target, source)
        check_header([str(name) for name in frame.columns], source)
        return table_from_frame(frame, target, source, task), digest
    except OSError as error:
        message = f"it cannot be read: {error.strerror or error}"
        raise DataError(Problem(source, message, READABLE)) from error
    except DataError:
        raise
    except Exception as error:  # the readers raise many kinds over what no library of theirs wrote
        what = f"it is not a readable table: {type(error).__name__}: {_line(error)}"
        raise DataError(Problem(source, what, "rows of numbers under named columns")) from error


def read_parquet(stream: BufferedReader, target: str, source: str) -> pd.DataFrame:
    """A Parquet file through pyarrow (extra `parquet`)."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise DataError(
            Problem(
                source,
                "reading Parquet needs the package pyarrow, which is missing",
                hint="install it with: pip install 'gradlab[parquet]', or save the table as CSV",
            )
        ) from error
    try:
        file = parquet.ParquetFile(stream)
        check_header(file.schema_arrow.names, source)
        _check_numbers(file.metadata)
        texts = [each.name for each in file.schema_arrow if pyarrow.types.is_string(each.type)]
        # texts by their distinct values: one long text in every row would else be held as often
        file = parquet.ParquetFile(stream, read_dictionary=texts)
        # with pandas' own notes a column that was an index would be none
        frame: pd.DataFrame = file.read().replace_schema_metadata().to_pandas()
    except Unfit:
        raise
    except (pyarrow.ArrowException, OSError) as error:
        message = f"it is not a readable Parquet file: {_line(error)}"
        raise DataError(Problem(source, message, "a whole Parquet file of numbers and texts")) from error
    return frame


def _check_numbers(metadata: Any) -> None:
    """Raise Unfit where a Parquet file holds more numbers than there is memory for: it may state very many in few
    bytes. metadata: the file's own"""
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    values = sum(group.column(index).num_values for group in groups for index in range(group.num_columns))
    what = f"its {metadata.num_rows:,} rows of {metadata.num_columns:,} columns take"
    check_room(values * BYTES_A_NUMBER, what)


def read_npz(stream: BufferedReader, target: str, source: str) -> pd.DataFrame:
    """NumPy's archive of named arrays: `target` is [rows] or [rows, targets], the others have as many rows.

    Arrays of more than one dimension are flattened to [rows, columns]; named `name[0]`, ...
    """
    if not zipfile.is_zipfile(stream):
        raise DataError(Problem(source, "it is not a complete npz archive", "a file from numpy.savez"))
    try:
        with zipfile.ZipFile(stream) as archive_file:
            _check_arrays(archive_file, source)
        stream.seek(0)
        with np.load(stream, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (*UNREADABLE, zipfile.BadZipFile, zlib.error) as error:
        message = f"it is not a readable npz archive: {_line(error)}"
        if "pickle" in str(error) or "Object arrays" in str(error):
            message = "it holds Python objects, which gradlab does not unpickle"
        raise DataError(
            Problem(source, message, "arrays of numbers (and text labels) from numpy.savez")
        ) from error
    rows = max((len(array) for array in arrays.values() if array.ndim), default=0)
    targets = target_columns(target, list(arrays), source, rows)
    for name in targets:
        shape = list(arrays[name].shape)
        if len(shape) not in (1, 2) or 0 in shape[1:]:
            allowed = "one class a row, [rows], or [rows, targets]"
            raise DataError(Problem(f"{source}: array {name!r}", f"its shape is {shape}", allowed))
    rows = len(arrays[targets[0]])
    problems = [
        Problem(f"{source}: array {name!r}", f"its shape is {list(array.shape)}", f"[{rows} rows, ...]")
        for name, array in arrays.items()
        if array.ndim == 0 or len(array) != rows
    ]
    if problems:
        raise DataError(problems)
    parts = []
    for name in [*targets, *(name for name in arrays if name not in targets)]:
        array = arrays[name]
        flat = array.reshape(rows, -1)
        whole = array.ndim == 1 or (name in targets and flat.shape[1] == 1)
        columns = [name] if whole else [f"{name}[{index}]" for index in range(flat.shape[1])]
        parts.append(pd.DataFrame(flat, columns=columns))
    return pd.concat(parts, axis=1)


def _check_arrays(archive: zipfile.ZipFile, source: str) -> None:
    """Raise DataError where an array holds texts without characters, Unfit where they all take more memory than there
    is: by what the headers state, since a few bytes may state any number of values."""
    needed, stated = 0, []
    for member in archive.infolist():
        needed += member.file_size
        if not member.filename.endswith(".npy"):
            continue
        name = member.filename.removesuffix(".npy")
        with archive.open(member) as stream:
            version = np.lib.format.read_magic(stream)
            read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            if version not in read:  # a header in UTF-8: of arrays whose fields have such names
                message = "its header is of another version than those of plain arrays"
                raise DataError(
                    Problem(f"{source}: array {name!r}", message, "numbers, or texts for classes")
                )
            shape, _, dtype = read[version](stream)
        stated.append(f"{name} {[*shape]}")
        if dtype.itemsize == 0:
            message = f"it holds {dtype} {[*shape]}, texts without characters"
            raise DataError(Problem(f"{source}: array {name!r}", message, "numbers, or texts for classes"))
        needed += prod(shape) * BYTES_A_NUMBER
    check_room(needed, f"its arrays ({', '.join(stated[:SHOWN])}) take")


READERS = {".parquet": read_parquet, ".npz": read_npz}


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
