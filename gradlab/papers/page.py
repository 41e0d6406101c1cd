"""The reproductions as one self-contained HTML page in the design of a run's: what holds first, then a card a claim."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from math import floor, isfinite, isnan, log10
from pathlib import Path

import numpy as np

from gradlab.base import atomic
from gradlab.papers import figures as paper_figures
from gradlab.papers.reproduction import Reproduction
from gradlab.papers.rows import Row, Verdict
from gradlab.report.html import embed, page_environment, page_style
from gradlab.report.pictures import tolerance_strip
from gradlab.report.resources import template
from gradlab.report.svg import Drawing

HOLDS, FAILS, REPORTED = ("good", "holds"), ("wrong", "fails"), ("none", "measured")
SIGNS = {
    "supported": ("good", "holds"),
    "refuted": ("wrong", "refuted"),
    "it depends": ("mixed", "it depends"),
}
ORDER = ("wrong", "mixed", "good", "none")
PROVENANCE = {
    "P": "printed in the source",
    "D": "derived from its equations and checked by simulation",
    "R": "recalled, not looked up",
}
MOST_NAMED = 3
"""results that a command names one by one"""
AT_ONCE = 3
"""rows that a card shows before it is opened"""
MOST_DIGITS = 5


@dataclass(frozen=True)
class Line:
    """A row of a reproduction as the page says it."""

    name: str
    statement: str
    published: str
    measured: str
    sign: tuple[str, str]
    allowed: str
    source: str
    found: str
    strip: Drawing | str


@dataclass(frozen=True)
class Card:
    """A paper, or a claim of one: its sign, what it says, why it is judged so, and its rows."""

    ident: str
    sign: tuple[str, str]
    over: str
    title: str
    text: str
    lines: Sequence[Line]
    picture: str = ""


def write(found: Sequence[Reproduction], folder: Path) -> Path:
    """Write report.html into the folder; returns its path."""
    path = folder / "report.html"
    atomic.write_text(path, page(found))
    return path


def page(found: Sequence[Reproduction]) -> str:
    """The page as text; every text is escaped by the template."""
    claims = sorted(
        (claim_card(each, verdict) for each in found for verdict in each.verdicts),
        key=lambda card: ORDER.index(card.sign[0]),
    )
    papers = [paper_card(each) for each in found]
    papers.sort(key=lambda card: ORDER.index(card.sign[0]) if card.sign != REPORTED else len(ORDER))
    rows = [timed.row for each in found for timed in each.rows]
    asserted = [row for row in rows if row.tolerance is not None]
    failed = [row for row in asserted if row.outcome == "fail"]
    text: str = page_environment().get_template("papers.html.j2").render(
        headline=headline(found),
        asserted=len(asserted),
        held=len(asserted) - len(failed),
        failing=sum(any(timed.row.outcome == "fail" for timed in each.rows) for each in found),
        reported=len(rows) - len(asserted),
        found=found,
        claims=claims,
        papers=papers,
        refuted=sum(card.sign[1] == "refuted" for card in claims),
        command=command(found),
        outcomes={"pass": "holds", "fail": "fails", "not asserted": "is measured"},
        at_once=AT_ONCE,
        signs=ORDER,
        explorer=embed(template("explorer.html")),
        style=page_style(),
    )  # fmt: skip
    return text


def command(found: Sequence[Reproduction]) -> str:
    """What measures these results again, or every one where they are too many to name."""
    names = " ".join(each.paper.name for each in found) if len(found) <= MOST_NAMED else "--all"
    return f"gradlab reproduce {names or '--list'}{' --report' * bool(found)}"


def headline(found: Sequence[Reproduction]) -> str:
    """`The numbers of 22 papers hold when measured again; of 13 claims 2 are refuted`."""
    papers = [each for each in found if any(timed.row.tolerance is not None for timed in each.rows)]
    bad = [each.paper.name for each in papers if each.count("fail")]
    said = []
    if papers and not bad:
        many = f"{len(papers)} papers hold" if len(papers) > 1 else f"{papers[0].paper.name} hold"
        said.append(f"The numbers of {many} when measured again")
    elif bad:
        shown = ", ".join(bad[:3]) + (f" and {len(bad) - 3} more" if len(bad) > 3 else "")
        said.append(f"Numbers of {len(bad)} of {plural(len(papers), 'paper')} do not hold: {shown}")
    verdicts = [verdict for each in found for verdict in each.verdicts]
    refuted = sum(verdict.verdict == "refuted" for verdict in verdicts)
    if verdicts:
        count = plural(len(verdicts), "claim")
        said.append(f"of {count} {refuted or 'none'} {'is' if refuted < 2 else 'are'} refuted")
    text = "; ".join(said) or "Nothing was asserted"
    return text[0].upper() + text[1:]


def claim_card(found: Reproduction, verdict: Verdict) -> Card:
    rows = [timed.row for timed in found.rows if timed.row.row.startswith(f"{verdict.claim}. ")]
    over = f"claim {verdict.claim} of {found.paper.name}"
    sign = SIGNS.get(verdict.verdict, ("none", verdict.verdict))
    return Card(
        f"claim-{verdict.claim}", sign, over, verdict.statement, verdict.because, [line(row) for row in rows]
    )


def paper_card(found: Reproduction) -> Card:
    outcomes = [timed.row.outcome for timed in found.rows]
    sign = FAILS if "fail" in outcomes else HOLDS if "pass" in outcomes else REPORTED
    held, failed = outcomes.count("pass"), outcomes.count("fail")
    said = f"{held} of {plural(held + failed, 'asserted number')} inside the tolerance"
    text = f"{said}; {found.paper.citation}."
    claimed = {verdict.claim for verdict in found.verdicts}
    rows = [timed.row for timed in found.rows if timed.row.row.partition(". ")[0] not in claimed]
    rows.sort(key=lambda row: (row.outcome != "fail", row.tolerance is None))
    return Card(
        found.paper.name,
        sign,
        found.paper.name,
        found.paper.title,
        text,
        [line(row) for row in rows],
        _picture(found),
    )


def line(row: Row) -> Line:
    measured = row.measured
    published = row.published if isinstance(row.published, str) else rounded(row.published, row)
    ends = "" if isnan(measured.low) else f" ({rounded(measured.low, row)} to {rounded(measured.high, row)})"
    sign = {"pass": HOLDS, "fail": FAILS}.get(row.outcome, REPORTED)
    allowed = "" if row.tolerance is None else f"{row.tolerance.limits(4)}: {row.tolerance.why}"
    source = f"{row.source}: {PROVENANCE[row.provenance]}"
    if row.changed:
        source += f"; after a first look: {row.changed}"
    strip: Drawing | str = ""
    if row.tolerance is not None and isfinite(row.tolerance.low) and isfinite(row.tolerance.high):
        target = row.published if isinstance(row.published, float | int) else float("nan")
        values = (measured.value, measured.low, measured.high)
        strip = tolerance_strip(values, float(target), (row.tolerance.low, row.tolerance.high))
    return Line(
        row.row,
        row.statement,
        published,
        f"{rounded(measured.value, row)}{ends}",
        sign,
        allowed,
        source,
        row.found if row.outcome == "fail" else "",
        strip,
    )


def rounded(value: float, row: Row) -> str:
    """A number with as many digits as its interval or its tolerance gives a meaning to, two of half their width, and no
    more than people compare unless the row fails; four digits where there is neither."""
    if isnan(value):
        return "nan"
    widths = [row.measured.high - row.measured.low]
    if row.tolerance is not None:
        widths.append(row.tolerance.high - row.tolerance.low)
    known = [width / 2 for width in widths if isfinite(width) and width > 0]
    if not known or not isfinite(value) or (value == round(value) and abs(value) < 1e4):
        return f"{value:.4g}"
    digits = 1 - floor(log10(min(known)))
    whole = floor(log10(abs(value))) if value else 0
    most = 10 if row.outcome == "fail" else MOST_DIGITS
    digits = min(digits, max(most - whole - 1, 0))
    significant = min(max(whole + digits + 1, 1), most)
    if abs(value) >= 1e5 or 0 < abs(value) < 1e-4:
        return f"{value:.{significant - 1}e}"
    return f"{np.round(value, digits):.{max(min(digits, 10), 0)}f}"


def plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _picture(found: Reproduction) -> str:
    """The figure as a data URL; "" without any."""
    drawn = paper_figures.figure(found)
    if drawn is None:
        return ""
    buffer = BytesIO()
    drawn.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return f"data:image/png;base64,{b64encode(buffer.getvalue()).decode()}"
