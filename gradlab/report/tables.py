"""The summary as a table for a paper: Markdown, and LaTeX with booktabs. Text of the user is escaped for each."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gradlab.report import selections
from gradlab.report.selections import Frames
from gradlab.report.summary_columns import Measure, measures_of

if TYPE_CHECKING:
    import pandas as pd

NOTE = (
    "Means over {seeds} seeds ± half of the 95 % interval; {same}. Attenuation: log10 of delta in the first layer "
    "over that in the last hidden layer, at step 0. Decay: delta's factor from a layer to the one below, at step 0; "
    "theory: its mean-field prediction."
)
LONG = 16  # characters of a text from which its column is broken, to the width BROKEN
BROKEN = "8.5em"
LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "−": "$-$",
    "<": r"$<$", ">": r"$>$", "|": r"$|$",
}  # fmt: skip


def rows(summary: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """(heads, fields): ranked cells, the cell columns in which they differ, then what was measured."""
    ranked, shown = selections.ranking(summary), _shown(summary)
    differ = [name for name in selections.varying(ranked) if name != "activation"]
    heads = ["activation", *differ, *(measure.paper for measure in shown), "verdict"]
    fields = [
        [
            str(row["activation"]),
            *(selections.show(row[name]) for name in differ),
            *(measure.in_paper(row) for measure in shown),
            ", ".join(name for name, _ in selections.verdicts(row)),
        ]
        for row in selections.rows_of(ranked)
    ]
    return heads, fields


def _shown(summary: pd.DataFrame) -> list[Measure]:
    return [measure for measure in measures_of(summary) if measure.paper]


def note(summary: pd.DataFrame) -> str:
    """What the numbers are and what all cells have in common."""
    differ = selections.varying(summary)
    same = [
        f"{name} {selections.show(summary[name].iloc[0])}"
        for name in selections.cell_columns(summary)
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
    """A LaTeX table environment; the document needs \\usepackage{booktabs,graphicx}.

    Long texts are broken inside their column, and a table that is still too wide is scaled down to the line.
    """
    heads, fields = rows(data.summary)
    shown = _shown(data.summary)
    measured = len(heads) - len(shown) - 1  # the first column that is no cell column
    short = {measure.paper: measure.latex for measure in shown if measure.latex}
    texts = [_is_text(data.summary, head) for head in heads]
    broken = [text and max(len(line[i]) for line in fields) > LONG for i, text in enumerate(texts)]
    kinds = [
        f"p{{{BROKEN}}}" if long else "l" if text else "r" for long, text in zip(broken, texts, strict=True)
    ]

    def field(place: int, text: str) -> str:
        if broken[place] and len(text) > LONG:
            return f"\\raggedright {_breakable(text)}"
        return _latex_number(text) if place >= measured and not texts[place] else _latex(text)

    lines = [" & ".join(field(*item) for item in enumerate(line)) + r" \tabularnewline" for line in fields]
    return "\n".join(
        [
            "% needs \\usepackage{booktabs,graphicx}",
            "\\begin{table}",
            "\\centering\\footnotesize",
            "\\setlength{\\tabcolsep}{3pt}",
            "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%",
            f"\\begin{{tabular}}{{{''.join(kinds)}}}",
            "\\toprule",
            " & ".join(_latex(short.get(head, head)) for head in heads) + r" \tabularnewline",
            "\\midrule",
            *lines,
            "\\bottomrule",
            "\\end{tabular}}",
            f"\\caption{{{_latex(note(data.summary))}}}",
            "\\end{table}",
            "",
        ]
    )


def _markdown(text: str) -> str:
    for char in "\\`*_|<[&~$":
        text = text.replace(char, f"\\{char}")
    return " ".join(text.split())


def _latex(text: str) -> str:
    text = re.sub(r"^-(?=[\d.i])", "−", " ".join(text.split()))
    return "".join(LATEX.get(char) or _known(char) for char in text)


def _known(char: str) -> str:
    """The character, or its number where LaTeX's standard fonts do not have it."""
    return char if char.isascii() or "À" <= char <= "ž" else f"U+{ord(char):04X}"


def _breakable(text: str) -> str:
    """Escaped, with places to break a line between the parameters of a name."""
    return re.sub(r"(:|=|\\_|/|\.(?=[A-Za-z]))", r"\1\\allowbreak{}", _latex(text))


def _latex_number(text: str) -> str:
    return re.sub(r"(\$-\$)?\binf\b", lambda found: r"$-\infty$" if found[1] else r"$\infty$", _latex(text))


def _is_text(summary: pd.DataFrame, head: str) -> bool:
    """Whether a column of the table holds names."""
    return head == "verdict" or (head in summary and not selections.is_number(summary, head))
