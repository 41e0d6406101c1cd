"""Running reproductions and writing what they found: results/reproduce/NAME.csv."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from time import perf_counter

from gradlab.base import atomic
from gradlab.papers.paper import Paper
from gradlab.papers.rows import COLUMNS, Outcome, Panel, Row, Verdict, number
from gradlab.tables.csv_text import escaped

VERDICT_COLUMNS = ("claim", "statement", "verdict", "because")


@dataclass(frozen=True)
class Timed:
    """A row and the seconds it took since the one before."""

    row: Row
    seconds: float


@dataclass(frozen=True)
class Reproduction:
    """Everything one reproduction found."""

    paper: Paper
    rows: Sequence[Timed]
    panels: Sequence[Panel]
    verdicts: Sequence[Verdict]
    seconds: float

    def count(self, outcome: Outcome) -> int:
        return sum(timed.row.outcome == outcome for timed in self.rows)

    @property
    def unexplained(self) -> int:
        """Rows that fail without a word of what was found instead."""
        return sum(timed.row.unexplained for timed in self.rows)


def reproduce(paper: Paper, *, quick: bool = False) -> Reproduction:
    """Measure one published result; `quick` takes reduced sizes, whose rows still assert something true."""
    rows: list[Timed] = []
    panels: list[Panel] = []
    verdicts: list[Verdict] = []
    found = import_module(paper.module).reproduce(quick)
    begin = last = perf_counter()
    for finding in found:
        now = perf_counter()
        if isinstance(finding, Row):
            rows.append(Timed(finding, now - last))
            last = now
        elif isinstance(finding, Panel):
            panels.append(finding)
        else:
            verdicts.append(finding)
    assert len({timed.row.row for timed in rows}) == len(rows), "two rows of one name"
    return Reproduction(paper, rows, panels, verdicts, perf_counter() - begin)


def table(reproduction: Reproduction) -> list[dict[str, str]]:
    """The rows as texts, columns `rows.COLUMNS`."""
    return [
        dict(
            zip(
                COLUMNS,
                (
                    reproduction.paper.name,
                    row.row,
                    row.statement,
                    row.published if isinstance(row.published, str) else number(row.published),
                    number(row.measured.value) or "nan",
                    number(row.measured.low),
                    number(row.measured.high),
                    "" if row.tolerance is None else str(row.tolerance),
                    row.outcome,
                    f"{timed.seconds:.3f}",
                    row.source,
                    row.provenance,
                    row.found if row.outcome == "fail" else "",
                    row.changed,
                ),
                strict=True,
            )
        )
        for timed in reproduction.rows
        for row in [timed.row]
    ]


def document(reproduction: Reproduction) -> dict[str, object]:
    """The reproduction for JSON: numbers as numbers."""
    rows = []
    for text, timed in zip(table(reproduction), reproduction.rows, strict=True):
        row = timed.row
        rows.append(
            {
                **text,
                "published": row.published,
                "measured": row.measured.value,
                "ci_low": row.measured.low,
                "ci_high": row.measured.high,
                "seconds": timed.seconds,
            }
        )
    return {
        "paper": reproduction.paper.name,
        "citation": reproduction.paper.citation,
        "seconds": reproduction.seconds,
        "rows": rows,
        "verdicts": verdict_table(reproduction),
    }


def verdict_table(reproduction: Reproduction) -> list[dict[str, str]]:
    """The verdicts as texts, columns VERDICT_COLUMNS."""
    return [
        {
            "claim": verdict.claim,
            "statement": verdict.statement,
            "verdict": verdict.verdict,
            "because": verdict.because,
        }
        for verdict in reproduction.verdicts
    ]


def write(reproduction: Reproduction, folder: Path) -> list[Path]:
    """Write NAME.csv, and NAME-verdicts.csv where there are verdicts; returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    name = reproduction.paper.name
    paths = [folder / f"{name}.csv"]
    _write_csv(paths[0], COLUMNS, table(reproduction))
    if reproduction.verdicts:
        paths.append(folder / f"{name}-verdicts.csv")
        _write_csv(paths[1], VERDICT_COLUMNS, verdict_table(reproduction))
    return paths


def _write_csv(path: Path, columns: Sequence[str], rows: Sequence[dict[str, str]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: escaped(text) for name, text in row.items()} for row in rows)
    atomic.write_text(path, text.getvalue())
