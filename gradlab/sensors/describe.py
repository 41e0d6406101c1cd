"""The columns of every table as a page: `python -m gradlab.sensors.describe > docs/metrics.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from gradlab import sensors
from gradlab.tables.attention import ATTENTION
from gradlab.tables.cell import CELL
from gradlab.tables.layers import FULL, LAYERS
from gradlab.tables.spec import Column, TableSpec
from gradlab.tables.steps import OF_ANY_MODEL, STEPS
from gradlab.tables.summary import FAILURES
from gradlab.tables.time import TIME

INTRODUCTION = """# Metrics

What every column of every table means. This page is made from the tables in the code:
`python -m gradlab.sensors.describe > docs/metrics.md`. `gradlab list metrics` prints the same in a terminal.

An empty field means that the number does not exist there; `nan`, `inf` and `-inf` are measurements. Numbers are
written so that reading them back gives the same float.

A text that a spreadsheet would take for a formula, because it begins with `=`, `+`, `-`, `@`, a tab or a line end, has
an apostrophe before it in CSV files, unless it is a number. gradlab takes it off again where it reads them; Parquet has
the text itself.

"delta" is the back-propagated error of one sample at a pre-activation z, d loss_i / d z. "The batch" is the batch of
the recorded step; "the probe" is the first 512 training rows (fewer of wide inputs: `--probe`), held for
the whole run and seen in eval mode.
"""


def described() -> list[tuple[str, str, list[Column]]]:
    """(table as `gradlab list metrics` calls it, title of its section, its columns), in the order of the page."""
    found = [("every table", "Cell columns (first in every table)", list(CELL))]
    for table in sensors.tables("standard").values():
        found.append((_short(table), f"{_title(table)}: one row per {table.row}", table.described()))
        if table == LAYERS:
            full = "--metrics full"
            found.append((f"layers ({full})", f"layers.csv with {full}: further columns", list(FULL)))
        if table == STEPS:
            title = "steps.csv of a model of your own (watch, Recorder): further columns"
            found.append(("steps (of your own model)", title, list(OF_ANY_MODEL)))
    return found


def page() -> str:
    """The whole page, in Markdown."""
    return INTRODUCTION + "".join(f"\n## {title}\n\n{_rows(columns)}" for _, title, columns in described())


def _short(table: TableSpec) -> str:
    return f"{table.name} (--{table.option.name})" if table.option else table.name


def _title(table: TableSpec) -> str:
    if table == TIME:
        return f"{table.name}.csv (of recurrent layers of your own model)"
    if table == ATTENTION:
        return f"{table.name}.csv (of attention in your own model)"
    if table == FAILURES:
        return f"{table.name}.csv (where a training failed)"
    return f"{table.name}.csv (--{table.option.name})" if table.option else f"{table.name}.csv"


def _rows(columns: Iterable[Column]) -> str:
    lines = ["| column | type | unit | meaning |", "|---|---|---|---|"]
    for column in columns:
        cells = (f"`{column.name}`", column.kind, column.unit, column.meaning.replace("|", "\\|"))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
