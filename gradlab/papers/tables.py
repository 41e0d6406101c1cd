"""`gradlab reproduce` on a terminal: the verdicts, then what was published beside what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gradlab.base.text import wrapped
from gradlab.papers.registry import PAPERS
from gradlab.papers.reproduction import Reproduction
from gradlab.papers.rows import OUTCOMES, Row
from gradlab.report.glyphs import Glyphs
from gradlab.report.terminal import print_command

OUTCOME_WORDS = {"pass": "agree", "fail": "do not agree", "not asserted": "not asserted"}
STYLES = {"pass": "green", "fail": "bold red", "not asserted": "dim"}


def print_reproduction(found: Reproduction, console: Console) -> None:
    """One reproduction: what it came to, the verdicts on its claims, what failed, then its rows."""
    glyphs = Glyphs.of(console)

    def lines(text: str, style: str = "", first: str = "", rest: str = "") -> None:
        for line in wrapped(glyphs.text(text), console.width, first, rest):
            console.print(Text(line, style=style), highlight=False, soft_wrap=True)

    counts = {outcome: found.count(outcome) for outcome in OUTCOMES}
    said = ", ".join(f"{count} {OUTCOME_WORDS[outcome]}" for outcome, count in counts.items() if count)
    lines(f"{found.paper.name}: {found.paper.title}", "bold")
    lines(f"{len(found.rows)} numbers: {said}", STYLES["fail" if counts["fail"] else "pass"])
    for verdict in found.verdicts:
        lines(f"{verdict.verdict}: {verdict.statement}", "bold", f"claim {verdict.claim}, ", "  ")
        lines(verdict.because, "", "  ", "  ")
    for timed in found.rows:
        if timed.row.outcome == "fail":
            text = f"{timed.row.statement}; allowed {timed.row.tolerance}"
            lines(text, "red", f"FAILED {timed.row.row}: ", "  ")
            lines(timed.row.found, "", "  found: ", "  ")
    lines(found.paper.citation, "dim")
    console.print(_rows(found, glyphs), highlight=False)
    console.print()


def _rows(found: Reproduction, glyphs: Glyphs) -> Table:
    """What was published beside what was measured. Names and published texts are folded, numbers are not."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("row", "published", "measured", "tolerance", "outcome"):
        table.add_column(
            name,
            justify="right" if name == "measured" else "left",
            overflow="fold",
            no_wrap=name == "outcome",
        )
    for timed in found.rows:
        row = timed.row
        published = row.published if isinstance(row.published, str) else f"{row.published:.4g}"
        cells = (row.row, published, measured(row), limits(row), row.outcome)
        table.add_row(
            *(
                Text(glyphs.text(cell), style=STYLES[row.outcome] if at == len(cells) - 1 else "")
                for at, cell in enumerate(cells)
            )
        )
    return table


def measured(row: Row) -> str:
    """The number and its interval; the CSV holds every digit."""
    value = row.measured
    if isnan(value.low):
        return f"{value.value:.4g}"
    return f"{value.value:.4g} [{value.low:.3g}, {value.high:.3g}]"


def limits(row: Row) -> str:
    """The tolerance without its reason, which the CSV holds."""
    return "" if row.tolerance is None else row.tolerance.limits(4)


def print_total(found: Sequence[Reproduction], files: Sequence[Path], quick: bool, console: Console) -> None:
    """How many rows passed, the files and the next command."""
    glyphs = Glyphs.of(console)
    passed, failed, open_ = (sum(r.count(o) for r in found) for o in OUTCOMES)
    seconds = sum(reproduction.seconds for reproduction in found)
    unknown = sum(reproduction.unexplained for reproduction in found)
    known = f" (what was found instead is said of {failed - unknown})" if failed > unknown else ""
    total = f"{passed} rows pass, {failed} fail{known}, {open_} not asserted; {len(found)} results in {seconds:.0f} s"
    written = f"written: {', '.join(map(str, files[:4]))}{', ...' if len(files) > 4 else ''}"
    for text in (total, written):
        for line in wrapped(glyphs.text(text), console.width):
            console.print(Text(line), highlight=False, soft_wrap=True)
    print_command("next", next_command(found, files, quick), console, glyphs)


def next_command(found: Sequence[Reproduction], files: Sequence[Path], quick: bool) -> str:
    """The page, where there is none yet; then the sizes of the papers, where these were reduced."""
    names = "--all" if len(found) == len(PAPERS) else " ".join(each.paper.name for each in found)
    reduced = "--quick" if quick else ""
    if not any(file.suffix == ".html" for file in files):
        return " ".join(filter(None, ["gradlab reproduce", names, reduced, "--report"]))
    return f"gradlab reproduce {names}" if quick else "gradlab reproduce --list"
