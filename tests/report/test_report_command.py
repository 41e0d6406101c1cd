"""`gradlab report` through the console script's own entry."""

import json
from io import BytesIO
from pathlib import Path

import pytest
from matplotlib.image import imread
from matplotlib.text import Text
from synthetic_results import make
from test_page import write_folder

from gradlab.cli.main import main
from gradlab.report import drawing
from gradlab.report.build import build


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


def test_a_configuration_that_cannot_be_read_is_told_before_anything_is_drawn(tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    folder = write_folder(make(("relu",), (3,)), tmp_path / "run")
    (folder / "config.toml").unlink(missing_ok=True)
    (folder / "config.toml").mkdir()
    assert main(["report", str(folder), "--out", str(tmp_path / "drawn")]) == 2
    assert "config.toml" in capsys.readouterr().err and not (tmp_path / "drawn").exists()


TINY = [
    "--activation",
    "tanh",
    "--depth",
    "2",
    "--width",
    "8",
    "--data",
    "moons",
    "--seeds",
    "2",
    "--steps",
    "3",
]


def test_run_with_report_names_page_and_pictures_and_changes_no_table(tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    plain, drawn = tmp_path / "plain", tmp_path / "drawn"
    assert main(["run", *TINY, "--out", str(plain), "--quiet"]) == 0
    assert main(["run", *TINY, "--out", str(drawn), "--quiet", "--report", "--json"]) == 0
    document = json.loads(capsys.readouterr().out.split("\n{", 1)[1].join(["{", ""]))
    assert str(drawn / "report.html") in document["files"]
    assert str(drawn / "figures" / "overview.png") in document["files"]
    assert all(Path(file).exists() for file in document["files"])
    for name in ("layers.csv", "steps.csv", "summary.csv"):
        assert (plain / name).read_bytes() == (drawn / name).read_bytes()


def test_a_drawn_result_is_still_a_finished_one(tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    arguments = ["run", *TINY, "--out", str(tmp_path / "run"), "--quiet"]
    assert main([*arguments, "--report"]) == 0
    first = capsys.readouterr().out
    drawn = (tmp_path / "run" / "report.html").stat().st_mtime_ns
    assert main([*arguments, "--report"]) == 0
    again = capsys.readouterr().out
    assert "saved result, not trained again" in " ".join(again.split())
    assert (tmp_path / "run" / "report.html").stat().st_mtime_ns == drawn
    for text in (first, again):
        assert "report.html" in text and "figures beside it" in " ".join(text.split())


def test_a_librarys_result_plots_itself(tmp_path: Path) -> None:
    import gradlab

    result = gradlab.compare(
        activation=["tanh", "relu"],
        depth=[2, 3],
        width=8,
        data="moons",
        seeds=1,
        steps=1,
        out=str(tmp_path / "out"),
    )
    assert [ax.get_title("left")[:8] for ax in result.plot().axes] == ["validati", "attenuat"]
    heatmap = result.plot("heatmap", cell=result.summary["cell"].iloc[3])
    assert any("relu, depth 3" in text.get_text() for text in heatmap.findobj(Text))
    picture = imread(BytesIO(result.plot()._repr_png_()))  # type: ignore[attr-defined]
    assert picture[..., :3].min() < 0.3 and picture[..., :3].max() == 1, (
        "a notebook shows the figure without pyplot"
    )
    card = result._repr_html_()
    assert card.count("<tr") == 1 + 4 and "data:image/png" in card and result.headline in card
    assert result.verdict.splitlines()[0].startswith("tanh, depth 2: ")
    assert result.verdict in repr(result) and str(result.out) in repr(result)
    assert result.report("html").read_text().startswith("<!DOCTYPE html>")


def test_parquet_tables_are_read_too(tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    pytest.importorskip("pyarrow")
    out = str(tmp_path / "run")
    assert main(["run", *TINY, "--out", out, "--quiet", "--tables", "parquet"]) == 0
    assert main(["report", out, "--format", "html,md"]) == 0
    assert "| tanh |" in (tmp_path / "run" / "summary.md").read_text()


@pytest.mark.slow
def test_a_comparison_is_drawn_by_other_processes_as_by_one(tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    folder = write_folder(
        make(("relu", "tanh"), tuple(range(2, 10)), seeds=2, steps=(0, 1)), tmp_path / "run"
    )
    assert (folder / "summary.csv").stat().st_size > drawing.SUMMARY_BYTES
    assert main(["report", str(folder), "--format", "svg", "--quiet"]) == 0
    listed = [Path(line) for line in capsys.readouterr().out.split()]
    alone = build([folder], ("svg",), tmp_path / "alone").files
    assert len(alone) > drawing.MOST_ALONE and [path.name for path in listed] == [path.name for path in alone]
    assert [path.read_bytes() for path in listed] == [path.read_bytes() for path in alone]
