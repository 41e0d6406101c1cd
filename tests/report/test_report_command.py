"""`gradlab report` through the console script's own entry."""

import json
from pathlib import Path

import pytest
from synthetic_results import make
from test_page import write_folder

from gradlab.cli.main import main


def test_formats_decide_the_files_and_the_paths_are_on_stdout(tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    folder = write_folder(make(("relu",), (3,)), tmp_path / "run")
    assert main(["report", str(folder), "--format", "md,latex,html"]) == 0
    captured = capsys.readouterr()
    assert captured.out.split() == [
        str(folder / name) for name in ("report.html", "summary.md", "summary.tex")
    ]
    assert "next: gradlab diagnose" in captured.err


def test_json_names_the_files(tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    folder = write_folder(make(("relu",), (3,)), tmp_path / "run")
    assert main(["report", str(folder), "--format", "md", "--out", str(tmp_path / "x"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document == {"out": str(tmp_path / "x"), "files": [str(tmp_path / "x" / "summary.md")]}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{absent}"], "no such results folder"),
        (["{run}", "--format", "htm,png"], "did you mean 'html'?"),
        (["{run}", "--format", ""], "no format"),
        ([], "RESULTS"),
    ],
)
def test_mistakes_are_exit_2_and_leave_nothing(
    arguments: list[str], said: str, tmp_path: Path, capsys
) -> None:  # type: ignore[no-untyped-def]
    folder = write_folder(make(("relu",), (3,)), tmp_path / "run")
    before = sorted(tmp_path.rglob("*"))
    filled = [text.format(absent=tmp_path / "absent", run=folder) for text in arguments]
    assert main(["report", *filled]) == 2
    assert said.lower() in capsys.readouterr().err.lower()
    assert sorted(tmp_path.rglob("*")) == before
