"""The schema as a page: `python -m gradlab.tables.describe > docs/metrics.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from gradlab.tables import schema
from gradlab.tables.schema import Column

INTRODUCTION = """# Metrics

What every column of every table means. This page is made from the schema in the code:
`python -m gradlab.tables.describe > docs/metrics.md`. `gradlab list metrics` prints the same in a terminal.

An empty field means that the number does not exist there; `nan`, `inf` and `-inf` are measurements. Numbers are
written so that reading them back gives the same float.

"delta" is the back-propagated error of one sample at a pre-activation z, d loss_i / d z. "The batch" is the batch of
the recorded step; "the probe" is the first 512 training rows (`--probe`), held for the whole run and seen in eval mode.
"""


def page() -> str:
    """The whole page, in Markdown."""
    full = "layers.csv with --metrics full"
    tables = {
        "Cell columns (first in every table)": schema.CELL,
        "layers.csv: one row per cell, seed, recorded step and layer": schema.LAYERS,
        f"{full}: further columns": schema.LAYERS_FULL,
        "steps.csv: one row per cell, seed and recorded step": schema.STEPS,
        "summary.csv: one row per cell": schema.SUMMARY,
        "jacobian.csv (--jacobian): one row per cell, seed, recorded step and Jacobian": schema.JACOBIAN,
        "histograms.csv (--histograms): one row per cell, seed, recorded step, layer and quantity": schema.HISTOGRAMS,
    }
    return INTRODUCTION + "".join(
        f"\n## {title}\n\n{_table(schema.described(rows))}" for title, rows in tables.items()
    )


def _table(columns: Iterable[Column]) -> str:
    lines = ["| column | type | unit | meaning |", "|---|---|---|---|"]
    for column in columns:
        cells = (f"`{column.name}`", column.kind, column.unit, column.meaning.replace("|", "\\|"))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
