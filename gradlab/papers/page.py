"""The reproductions as one self-contained HTML page: tables, verdicts and figures, nothing loaded from elsewhere."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from io import BytesIO
from pathlib import Path

from gradlab.base import atomic
from gradlab.papers import figures as paper_figures
from gradlab.papers.reproduction import VERDICT_COLUMNS, Reproduction, table, verdict_table
from gradlab.papers.rows import COLUMNS, OUTCOMES

SHOWN = [name for name in COLUMNS if name not in ("paper", "seconds")]
STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; font-size: 13px; margin: 1rem 0 } td, th { padding: .2rem .6rem; text-align: left;
vertical-align: top; border-bottom: 1px solid #ddd }
.pass { color: #06703f } .fail { color: #b00020; font-weight: bold }
img { max-width: 100% }
"""


def write(found: Sequence[Reproduction], folder: Path) -> Path:
    """Write report.html into the folder; returns its path."""
    parts = [
        f'<section id="{escape(each.paper.name)}"><h2>{escape(each.paper.name)}: {escape(each.paper.title)}</h2>'
        f"<p>{escape(each.paper.citation)}</p>{_table(SHOWN, table(each))}{_verdicts(each)}{_figure(each)}</section>"
        for each in found
    ]
    counts = ", ".join(f"{sum(r.count(o) for r in found)} {o}" for o in OUTCOMES)
    text = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>gradlab reproduce</title>'
        f"<style>{STYLE}</style></head><body><h1>Published results, measured</h1><p>Rows: {counts}</p>"
        f"{''.join(parts)}</body></html>\n"
    )
    path = folder / "report.html"
    atomic.write_text(path, text)
    return path


def _verdicts(found: Reproduction) -> str:
    rows = verdict_table(found)
    return _table(VERDICT_COLUMNS, rows) if rows else ""


def _table(columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join(
        "<tr>"
        + "".join(f'<td class="{escape(_class(name, row))}">{escape(row[name])}</td>' for name in columns)
        + "</tr>"
        for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _class(name: str, row: Mapping[str, str]) -> str:
    return row[name] if name == "outcome" and row[name] in ("pass", "fail") else ""


def _figure(found: Reproduction) -> str:
    drawn = paper_figures.figure(found)
    if drawn is None:
        return ""
    buffer = BytesIO()
    drawn.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    data = b64encode(buffer.getvalue()).decode()
    return f'<img alt="Figure of {escape(found.paper.name)}" src="data:image/png;base64,{data}">'
