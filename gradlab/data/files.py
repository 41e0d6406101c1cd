"""A user's CSV, Parquet or npz file as a frame. Files are data: nothing in them is evaluated or unpickled."""

from __future__ import annotations

import csv
import warnings
import zipfile
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from gradlab.base.errors import DataError, Problem
from gradlab.base.machine import available_memory
from gradlab.data.dataset import AUTO, Samples
from gradlab.data.targets import table_from_frame, target_columns

UNREADABLE = (ValueError, EOFError, KeyError, NotImplementedError, MemoryError)
"""What numpy.load raises for a damaged archive; MemoryError when a header states an absurd shape."""


def load_file(path: Path, target: str, source: str, task: str = AUTO) -> Samples:
    """The file at `path` with its column (or array) `target` as what is to be learned.

    target: several columns are separated by commas. source: the file as the user wrote it, for errors. Raises
    DataError when it cannot be read as what its ending says, or its columns are not what `gradlab.data.targets` allows.
    """
    try:
        if path.stat().st_size == 0:
            raise DataError(Problem(source, "the file is empty", "a header row and rows of numbers"))
        frame = READERS[path.suffix.lower()](path, target, source)
        check_header([str(name) for name in frame.columns], source)
        return table_from_frame(frame, target, source, task)
    except OSError as error:
        message = f"it cannot be read: {error.strerror or error}"
        raise DataError(Problem(source, message, "a file that you may read")) from error
    except DataError:
        raise
    except Exception as error:  # the readers raise many kinds over what no library of theirs wrote
        what = f"it is not a readable table: {type(error).__name__}: {_line(error)}"
        raise DataError(Problem(source, what, "rows of numbers under named columns")) from error


def read_csv(path: Path, target: str, source: str) -> pd.DataFrame:
    """Comma-separated UTF-8 text whose first row names the columns; an empty cell is missing."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            header = [name.strip() for name in next((row for row in csv.reader(lines) if row), [])]
        if header and all(_is_number(name) for name in header):
            shown = ", ".join(header[:5])
            raise DataError(
                Problem(source, f"its first row is numbers ({shown})", "a first row that names the columns")
            )
        check_header(header, source)
        with warnings.catch_warnings():
            # a row longer than the header would lose cells
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return pd.read_csv(
                path,
                header=0,
                names=header,
                index_col=False,
                keep_default_na=False,  # a class may be called NA or None
                na_values=[""],
                encoding="utf-8-sig",
                low_memory=False,
            )
    except UnicodeDecodeError as error:
        raise DataError(
            Problem(source, f"it is not UTF-8 text ({error})", "a CSV file saved as UTF-8")
        ) from error
    except (pd.errors.ParserError, pd.errors.ParserWarning, csv.Error) as error:
        raise DataError(
            Problem(
                source,
                f"it is not a regular table: {_line(error)}",
                "as many cells in every row as in the header",
            )
        ) from error


def read_parquet(path: Path, target: str, source: str) -> pd.DataFrame:
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
        header = parquet.read_schema(path).names
        check_header(header, source)
        # with pandas' own notes a column that was an index would be none
        frame: pd.DataFrame = parquet.read_table(path).replace_schema_metadata().to_pandas()
    except (pyarrow.ArrowException, OSError) as error:
        message = f"it is not a readable Parquet file: {_line(error)}"
        raise DataError(Problem(source, message, "a whole Parquet file of numbers and texts")) from error
    return frame


def read_npz(path: Path, target: str, source: str) -> pd.DataFrame:
    """NumPy's archive of named arrays: `target` is [rows] or [rows, targets], the others have as many rows.

    Arrays of more than one dimension are flattened to [rows, columns]; named `name[0]`, ...
    """
    if not zipfile.is_zipfile(path):
        raise DataError(Problem(source, "it is not a complete npz archive", "a file from numpy.savez"))
    with zipfile.ZipFile(path) as archive_file:
        _check_size(sum(member.file_size for member in archive_file.infolist()), source)
    try:
        with np.load(path, allow_pickle=False) as archive:
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


def _check_size(unpacked: int, source: str) -> None:
    """Raise DataError where an archive would unpack into more than the memory there is."""
    room = available_memory()
    if room is not None and unpacked > room:
        message = f"it unpacks to {unpacked / 1e9:.1f} GB, and {room / 1e9:.1f} GB of memory are free"
        raise DataError(Problem(source, message, "arrays that fit into memory"))


READERS = {".csv": read_csv, ".parquet": read_parquet, ".npz": read_npz}


def check_header(names: list[str], source: str) -> None:
    """Raise DataError where there is no column, or one without a name, or two of the same name."""
    if not names:
        raise DataError(Problem(source, "the file has no header row", "a first row that names the columns"))
    unnamed = [str(index) for index, name in enumerate(names, start=1) if not name]
    if unnamed:
        raise DataError(
            Problem(
                source,
                f"column {', '.join(unnamed)} of {len(names)} has no name",
                "a name for every column",
                "a row number saved by pandas is left out with to_csv(..., index=False)",
            )
        )
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        message = f"more than one of its {len(names)} columns is called {', '.join(map(repr, twice))}"
        raise DataError(Problem(source, message, "a name of its own for every column"))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
