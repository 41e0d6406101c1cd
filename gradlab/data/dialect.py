"""How a CSV file is written where it is not with commas: `--csv 'sep=;:decimal=,'`, and what a file looks like."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from shlex import quote

from gradlab.base.errors import ConfigError, Problem
from gradlab.base.grammar import Parameter, bind, parse_item, write_item

TAB = "tab"
"""How a tab is written, which a shell would take for a blank."""
COMMENTS = ("#", "%", "!", "*", "@")
PARAMETERS = {
    "sep": Parameter(default=",", meaning="what separates two cells", choices=(",", ";", "|", TAB)),
    "decimal": Parameter(default=".", meaning="what separates a number's fraction", choices=(".", ",")),
    "comment": Parameter(default=None, meaning="what a comment begins with", choices=COMMENTS),
}
SHOWN = {"\t": "tabs"}
NA = "na"
"""The key of the words for what is missing: any, so that it is none of the parameters."""
SEP_LINE = re.compile(r"sep=(.)\s*", re.IGNORECASE)
"""A first line by which Excel is told the separator."""
DECIMAL_COMMA = re.compile(r"\s*[+-]?\d*,\d+\s*")


@dataclass(frozen=True)
class Dialect:
    """sep: between two cells; decimal: between a number's whole part and its fraction; comment: what begins the rest of
    a line that is none of the table's, empty for nothing; na: words that stand for a missing value, as an empty cell
    does."""

    sep: str = ","
    decimal: str = "."
    comment: str = ""
    na: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """What differs from the usual way, as `--csv` takes it."""
        values = {"sep": TAB if self.sep == "\t" else self.sep, "decimal": self.decimal}
        if self.comment:
            values["comment"] = self.comment
        words = [f"{NA}={'|'.join(self.na)}"] if self.na else []
        return ":".join([*write_item("csv", values, PARAMETERS).split(":")[1:], *words])


def parse_dialect(text: str, where: str = "--csv") -> Dialect:
    """The dialect of a text of `key=value`, separated by colons. Raises ConfigError naming `where`."""
    if not text.strip():
        return Dialect()
    item = parse_item(f"csv:{text.strip()}", where)
    if item.attribute is not None:
        allowed = "sep=;, decimal=,, comment=# and na=NA, with colons between them"
        raise ConfigError(Problem(where, f"{item.attribute!r} is not key=value", allowed))
    given = dict(item.given)
    missing = given.pop(NA, "")
    values = {key: str(value) for key, value in bind(given, PARAMETERS, "csv", where).items()}
    sep = "\t" if values["sep"] == TAB else values["sep"]
    if values["decimal"] == sep:
        message = f"{sep} cannot stand between cells and within a number"
        raise ConfigError(Problem(where, message, "another separator, as in sep=;:decimal=,"))
    words = tuple(word for part in missing.split("|") if (word := part.strip()))
    return Dialect(sep, values["decimal"], values.get("comment", ""), words)


def lines_before(text: str, dialect: Dialect) -> tuple[int, Dialect]:
    """The lines at the start of a file's text that are no part of its table, and the dialect that they say: Excel's
    `sep=;`. What the user says goes before it."""
    found = SEP_LINE.fullmatch(text.partition("\n")[0])
    if found is None:
        return 0, dialect
    return 1, replace(dialect, sep=found[1]) if dialect.sep == "," and found[
        1
    ] != dialect.decimal else dialect


def looks_like(text: str, dialect: Dialect) -> Dialect | None:
    """The dialect in which the start of a file is a table, where that is another one than the given; None where none
    is, or the given one is as good.

    text: some whole lines, without those of `lines_before`
    """
    found = dialect
    if not dialect.comment:
        line = text.lstrip()
        commented = replace(found, comment=line[:1])
        if commented.comment in COMMENTS and (
            not _widths(text, found) or (line[1:2] == " " and _has_header(text, commented))
        ):
            found = commented
    if not _widths(text, found):
        candidates = {sep: _widths(text, replace(found, sep=sep)) for sep in (";", "\t", "|", ",")}
        best = max(candidates, key=lambda sep: candidates[sep])
        if not candidates[best]:
            return None
        found = replace(found, sep=best)
    if found.sep != "," and found.decimal == ".":
        cells = [cell for row in table_rows(text, found) for cell in row]
        if any(DECIMAL_COMMA.fullmatch(cell) for cell in cells):
            found = replace(found, decimal=",")
    return None if found == dialect else found


def misread(source: str, dialect: Dialect) -> Problem:
    """The problem of a file that is written in this dialect, and was not read so."""
    parts = []
    if dialect.sep != ",":
        parts.append(f"it is separated by {SHOWN.get(dialect.sep, dialect.sep)}")
    if dialect.decimal != ".":
        parts.append("its numbers have decimal commas")
    if dialect.comment:
        parts.append(f"it has comments behind {dialect.comment}")
    message = ", ".join(parts) or "it is separated by ,"
    hint = f"--csv {quote(dialect.text)}" if dialect.text else "leave --csv out"
    return Problem(source, message, hint=hint)


def _has_header(text: str, dialect: Dialect) -> bool:
    """Whether the first row is names and none of them reads as a number, as those of a row of data do."""
    header = next(iter(table_rows(text, dialect)), [])
    return bool(header) and not any(re.fullmatch(r"\s*[+-]?[\d.,]+(e[+-]?\d+)?\s*", cell) for cell in header)


def _widths(text: str, dialect: Dialect) -> int:
    """The cells of each line where all have the same number, two or more; else 0. A last cell that is empty may be one
    too many."""
    widths = [len(row) - (row[-1].strip() == "") for row in table_rows(text, dialect)]
    return widths[0] if len(widths) > 1 and len({*widths}) == 1 and widths[0] > 1 else 0


def table_rows(text: str, dialect: Dialect) -> Iterator[Sequence[str]]:
    """The cells of each row of a text, without comments and blank lines; as far as it is a table at all."""
    lines = [line for line in text.splitlines() if line.strip()]
    if dialect.comment:
        lines = [line.partition(dialect.comment)[0] for line in lines]
    try:
        yield from csv.reader([line for line in lines if line.strip()], delimiter=dialect.sep)
    except csv.Error:
        return
