"""A CSV file: its header is read here, its cells by pandas, and what is wrong with it is said in our own words."""

from __future__ import annotations

import csv
import io
import re
import warnings
from dataclasses import dataclass
from hashlib import file_digest, sha256
from io import BufferedReader
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gradlab.base.errors import DataError, Problem
from gradlab.base.grammar import is_float
from gradlab.base.user_file import check_room, open_file
from gradlab.data.columns import check_header
from gradlab.data.dataset import Samples
from gradlab.data.dialect import Dialect, lines_before, looks_like, misread, table_rows
from gradlab.data.reading import Passing
from gradlab.data.targets import samples_of, table_from_frame, target_columns

HEAD_BYTES = 1 << 20
"""Of the start of a file, by which its header and its dialect are told; longer where its lines are."""
LONGEST_LINE = 1 << 28
SAMPLED = 50
"""Lines of the start that are looked at."""
BYTES_A_CELL = 16
"""What a number takes while it is read: twice as float64."""
CELLS_AT_ONCE = 2_000_000
"""Cells that pandas holds at a time, about 40 bytes each."""
READ_BYTES = 1 << 20
UNNAMED = "\0"
"""How the names of empty columns at the end begin, which no name in a file does."""


@dataclass(frozen=True)
class Layout:
    """How pandas is to read a file. header: the columns, those without a name too; skipped: lines before them"""

    header: list[str]
    targets: list[str]
    dialect: Dialect
    skipped: int

    def options(self) -> dict[str, Any]:
        return {
            "sep": self.dialect.sep,
            "decimal": self.dialect.decimal,
            "comment": self.dialect.comment or None,
            "skiprows": self.skipped,
            "header": 0,
            "names": self.header,
            "index_col": False,
            "keep_default_na": False,  # a class may be called NA or None
            "na_values": ["", *self.dialect.na],
            "encoding": "utf-8-sig",
        }


def load_csv(path: Path, target: str, source: str, task: str, dialect: Dialect) -> tuple[Samples, bytes]:
    """UTF-8 text whose first row names the columns, and the sha256 of what was read. Arguments as
    `gradlab.data.files.load_file` has them.

    An empty cell is missing. A byte order mark, a first line `sep=;` and empty columns without a name at the end are
    left out. Raises DataError, OSError.
    """
    with open_file(path) as stream:
        text = _start(stream, source)
        skipped, dialect = lines_before(text, dialect)
        text = text.split("\n", skipped)[-1]
        try:
            header = _header(text, source, dialect)
            rows = _check_room(text, len(header), stream)
            try:
                targets = target_columns(target, header, source, 0)
            except DataError:
                targets = []  # the error will say how many rows there are
            layout = Layout(header, targets, dialect, skipped)
            if targets and (read := _streamed(stream, layout, rows, source, task)) is not None:
                return read
            stream.seek(0)
            digest = file_digest(stream, "sha256").digest()
            stream.seek(0)
            frame = _without_empty_columns(_cells(stream, layout, source), source)
            return table_from_frame(frame, target, source, task), digest
        except DataError as error:
            raise in_other_words(error, text, source, dialect) from error


