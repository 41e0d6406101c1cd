"""Measure gradlab's speed beside what a user would do instead, and write down the figures.

    python -m benchmarks.speed [GROUP ...] [--pairs N]

Groups: start, overhead, limit, jax, grid, mnist, growth, memory; all without a name. The table goes to the terminal, to
benchmarks/speed/figures.csv and into docs/speed.md, where the groups that were not measured keep their last figures.
JAX comes with the extra `bench`. Nothing else should run on the machine meanwhile.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.speed.groups import GROUPS
from benchmarks.speed.pairs import ROOT, Figure
from gradlab.base import blas

CSV = Path(__file__).with_name("figures.csv")
PAGE = ROOT / "docs" / "speed.md"
COLUMNS = ("group", "what", "median", "min", "max", "runs", "goal", "note", "machine")


def machine() -> str:
    cpu = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    packages = f"torch {version('torch')} jax {version('jax')}, products by {blas.name()}"
    day = datetime.now(UTC).date().isoformat()
    load = os.getloadavg()[0]
    return f"{os.cpu_count()} cores {cpu}, Python {platform.python_version()}, {packages}, {day}, load {load:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=", ".join(GROUPS))
    parser.add_argument("--pairs", type=int, default=5)
    arguments = parser.parse_args()
    unknown = [name for name in arguments.groups if name not in GROUPS]
    if unknown or arguments.pairs < 1:
        parser.error(f"unknown group {', '.join(unknown)}" if unknown else "--pairs is a number from 1")
    groups = arguments.groups or list(GROUPS)
    here, console = machine(), Console()
    rows = [row for row in _known() if row["group"] not in groups]
    for group in groups:
        for figure in GROUPS[group](arguments.pairs):
            console.print(_line(figure), highlight=False)
            rows.append({**{name: str(value) for name, value in figure.row().items()}, "machine": here})
    rows.sort(key=lambda row: list(GROUPS).index(row["group"]))
    with CSV.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    _write_page(rows)
    console.print(_table(rows))


def _known() -> list[dict[str, str]]:
    if not CSV.exists():
        return []
    with CSV.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def _line(figure: Figure) -> str:
    row = figure.row()
    return f"{figure.group:9} {row['median']:.3g} ({row['min']:.3g} to {row['max']:.3g})  {figure.what}"


def _number(text: str) -> str:
    return f"{float(text):.3g}"


def _table(rows: list[dict[str, str]]) -> Table:
    table = Table("group", "what", "median", "min", "max", "goal", "note")
    for row in rows:
        table.add_row(row["group"], row["what"], *(_number(row[n]) for n in ("median", "min", "max")), row["goal"],
                      row["note"])  # fmt: skip
    return table


def _write_page(rows: list[dict[str, str]]) -> None:
    """Put the table between the markers of docs/speed.md."""
    lines = ["| | median | min | max | goal |", "|---|---:|---:|---:|---|"]
    for row in rows:
        what = row["what"] + (f" ({row['note']})" if row["note"] else "")
        numbers = " | ".join(_number(row[name]) for name in ("median", "min", "max"))
        lines.append(f"| {what} | {numbers} | {row['goal']} |")
    lines += ["", *(f"Measured on: {text}." for text in dict.fromkeys(row["machine"] for row in rows))]
    before, _, rest = PAGE.read_text(encoding="utf-8").partition("<!-- table -->\n")
    _, _, after = rest.partition("<!-- end of table -->")
    text = f"{before}<!-- table -->\n\n" + "\n".join(lines) + f"\n<!-- end of table -->{after}"
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
