"""The summary as a table for a paper: Markdown, and LaTeX with booktabs. Text of the user is escaped for each."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from gradlab.report import frames
from gradlab.report.frames import Frames
from gradlab.report.glyphs import number, percent

if TYPE_CHECKING:
    import pandas as pd

Field = Callable[[dict[str, Any]], str]

MEASURES: tuple[tuple[str, Field], ...] = (
    ("accuracy", lambda row: _interval(row, "val_accuracy", 3)),
    ("attenuation", lambda row: _interval(row, "attenuation", 2)),
    ("decay per layer", lambda row: _factor(float(row["decay_per_layer_mean"]))),
    ("predicted", lambda row: _factor(float(row["decay_per_layer_predicted"]))),
    ("dead %", lambda row: percent(float(row["dead_fraction_max"]))),
    ("saturated %", lambda row: percent(float(row["saturated_fraction_max"]))),
    ("verdict", lambda row: ", ".join(name for name, _ in frames.verdicts(row))),
)
NOTE = (
    "Means over {seeds} seeds ± half of the 95 % interval; {same}. Attenuation: log10 of delta in the first layer "
    "over that in the last hidden layer, at step 0."
)
LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "−": "$-$",
    "<": r"$<$", ">": r"$>$", "|": r"$|$",
}  # fmt: skip


def rows(summary: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """(heads, fields): ranked cells, the cell columns in which they differ, then what was measured."""
    ranked = frames.ranking(summary)
    differ = [name for name in frames.varying(ranked) if name != "activation"]
    heads = ["activation", *differ, *(head for head, _ in MEASURES)]
    fields = [
        [
            str(row["activation"]),
            *(frames.show(row[name]) for name in differ),
            *(field(row) for _, field in MEASURES),
        ]
        for row in frames.rows_of(ranked)
    ]
    return heads, fields


def note(summary: pd.DataFrame) -> str:
    """What the numbers are and what all cells have in common."""
    differ = frames.varying(summary)
    same = [
        f"{name} {frames.show(summary[name].iloc[0])}"
        for name in frames.cell_columns(summary)
        if name not in ("cell", "activation", *differ) and str(summary[name].iloc[0]) != "none"
    ]
    return NOTE.format(seeds=int(summary["seeds"].max()), same=", ".join(same))


def markdown(data: Frames) -> str:
    """A Markdown table (GitHub's dialect) with its note."""
    heads, fields = rows(data.summary)
    lines = [heads, ["---"] * len(heads), *fields]
    table = "\n".join("| " + " | ".join(_markdown(field) for field in line) + " |" for line in lines)
    return f"{table}\n\n{_markdown(note(data.summary))}\n"


def latex(data: Frames) -> str:
    """A LaTeX table environment; the document needs \\usepackage{booktabs}."""
    heads, fields = rows(data.summary)
    columns = "".join("l" if head in ("activation", "verdict") else "r" for head in heads)
    lines = [" & ".join(_latex(field) for field in line) + r" \\" for line in fields]
    return "\n".join(
        [
            "% needs \\usepackage{booktabs}",
            "\\begin{table}",
            "\\centering\\small",
            f"\\begin{{tabular}}{{{columns}}}",
            "\\toprule",
            " & ".join(_latex(head) for head in heads) + r" \\",
            "\\midrule",
            *lines,
            "\\bottomrule",
            "\\end{tabular}",
            f"\\caption{{{_latex(note(data.summary))}}}",
            "\\end{table}",
            "",
        ]
    )


def _interval(row: dict[str, Any], name: str, digits: int) -> str:
    value, half = float(row[f"{name}_mean"]), float(row[f"{name}_ci95"])
    if np.isnan(value):
        return ""
    return f"{value:.{digits}f}" + ("" if np.isnan(half) else f" ± {half:.{digits}f}")


def _factor(value: float) -> str:
    return f"{value:.3f}" if value >= 0.01 else number(value)


def _markdown(text: str) -> str:
    for char in "\\`*_|<[":
        text = text.replace(char, f"\\{char}")
    return " ".join(text.split())


def _latex(text: str) -> str:
    text = re.sub(r"^-(?=[\d.i])", "−", " ".join(text.split()))
    return "".join(LATEX.get(char, char) for char in text)