def _streamed(
    stream: BufferedReader, layout: Layout, rows: int, source: str, task: str
) -> tuple[Samples, bytes] | None:
    """The table of a file whose inputs are finite numbers throughout, read and hashed once, some rows at a time. None
    where one is something else, of which `_cells` finds out what it is.

    rows: about how many there are
    """
    unnamed = [name for name in layout.header if name.startswith(UNNAMED)]
    inputs = [name for name in layout.header if name not in {*layout.targets, *unnamed}]
    if not inputs:
        return None
    stream.seek(0)
    hashed, found = sha256(), 0
    x = np.empty((rows + rows // 16 + 1, len(inputs)))
    texts = []
    kinds = dict.fromkeys(layout.header, "float64") | dict.fromkeys(layout.targets, "str")
    passing = io.BufferedReader(Passing(stream, hashed, source), READ_BYTES)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            size = max(1, CELLS_AT_ONCE // len(layout.header))
            for frame in pd.read_csv(passing, dtype=kinds, chunksize=size, **layout.options()):
                numbers = frame[inputs].to_numpy()
                if not np.isfinite(numbers).all() or frame[unnamed].notna().to_numpy().any():
                    return None
                if found + len(frame) > len(x):  # the system moves no more than its table of pages
                    x.resize((2 * (found + len(frame)), len(inputs)), refcheck=False)
                x[found : found + len(frame)] = numbers
                found += len(frame)
                texts.append(frame[layout.targets])
    except (ValueError, TypeError, csv.Error, pd.errors.ParserError, pd.errors.ParserWarning):
        return None
    if found < 1:
        return None
    while passing.read(READ_BYTES):
        pass
    x.resize((found, len(inputs)), refcheck=False)
    targets = pd.concat(texts, ignore_index=True)
    table = samples_of(lambda: x, targets, source, lambda name: f"{source}: column {name!r}", task)
    return table, hashed.digest()


def in_other_words(error: DataError, text: str, source: str, dialect: Dialect) -> DataError:
    """The error, or the one that says in which dialect the file is written, where that explains it.

    text: the start of the file
    """
    better = looks_like(text, dialect)
    return error if better is None else DataError(misread(source, better))


def _start(stream: BufferedReader, source: str) -> str:
    """Some whole lines at the start of a file, without a byte order mark."""
    head = stream.read(HEAD_BYTES)
    while head.count(b"\n") < 2 and len(head) < LONGEST_LINE and (more := stream.read(len(head))):
        head += more
    if not head:
        raise DataError(Problem(source, "the file is empty", "a header row and rows of numbers"))
    if len(head) >= HEAD_BYTES and b"\n" in head:
        head = head[: head.rindex(b"\n") + 1]
    try:
        return head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _no_text(source, error) from error


def _header(text: str, source: str, dialect: Dialect) -> list[str]:
    """The columns' names, and a made-up one for each further column at the end that is empty as far as one can see.
    Raises DataError where they are none."""
    rows = [[cell.strip() for cell in row] for row in islice(table_rows(text, dialect), SAMPLED)]
    header = rows[0] if rows else []
    if header and all(is_float(name) for name in header):
        shown = ", ".join(header[:5])
        raise DataError(
            Problem(source, f"its first row is numbers ({shown})", "a first row that names the columns")
        )
    named = len(header)
    while named > 1 and not header[named - 1]:
        named -= 1
    check_header(header[:named], source)
    for number, row in enumerate(rows[1:], start=1):
        if any(row[named:]):
            raise DataError(_too_long(f"row {number}", len(row), named, source))
    widest = max((len(row) for row in rows), default=0)
    return [*header[:named], *(f"{UNNAMED}{index}" for index in range(named, widest))]


def _check_room(text: str, columns: int, stream: BufferedReader) -> int:
    """About how many rows there are. Raise Unfit where a file of such lines would take more memory than there is."""
    size = stream.seek(0, 2)
    rows = size * max(text.count("\n"), 1) // max(len(text), 1)
    check_room(rows * columns * BYTES_A_CELL, f"its {rows:,} rows, or so, of {columns:,} columns take")
    return rows


def _cells(stream: BufferedReader, layout: Layout, source: str) -> pd.DataFrame:
    """All cells: inputs as pandas finds them to be, targets as texts. Raises DataError."""
    try:
        with warnings.catch_warnings():
            # a row longer than the header would lose cells
            warnings.simplefilter("error", pd.errors.ParserWarning)
            kinds = dict.fromkeys(layout.targets, "str")
            frame: pd.DataFrame = pd.read_csv(stream, dtype=kinds, low_memory=False, **layout.options())
            return frame
    except UnicodeDecodeError as error:
        raise _no_text(source, error) from error
    except (pd.errors.ParserError, pd.errors.ParserWarning, csv.Error) as error:
        raise _irregular(error, source) from error


def _without_empty_columns(frame: pd.DataFrame, source: str) -> pd.DataFrame:
    """The frame without the columns that the header does not name. Raises DataError where one is not empty."""
    unnamed = [name for name in frame.columns if name.startswith(UNNAMED)]
    for name in unnamed:
        there = frame[name].notna().to_numpy().nonzero()[0]
        if there.size:
            column = int(name.removeprefix(UNNAMED))
            raise DataError(_too_long(f"row {there[0] + 1}", column + 1, column, source))
    return frame.drop(columns=unnamed) if unnamed else frame


def _irregular(error: Exception, source: str) -> DataError:
    """The error of rows that do not fit the header, with the line where it is known."""
    message = f"it is not a regular table: {str(error).strip().splitlines()[0]}"
    if found := re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", str(error)):
        return DataError(_too_long(f"line {found[2]}", int(found[3]), int(found[1]), source))
    if found := re.search(r"EOF inside string starting at row (\d+)", str(error)):
        message = f"row {found[1]} opens a quotation mark that is never closed"
    return DataError(Problem(source, message, "as many cells in every row as in the header"))


def _too_long(row: str, cells: int, named: int, source: str) -> Problem:
    message = f"{row} has {cells} cells, the header names {named}"
    return Problem(source, message, "as many cells in every row as in the header")


def _no_text(source: str, error: UnicodeDecodeError) -> DataError:
    return DataError(Problem(source, f"it is not UTF-8 text ({error})", "a CSV file saved as UTF-8"))
