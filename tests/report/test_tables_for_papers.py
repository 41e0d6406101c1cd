"""Markdown and LaTeX tables: the ranking's numbers, and every character of the user escaped."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
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
    assert columns, "short names need no broken column"
    body = text.split("\\toprule")[1].split("\\bottomrule")[0]
    rows = [line for line in body.splitlines() if line.endswith(r"\tabularnewline")]
    assert len(rows) == 5
    assert all(len(re.findall(r"(?<!\\)&", row)) == len(columns[1]) - 1 for row in rows)
    assert re.sub(r"\\[{}]", "", text).count("{") == re.sub(r"\\[{}]", "", text).count("}")
    assert "$-$" in body  # a minus, not a hyphen


def test_a_document_with_the_table_compiles_and_it_fits_the_line(tmp_path: Path) -> None:
    """Real pdflatex, no warning of a missing character or of a table wider than the text."""
    pdflatex = shutil.which("pdflatex")
    if pdflatex is None:
        pytest.skip("pdflatex is not installed (Debian: texlive-latex-base and texlive-latex-recommended)")
    hostile = make(
        (
            r"50%_#${}~^\\x&",
            "my_mod:a-very_long.Name<b>|c",
            "−1 ± 2, é, 漢字, inf",
            "leaky_relu:negative_slope=0.2",
        ),
        (5, 20),
        init="gaussian:sigma_w=1.5:sigma_b=0.05",
    )
    hostile.summary.loc[0, ["attenuation_mean", "attenuation_ci95"]] = [-np.inf, np.nan]
    hostile.summary.loc[1, ["attenuation_mean", "decay_per_layer_mean"]] = [np.inf, np.nan]
    hostile.summary.loc[2, "train_loss_mean"] = np.nan
    hostile.summary.loc[3, "verdict"] = "dead,exploding,vanishing,not-learning"
    hostile.summary["init"] = ["auto", "gaussian:sigma_w=1.5:sigma_b=0.05"] * 4
    for name, made in {"grid": GRID, "hostile": hostile, "one": make(("relu",), (5,))}.items():
        (tmp_path / f"{name}.tex").write_text(tables.latex(made), encoding="utf-8")
    inputs = "\n".join(rf"\input{{{name}}}" for name in ("grid", "hostile", "one"))
    head = r"\documentclass{article}\usepackage{booktabs,graphicx}\begin{document}"
    (tmp_path / "main.tex").write_text(f"{head}\n{inputs}\n\\end{{document}}\n", encoding="utf-8")
    command = [pdflatex, "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "main.tex"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False
    )
    assert done.returncode == 0, done.stdout[-2000:]
    log = (tmp_path / "main.log").read_text(encoding="utf-8", errors="replace")
    assert "Overfull" not in log and "Missing character" not in log
    assert r"$-\infty$" in (tmp_path / "hostile.tex").read_text(encoding="utf-8")
