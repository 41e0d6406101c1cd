"""`gradlab reproduce` on a terminal: a line a row, what was published beside what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gradlab.papers.reproduction import Reproduction
from gradlab.papers.rows import OUTCOMES, Row
from gradlab.report.glyphs import Glyphs

STYLES = {"pass": "green", "fail": "bold red", "not asserted": "dim"}


def print_reproduction(found: Reproduction, console: Console) -> None:
    """What one reproduction says first: the verdicts on its claims and what fails; then its rows."""
    glyphs = Glyphs.of(console)
    console.print(
        Text(glyphs.text(f"{found.paper.name}: {found.paper.title}"), style="bold"), highlight=False
    )
    console.print(Text(glyphs.text(found.paper.citation), style="dim"), highlight=False)
    for verdict in found.verdicts:
        console.print(Text(glyphs.text(f"{verdict.claim}. {verdict.statement}")), highlight=False)
        text = f"   {verdict.verdict}: {verdict.because}"
        console.print(Text(glyphs.text(text), style="bold"), highlight=False)
    for timed in found.rows:
        if timed.row.outcome == "fail":
            text = f"FAILED {timed.row.row}: {timed.row.statement}; allowed {timed.row.tolerance}"
            console.print(Text(glyphs.text(text), style="red"), highlight=False)
    table = Table(box=None, pad_edge=False)
    for name in ("row", "published", "measured", "tolerance", "outcome", "s"):
        table.add_column(name, justify="right" if name in ("measured", "s") else "left")
    for timed in found.rows:
        row = timed.row
        published = row.published if isinstance(row.published, str) else f"{row.published:.6g}"
        cells = (row.row, published, measured(row), limits(row), row.outcome, f"{timed.seconds:.1f}")
        table.add_row(
            *(
                Text(glyphs.text(cell), style=STYLES[row.outcome] if at == 4 else "")
                for at, cell in enumerate(cells)
            )
        )
    console.print(table, highlight=False)
    console.print()


def measured(row: Row) -> str:
    """The number and its interval."""
    value = row.measured
    if isnan(value.low):
        return f"{value.value:.6g}"
    return f"{value.value:.6g} [{value.low:.4g}, {value.high:.4g}]"


def limits(row: Row) -> str:
    """The tolerance without its reason, which the CSV holds."""
    return "" if row.tolerance is None else row.tolerance.limits(6)


def print_total(found: Sequence[Reproduction], files: Sequence[Path], console: Console) -> None:
    """How many rows passed, the files and the next command."""
    glyphs = Glyphs.of(console)
    passed, failed, open_ = (sum(r.count(o) for r in found) for o in OUTCOMES)
    seconds = sum(reproduction.seconds for reproduction in found)
    for text in (
        f"{passed} rows pass, {failed} fail, {open_} not asserted; {len(found)} results in {seconds:.0f} s",
        f"Written: {', '.join(str(file) for file in files[:4])}{', ...' if len(files) > 4 else ''}",
        "Next: gradlab reproduce --list",
    ):
        console.print(Text(glyphs.text(text)), highlight=False)
