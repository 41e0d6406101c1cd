"""What somebody else wrote reaches the reader as text: no markup, no control character, nothing hidden."""

from __future__ import annotations

import ast
import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cli.conftest import TINY

import gradlab as package
from gradlab.base.text import HIDDEN, one_line, printable
from gradlab.report import figures

HOSTILE = "n\x1b[2J\x1b]0;t\x07\u202e\x9b31m[red]x[/a]$\\frac{1}$<b>&\u2028\x7f"
"""Escape sequences, an override of the writing direction, markup of rich's, a formula that is none, HTML."""
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
COLUMNS = [
    ["activation", "dataset", "name"],
    ["init", "norm", "residual", "optimizer", "cell", "verdict", "advice"],
]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from gradlab.cli.main import main

    out = tmp_path_factory.mktemp("results") / "grid"
    assert main(["compare", *TINY, "--activation", "relu,tanh", "--quiet", "--out", str(out)]) == 0
    return out


def spoiled(results: Path, columns: list[str], text: str, into: Path) -> Path:
    """A copy of the results in which every value of some columns has the text in front."""
    into.mkdir()
    for name in ("layers.csv", "steps.csv", "summary.csv", "config.toml", "manifest.json"):
        (into / name).write_bytes((results / name).read_bytes())
    for name in ("layers.csv", "steps.csv", "summary.csv"):
        with (into / name).open(newline="") as stream:
            head, *rows = csv.reader(stream)
        for place in (head.index(column) for column in columns if column in head):
            for row in rows:
                row[place] = text + row[place]
        with (into / name).open("w", newline="") as stream:
            csv.writer(stream).writerows([head, *rows])
    return into


