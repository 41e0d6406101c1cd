"""Two tables compared field by field, numbers to the last bit."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from struct import pack

CLOCK = "seconds"  # the column that is never the same twice


@dataclass(frozen=True)
class Table:
    """Columns and rows as text."""

    columns: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class Differences:
    """What two tables do not have in common, in words.

    numbers: numbers, rows and columns; texts: fields that are no number on either side
    """

    numbers: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)


def read_csv(path: Path, numbers: dict[str, str]) -> Table:
    """A table without its clock.

    numbers: what stands for the cell ids seen so far, by order of first appearance; new ids are added
    """
    with path.open(newline="", encoding="utf-8") as handle:
        columns, *rows = [*csv.reader(handle)] or [[]]
    for at, name in enumerate(columns):
        if name == "cell":
            for row in rows:
                row[at] = numbers.setdefault(row[at], f"cell {len(numbers) + 1}")
    keep = [at for at, name in enumerate(columns) if name != CLOCK]
    return Table([columns[at] for at in keep], [[row[at] for at in keep] for row in rows])


def read_json(path: Path) -> Table:
    """A document as a table of one row: the columns are the paths of its values, cell ids left out."""
    values = dict(leaves(json.loads(path.read_text(encoding="utf-8"))))
    return Table(list(values), [list(values.values())])


def leaves(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Path and text of every value that holds no other; an empty list or object counts as one."""
    if isinstance(value, dict) and value:
        for key, part in value.items():
            if key != "cell" or isinstance(part, dict):
                yield from leaves(part, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and value:
        for at, part in enumerate(value):
            yield from leaves(part, f"{path}[{at}]")
    else:
        yield path, value if isinstance(value, str) else json.dumps(value)


def compare(before: Table, after: Table, renamed: Mapping[str, str]) -> Differences:
    """Columns, their order, the number of rows, then every field of the columns that both have.

    renamed: the names of columns after the change, by their names before; each counts only where the old name is gone
    """
    found = Differences()
    now = set(after.columns)
    columns = [name if name in now else renamed.get(name, name) for name in before.columns]
    common = now.intersection(columns)
    if missing := [name for name in columns if name not in common]:
        found.numbers.append(f"columns missing: {in_words(missing)}")
    if new := [name for name in after.columns if name not in common]:
        found.numbers.append(f"columns new: {in_words(new)}")
    order = [name for name in after.columns if name in common]
    if [name for name in columns if name in common] != order:
        found.numbers.append(f"columns in another order: {in_words(after.columns)}")
    if len(before.rows) != len(after.rows):
        found.numbers.append(f"{len(before.rows)} rows before, {len(after.rows)} after")
        return found
    place = {name: at for at, name in enumerate(columns)}
    differing: dict[tuple[str, bool], list[str]] = {}
    for at, name in enumerate(after.columns):
        if name not in common:
            continue
        for line, (row_before, row_after) in enumerate(zip(before.rows, after.rows, strict=True), 1):
            one, other = row_before[place[name]], row_after[at]
            if not same(one, other):
                is_text = bits(one) is None and bits(other) is None
                words = f"row {line} had {one!r} and has {other!r}"
                differing.setdefault((without_places(name), is_text), []).append(words)
    for (name, is_text), where in differing.items():
        kind, words = (found.texts, "texts") if is_text else (found.numbers, "numbers")
        kind.append(f"{name}: {words} differ, {len(where)} in all; {where[0]}")
    return found


def same(one: str, other: str) -> bool:
    """Equal as texts or as numbers."""
    return one == other or (bits(one) is not None and bits(one) == bits(other))


def bits(text: str) -> bytes | None:
    """The eight bytes of the number in a field, so that nan equals nan and 0.0 is not -0.0; None for a text."""
    try:
        return pack("<d", float(text))
    except ValueError:
        return None


def in_words(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(map(without_places, names)))


def without_places(path: str) -> str:
    """`diagnoses[3].findings[0].step` as `diagnoses[].findings[].step`."""
    return re.sub(r"\[\d+\]", "[]", path)
