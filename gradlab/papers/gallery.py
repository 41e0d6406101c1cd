"""The reproductions as a page of the docs: `python -m gradlab.papers.gallery results/reproduce docs`.

It reads what `gradlab reproduce --all` wrote and measures nothing. It writes docs/gallery.md, a table for each result,
and its figures at half the size to docs/gallery/.
"""

from __future__ import annotations

import csv
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import isnan
from pathlib import Path

from PIL import Image

from gradlab.base import atomic
from gradlab.papers.paper import Paper
from gradlab.papers.registry import PAPERS

INTRODUCTION = """# Published results: the gallery

What `gradlab reproduce --all` found: {sources} sources, {asserted} asserted rows, of which {passed} pass and {failed}
fail; {reported} more rows are reported without a claim. This page is made from its files:
`python -m gradlab.papers.gallery results/reproduce docs`. How a row is read, what `P`, `D` and `R` mean, and where
paper and measurement differ stands in [papers](papers.md); the reason of each tolerance is in the files.
"""
Row = Mapping[str, str]


def read(folder: Path) -> dict[str, list[Row]]:
    """The rows of every result, from NAME.csv. Raises OSError where one is missing."""
    found: dict[str, list[Row]] = {}
    for name in PAPERS:
        with (folder / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            found[name] = [dict(row) for row in csv.DictReader(file)]
    return found


def page(found: Mapping[str, Sequence[Row]]) -> str:
    """The whole page, in Markdown."""
    outcomes = Counter(row["outcome"] for rows in found.values() for row in rows)
    text = INTRODUCTION.format(
        sources=len(found),
        asserted=outcomes["pass"] + outcomes["fail"],
        passed=outcomes["pass"],
        failed=outcomes["fail"],
        reported=outcomes["not asserted"],
    )
    return text + "".join(_section(PAPERS[name], rows) for name, rows in found.items())


def _section(paper: Paper, rows: Iterable[Row]) -> str:
    lines = [
        f"\n## {paper.name}\n",
        f"{paper.title[0].upper()}{paper.title[1:]}. {paper.citation}.\n",
        f"![{paper.name}](gallery/{paper.name}.png)\n",
        "| what | published | measured | allowed | outcome | from |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = (
            f"**{_plain(row['row'])}**: {_plain(row['statement'])}{_found(row)}",
            _plain(_short(row["published"])),
            _measured(row),
            row["tolerance"].partition(":")[0],
            row["outcome"],
            row["provenance"],
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _found(row: Row) -> str:
    """What was found where the row fails."""
    return f". *Found: {_plain(row['found'])}*" if row["found"] else ""


def _plain(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*").replace("_", "\\_")


def _measured(row: Row) -> str:
    value = _short(row["measured"])
    if not row["ci_low"]:
        return value
    return f"{value} [{float(row['ci_low']):.3g}, {float(row['ci_high']):.3g}]"


def _short(text: str) -> str:
    """A number in six digits; any other text as it is."""
    try:
        number = float(text)
    except ValueError:
        return text
    return text if isnan(number) else f"{number:.6g}"


def write(results: Path, docs: Path) -> None:
    found = read(results)
    atomic.write_text(docs / "gallery.md", page(found))
    (docs / "gallery").mkdir(exist_ok=True)
    for name in found:
        with Image.open(results / f"{name}.png") as figure:
            half = figure.convert("RGB").resize(
                (figure.width // 2, figure.height // 2), Image.Resampling.LANCZOS
            )
            half.quantize(64).save(docs / "gallery" / f"{name}.png", optimize=True)


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]))
