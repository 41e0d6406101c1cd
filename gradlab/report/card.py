"""A result as a notebook shows it: what happened, the verdict, one picture and a small table."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from io import BytesIO
from typing import Any

from markupsafe import Markup, escape

from gradlab.analyse.findings import seeds_once, verdicts_text
from gradlab.analyse.headline import headline
from gradlab.analyse.verdicts import WORDS
from gradlab.base.errors import ConfigError
from gradlab.base.text import one_line
from gradlab.report import figures, selections
from gradlab.report.selections import Frames
from gradlab.report.summary_columns import measures_of

MOST_CELLS = 12
CARD = Markup(
    '<div style="max-width:52rem;font-family:system-ui,sans-serif">'
    '<div style="font-size:1.25rem;font-weight:600;margin:.2rem 0">{headline}</div>'
    '<div style="opacity:.75;margin-bottom:.4rem">{subtitle}</div>{chips}{picture}{table}</div>'
)
CHIP = Markup(
    '<span style="background:{back};color:{text};border-radius:.3rem;padding:.1rem .5rem;margin-right:.4rem">'
    "{word}</span>"
)
PICTURE = Markup(
    '<img alt="{alt}" style="display:block;max-width:100%;margin:.6rem 0" src="data:image/png;base64,{data}">'
)


def card(result: Frames) -> str:
    """HTML of a result; every text in it is escaped, whoever wrote it."""
    summary = result.summary
    one = len(summary) == 1
    subtitle = selections.title_of(result) if one else f"{len(summary)} cells, best first"
    return CARD.format(
        headline=one_line(headline(summary, selections.optional_table(result, "time"))),
        subtitle=one_line(subtitle),
        chips=_chips(selections.rows_of(summary)[0]) if one else "",
        picture=_picture(result),
        table=_table(result),
    )


def row_verdict(row: Mapping[str, Any]) -> str:
    """The verdicts of a row of summary.csv with their seeds."""
    found = selections.verdicts(row)
    return verdicts_text([name for name, _ in found], ",".join(seeds for _, seeds in found))


def _chips(row: Mapping[str, Any]) -> Markup:
    chips = []
    for verdict, seeds in seeds_once(selections.verdicts(row)):
        text, back = WORDS[verdict].style.light if verdict in WORDS else ("#3d4a57", "#e6ebf0")
        word = f"{verdict} ({seeds} seeds)" if seeds else verdict
        chips.append(CHIP.format(back=back, text=text, word=one_line(word)))
    return Markup("").join(chips)


def _picture(result: Frames) -> Markup:
    try:
        drawn = figures.plot(result)
    except ConfigError:  # nothing was recorded that could be drawn
        return Markup("")
    picture = BytesIO()
    drawn.savefig(picture, format="png", dpi=100, metadata={"Software": None})
    data = b64encode(picture.getvalue()).decode("ascii")
    return PICTURE.format(alt=one_line(headline(result.summary)), data=data)


def _table(result: Frames) -> Markup:
    """The cells as ranked, with the numbers that a paper's table has."""
    ranked = selections.ranking(result.summary)
    names = selections.labels(ranked)
    measures = [measure for measure in measures_of(ranked) if measure.paper]
    rows = selections.rows_of(ranked)
    lines = [_row("th", ["cell", *(measure.paper for measure in measures), "verdict"])]
    for place in selections.ends(len(rows), MOST_CELLS):
        row = rows[place]
        numbers = [measure.in_paper(row) for measure in measures]
        lines.append(_row("td", [one_line(names[str(row["cell"])]), *numbers, one_line(row_verdict(row))]))
    if len(rows) > MOST_CELLS:
        lines.append(_row("td", [f"{len(rows) - MOST_CELLS} cells between are in .summary"]))
    return Markup("<table>{}</table>").format(Markup("").join(lines))


def _row(tag: str, texts: list[str]) -> Markup:
    cells = (
        Markup('<{0} style="text-align:left">{1}</{0}>').format(Markup(tag), escape(text)) for text in texts
    )
    return Markup("<tr>{}</tr>").format(Markup("").join(cells))