@pytest.mark.slow
@pytest.mark.parametrize("columns", COLUMNS, ids=", ".join)
def test_a_results_folder_of_somebody_elses_is_shown_as_text(  # type: ignore[no-untyped-def]
    gradlab, results, columns, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(figures, "MOST_CELLS", 1)  # every figure once
    folder = str(spoiled(results, columns, HOSTILE, tmp_path / "theirs"))
    for command in (
        ("diagnose", folder),
        ("diagnose", folder, "--ruleset", "all"),
        ("diagnose", folder, "--try"),
        ("diagnose", f"{folder}/layers.csv"),
        ("report", folder, "--format", "html,png,md,latex"),
    ):
        ended = gradlab(*command)
        assert ended.code in (0, 2), (command, ended)
        assert not CONTROL.search(ended.out + ended.err), command
        assert "bug in gradlab" not in ended.out + ended.err
    page = (Path(folder) / "report.html").read_text(encoding="utf-8")
    assert "$<b>&" not in page, "the page escapes what comes from a table"


def test_a_name_cannot_look_like_a_line_of_gradlabs(gradlab, results, tmp_path) -> None:  # type: ignore[no-untyped-def]
    folder = str(spoiled(results, ["activation"], "relu\nnext: rm\n", tmp_path / "theirs"))
    ended = gradlab("diagnose", folder)
    assert "relu\\u000anext: rm\\u000a" in ended.out
    assert "next: rm" not in [line.strip() for line in ended.out.splitlines()]


@pytest.mark.parametrize(
    "arguments",
    [
        [HOSTILE],
        [f"--{HOSTILE}"],
        ["run", HOSTILE],
        ["run", f"--{HOSTILE}"],
        ["run", "--activation", HOSTILE],
        ["run", "--activation", f"{HOSTILE}:x"],
        ["run", "--data", f"{HOSTILE}.csv"],
        ["run", "--init", HOSTILE, "--norm", HOSTILE, "--loss", HOSTILE, "--tables", HOSTILE],
        ["run", "--set", f"network.{HOSTILE}=1", "--set", f"{HOSTILE}=1", "--set", HOSTILE],
        ["run", "--config", f"{HOSTILE}.toml"],
        ["compare", "--dry-run", "--activation", f"relu,{HOSTILE}"],
        ["config", HOSTILE],
        ["config", "show", "--set", f"run.out={HOSTILE}", "--activation", HOSTILE],
        ["config", "show", "--toml", "--set", f"run.out={HOSTILE}"],
        ["config", "show", "--json", "--set", f"run.out={HOSTILE}"],
        ["config", "validate", f"{HOSTILE}.toml"],
        ["config", "init", f"none{HOSTILE}/c.toml"],
        ["diagnose", HOSTILE],
        ["report", HOSTILE],
        ["reproduce", HOSTILE],
        ["list", HOSTILE],
        ["theory", "--activation", HOSTILE],
        ["theory", "--activation", "relu", "--sigma-w", HOSTILE],
        ["watch", HOSTILE],
        ["watch", "torch.nn:Linear", "--batches", HOSTILE],
    ],
    ids=lambda arguments: " ".join(arguments).replace(HOSTILE, "?"),
)
def test_what_was_typed_is_said_again_as_text(gradlab, arguments) -> None:  # type: ignore[no-untyped-def]
    ended = gradlab(*arguments)
    assert ended.code in (0, 2) and ended.out + ended.err
    assert not CONTROL.search(ended.out + ended.err)
    assert "bug in gradlab" not in ended.err


def test_a_toml_that_is_shown_reads_back_as_what_was_hidden(gradlab) -> None:  # type: ignore[no-untyped-def]
    import tomllib

    shown = gradlab("config", "show", "--toml", "--set", f"data.target={HOSTILE}").out
    assert tomllib.loads(shown)["data"]["target"] == HOSTILE
    told = gradlab("config", "show", "--json", "--set", f"data.target={HOSTILE}")
    assert told.json["data.target"]["value"] == HOSTILE


@pytest.mark.slow
def test_names_of_modules_and_files_are_themselves_on_a_terminal(tmp_path: Path) -> None:
    """A real process with colours forced: nothing but colours is sent, and no name loses its brackets."""
    (tmp_path / "named.py").write_text(
        "from torch import nn\n"
        "def make(features, classes):\n"
        "    net = nn.Sequential()\n"
        "    for at, name in enumerate(('enc[a]', 'q[/a]', 'e\\x1b[2J\\u202e', 'n\\nnext: rm')):\n"
        "        net.add_module(name, nn.Linear(features if at == 0 else 8, 8))\n"
        "        net.add_module(f'{name} phi', nn.Tanh())\n"
        "    net.add_module('out', nn.Linear(8, classes))\n"
        "    return net\n"
    )
    rows = "\n".join(f"{k % 7},{k % 5},{k % 2}" for k in range(60))
    (tmp_path / "q[").mkdir()
    for name in ("q[/a].csv", "b[red]$x^.csv"):
        (tmp_path / name).write_text(f"a,b,y\n{len(name)},1,0\n{rows}\n")

    small = ["--steps", "4", "--seeds", "1"]
    data = "q[/a].csv,b[red]$x^.csv"
    calls = [
        ["watch", "named:make", *small, "--out", "w"],
        ["compare", *TINY, *small, "--data", data, "--target", "y", "--out", "c", "--report"],
    ]
    code = f"import sys; from gradlab.cli.main import main; sys.exit(any(main(call) for call in {calls}))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PATH": "", "PYTHONPATH": str(Path(package.__file__).parents[1]), "FORCE_COLOR": "1",
             "COLUMNS": "120", "OMP_NUM_THREADS": "1"},
        capture_output=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    shown = COLOUR.sub("", (done.stdout + done.stderr).decode())
    assert not CONTROL.search(re.sub(r"\x1b\[(\?25[lh]|[0-9]*[AKG])|\x1b\]8;[!-~]*\x1b\\|\r", "", shown)), (
        shown
    )
    assert all(name in shown for name in ("enc[a]", "q[/a]", "\\u202e")) and "\nnext: rm" not in shown
    assert "q[/a].csv" in shown and "b[red]$x^.csv" in shown


def test_hidden_characters_have_a_form_that_json_reads_back() -> None:
    for char in map(chr, range(0x3000)):
        import unicodedata

        shown = printable(char)
        if char != "\n" and unicodedata.category(char) in HIDDEN:
            assert json.loads(f'"{shown}"') == char and shown.isascii()
        else:
            assert shown == char
    assert one_line("a\nb") == "a\\u000ab" and printable("\U000e0001") == "\\U000e0001"


def test_nothing_prints_but_the_sinks() -> None:
    """A `print`, a console of rich's own or a stream that is written to would pass by what makes text of it."""
    root = Path(package.__file__).parent
    allowed = {
        root / name for name in ("__main__.py", "cli/output.py", "report/console.py", "sensors/describe.py")
    }
    for file in sorted(set(root.rglob("*.py")) - allowed):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("print", "Console", "sys.stdout.write", "sys.stderr.write"), (
                    f"{file}:{node.lineno}: {called}"
                )
