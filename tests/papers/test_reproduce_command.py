"""`gradlab reproduce` as it is typed: what it lists, writes, prints and ends with."""

import csv
import io
import json
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from gradlab.base.registry import Registry
from gradlab.cli.main import main
from gradlab.papers import registry
from gradlab.papers.paper import Paper
from gradlab.papers.rows import Finding, Panel, Row, Series, absolute, exactly


@pytest.fixture(autouse=True)
def _empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """One result that costs nothing, with a row that passes and one that fails."""

    def reproduce(quick: bool) -> Iterator[Finding]:
        for name, value in (("right", 1.0), ("<wrong>", 2.0 if quick else 1.0)):
            yield Row(
                row=name,
                statement="1 is 1",
                published=1.0,
                measured=exactly(value),
                tolerance=absolute(1.0, 0.1, "a tenth"),
                source="nobody",
                provenance="D",
            )
        yield Panel("title", "x", "y", [Series("line", [1.0, 2.0], [1.0, 4.0])], log_y=True)

    monkeypatch.setitem(
        __import__("sys").modules, "gradlab.papers.small", types.SimpleNamespace(reproduce=reproduce)
    )
    small = Paper(name="small", title="a <title>", citation="Nobody 1900")
    monkeypatch.setattr(registry, "PAPERS", Registry("result", {"small": small}))


def test_list_names_every_result_and_measures_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == list(registry.PAPERS)
    assert main(["reproduce", "--list", "--json"]) == 0
    assert [each["name"] for each in json.loads(capsys.readouterr().out)] == list(registry.PAPERS)
    assert not list(Path().iterdir())


@pytest.mark.parametrize("command", [["reproduce", "--list"], ["list", "papers"]])
def test_what_there_is_is_read_without_a_module_of_a_paper_and_without_torch_or_numpy(
    command: list[str],
) -> None:
    code = "import sys\nfrom gradlab.cli.main import main\ncode = main(sys.argv[1:])\nprint(*sys.modules)\nexit(code)"
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, check=True)
    *lines, modules = done.stdout.splitlines()
    assert any(line.startswith("lu-2019 ") for line in lines)
    assert not {"torch", "numpy", "gradlab.papers.lu_2019", "gradlab.papers.rows"} & set(modules.split())


def test_no_name_and_a_wrong_name_end_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce"]) == 2
    assert "--all" in capsys.readouterr().err
    assert main(["reproduce", "lu-2018"]) == 2
    assert "lu-2019" in capsys.readouterr().err


@pytest.mark.usefixtures("_small")
def test_all_rows_right_ends_with_0_and_a_wrong_one_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "--all", "--quiet"]) == 0
    assert "2 rows pass, 0 fail" in capsys.readouterr().out
    assert main(["reproduce", "small", "--quick", "--report"]) == 1
    shown = capsys.readouterr()
    assert "FAILED <wrong>" in shown.out and "small" in shown.err
    folder = Path("results/reproduce")
    assert sorted(path.name for path in folder.iterdir()) == ["report.html", "small.csv", "small.png"]
    rows = list(csv.DictReader((folder / "small.csv").open(encoding="utf-8")))
    assert [row["outcome"] for row in rows] == ["pass", "fail"]
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert (
        "&lt;wrong&gt;" in page and "<wrong>" not in page and "data:image/png" in page and "://" not in page
    )


@pytest.mark.parametrize(("found", "code"), [("3 instead, since <b>", 0), ("", 1)])
def test_a_failure_is_shown_and_ends_with_1_unless_its_file_says_what_was_found(
    found: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = Row(
        row="three", statement="1 is 3", published=1.0, measured=exactly(3.0), tolerance=absolute(1.0, 0.1, "a tenth"),
        source="nobody", provenance="D", found=found, changed="a tenth was a half",
    )  # fmt: skip
    module = types.SimpleNamespace(reproduce=lambda quick: iter([row]))
    monkeypatch.setitem(sys.modules, "gradlab.papers.small", module)
    small = Paper(name="small", title="a title", citation="Nobody 1900")
    monkeypatch.setattr(registry, "PAPERS", Registry("result", {"small": small}))
    assert main(["reproduce", "small", "--report", "--quiet"]) == code
    shown = capsys.readouterr().out
    assert "FAILED three" in shown and "0 rows pass, 1 fail" in shown
    assert ("found: 3 instead" in shown) == bool(found)
    (line,) = csv.DictReader(io.StringIO(Path("results/reproduce/small.csv").read_text(encoding="utf-8")))
    assert (line["outcome"], line["found"], line["changed"]) == ("fail", found, "a tenth was a half")
    page = Path("results/reproduce/report.html").read_text(encoding="utf-8")
    assert ("found: 3 instead, since &lt;b&gt;" in page) == bool(found)
    assert "after a first look: a tenth was a half" in page and ">fails<" in page
    assert main(["reproduce", "small", "--json", "--quiet"]) == code
    document = json.loads(capsys.readouterr().out)
    assert document["failed"] == 1 and document["unexplained"] == code


@pytest.mark.usefixtures("_small")
def test_json_is_one_document_with_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "--quick", "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    (paper,) = document["papers"]
    assert document["failed"] == 1 and paper["paper"] == "small"
    assert paper["rows"][1]["measured"] == 2.0 and paper["rows"][0]["ci_low"] is None
    assert [Path(file).name for file in document["files"]] == ["small.csv", "small.png"]


def test_a_real_result_from_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "williams-1998", "--quick"]) == 0
    assert "4 rows pass" in capsys.readouterr().out
