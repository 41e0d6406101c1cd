"""Markdown and LaTeX tables: the ranking's numbers, and every character of the user escaped."""

import re

from synthetic_results import make

from gradlab.report import tables

GRID = make(("relu", "my_mod:act|x"), (5, 20))


def test_markdown_has_a_row_a_cell_and_as_many_fields_as_heads() -> None:
    lines = [line for line in tables.markdown(GRID).splitlines() if line.startswith("|")]
    fields = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
    assert len(lines) == 2 + 4 and len({len(row) for row in fields}) == 1
    assert fields[2][2].strip() == "0.935 ± 0.004"
    assert fields[2][0].strip() == "relu" and r"my\_mod:act\|x" in fields[3][0]


def test_latex_escapes_what_tex_reads_as_a_command() -> None:
    text = tables.latex(make((r"50%_#${}~^\x&",), (5,)))
    row = next(line for line in text.splitlines() if line.startswith("50"))
    assert row.startswith(r"50\%\_\#\$\{\}\textasciitilde{}\textasciicircum{}\textbackslash{}x\&")


def test_latex_is_balanced_and_uses_booktabs() -> None:
    text = tables.latex(GRID)
    for kind in ("table", "tabular"):
        assert text.count(f"\\begin{{{kind}}}") == text.count(f"\\end{{{kind}}}") == 1
    columns = re.search(r"\\begin\{tabular\}\{(\w+)\}", text)
    assert columns
    body = text.split("\\toprule")[1].split("\\bottomrule")[0]
    rows = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert len(rows) == 5
    assert all(len(re.findall(r"(?<!\\)&", row)) == len(columns[1]) - 1 for row in rows)
    assert re.sub(r"\\[{}]", "", text).count("{") == re.sub(r"\\[{}]", "", text).count("}")
    assert "$-$" in body  # a minus, not a hyphen
