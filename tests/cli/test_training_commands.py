"""`gradlab run` and `gradlab compare` on real tiny nets: documents, sinks, exit codes, what is written."""

from __future__ import annotations

import csv
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from cli.conftest import TINY

from gradlab.cli.execution import PHASES
from gradlab.cli.main import COMMANDS
from gradlab.tables.cell import CELL
from gradlab.tables.summary import SUMMARY as SUMMARY_TABLE

GRID = [*TINY, "--activation", "relu,tanh", "--lr", "0.01,0.1"]
SUMMARY = [column.name for column in (*CELL, *SUMMARY_TABLE.columns)]
FILES = {"layers.csv", "steps.csv", "summary.csv", "config.toml", "manifest.json"}


def test_run_as_json_is_one_document_and_the_summarys_row(gradlab) -> None:  # type: ignore[no-untyped-def]
    ended = gradlab("run", *TINY, "--json", "--quiet")
    assert ended.code == 0 and ended.err == ""
    document = ended.json
    assert list(document) == ["out", "files", "summary"]
    assert list(document["summary"]) == SUMMARY
    out = Path(document["out"])
    assert (
        {Path(file).name for file in document["files"]}
        == FILES
        == {p.name for p in out.iterdir() if p.is_file()}
    )
    with (out / "summary.csv").open() as stream:
        (row,) = csv.DictReader(stream)
    for name, value in document["summary"].items():
        assert row[name] == ("" if value is None else str(value)) or float(row[name]) == value
    assert gradlab("run", *TINY, "--json").json["summary"] == document["summary"], "shown again, not trained"


def test_what_is_not_a_number_is_null(gradlab) -> None:  # type: ignore[no-untyped-def]
    summary = gradlab("run", *TINY, "--seeds", "1", "--json").json["summary"]
    assert summary["seeds"] == 1 and summary["val_accuracy_ci95"] is None


def test_run_prints_the_summary_the_files_and_a_next_command_that_exists(gradlab) -> None:  # type: ignore[no-untyped-def]
    ended = gradlab("run", *TINY)
    assert ended.code == 0
    assert "\x1b[" not in ended.out + ended.err, "no colours without a terminal"
    assert all(name in ended.out for name in FILES)
    (following,) = [line for line in ended.out.splitlines() if line.startswith("next: ")]
    assert following.split()[1] == "gradlab" and following.split()[2] in COMMANDS
    assert "1/1" in ended.err, "a plain line for each cell"
    assert gradlab("run", *TINY, "--first-seed", "5", "--quiet").err == ""


def test_compare_as_json_has_a_row_for_every_cell(gradlab) -> None:  # type: ignore[no-untyped-def]
    ended = gradlab("compare", *GRID, "--json")
    document = ended.json
    assert ended.code == 0 and list(document) == ["out", "files", "cells", "failed"]
    assert [(c["activation"], c["lr"]) for c in document["cells"]] == [
        ("relu", 0.01),
        ("relu", 0.1),
        ("tanh", 0.01),
        ("tanh", 0.1),
    ]
    assert document["failed"] == [] and list(document["cells"][0]) == SUMMARY

    best = gradlab("compare", *GRID, "--best-over", "lr", "--json").json["cells"]
    for activation, kept in zip(("relu", "tanh"), best, strict=True):
        rivals = [cell for cell in document["cells"] if cell["activation"] == activation]
        assert kept in rivals
        assert kept["val_accuracy_mean"] == max(cell["val_accuracy_mean"] for cell in rivals)


def test_compare_prints_the_ranking(gradlab) -> None:  # type: ignore[no-untyped-def]
    ended = gradlab("compare", *GRID)
    assert ended.code == 0
    assert "4 cells" in ended.out and "Best: " in ended.out and "next: gradlab " in ended.out
    assert "4/4" in ended.err


def test_the_written_configuration_repeats_the_run(gradlab) -> None:  # type: ignore[no-untyped-def]
    first = gradlab("compare", *GRID, "--dtype", "float64", "--out", "first", "--json").json
    again = gradlab("compare", "--config", "first/config.toml", "--out", "again", "--json").json
    assert again["cells"] == first["cells"]
    for name in ("layers.csv", "steps.csv", "summary.csv", "config.toml"):
        assert Path("first", name).read_bytes() == Path("again", name).read_bytes()


def test_a_dry_run_lists_the_cells_and_writes_nothing(gradlab, tmp_path) -> None:  # type: ignore[no-untyped-def]
    document = gradlab("compare", *GRID, "--dry-run", "--json").json
    assert len(document["cells"]) == 4 and document["seeds"] == [0, 1]
    ended = gradlab("compare", *GRID, "--dry-run")
    shared, head, *cells = ended.out.splitlines()
    assert shared.startswith("all: depth 3, width 8") and head.split() == ["activation", "lr", "cell"]
    assert [line.split() for line in cells] == [
        [cell["activation"], f"{cell['lr']:g}", cell["cell"]] for cell in document["cells"]
    ]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["run", "compare"])
def test_a_profile_goes_to_stderr(command: str, gradlab) -> None:  # type: ignore[no-untyped-def]
    ended = gradlab(command, *TINY, "--activation", "relu", "--profile", "--json")
    assert ended.code == 0 and ended.json["out"]
    spent = {name: float(seconds) for name, seconds in re.findall(r"(?m)^(\w[\w ]*?) +([\d.]+) s", ended.err)}
    assert [*spent] == [*PHASES, "wall clock"]
    assert spent["recording"] > 0 and spent["writing"] > 0  # two plain steps of a tiny net may round to 0
    assert sum(spent[phase] for phase in PHASES) <= spent["wall clock"] + 0.01, "one process did it all"


def test_cells_that_fail_are_exit_3_of_a_comparison_and_exit_1_of_a_run(gradlab, tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "brittle_acts.py").write_text(
        "def brittle(z):\n"
        "    if z.shape[-1] == 8:\n"
        "        raise RuntimeError('width 8 is beyond me')\n"
        "    return z.tanh()\n"
    )
    name = "brittle_acts:brittle"
    ended = gradlab("compare", *TINY, "--activation", f"relu,{name}", "--json")
    assert ended.code == 3
    document = ended.json
    assert [cell["activation"] for cell in document["cells"]] == ["relu"]
    (failure,) = document["failed"]
    assert failure["activation"] == name and "beyond me" in failure["message"]

    ended = gradlab("run", *TINY, "--activation", name)
    assert ended.code == 1 and "beyond me" in ended.err and "Traceback" not in ended.err


def test_another_configuration_in_the_results_folder_is_refused(gradlab) -> None:  # type: ignore[no-untyped-def]
    assert gradlab("run", *TINY, "--out", "here").code == 0
    before = Path("here/manifest.json").read_bytes()
    ended = gradlab("run", *TINY, "--lr", "0.5", "--out", "here")
    assert ended.code == 2 and "here" in ended.err and "--force" in ended.err
    assert Path("here/manifest.json").read_bytes() == before
    assert gradlab("run", *TINY, "--lr", "0.5", "--out", "here", "--force").code == 0
    assert Path("here/manifest.json").read_bytes() != before


def test_the_environment_counts_and_warns(gradlab, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("GRADLAB_NETWORK__DEPTH", "2")
    monkeypatch.setenv("GRADLAB_NETWORK__DEPHT", "2")
    without = [text for text in TINY if text not in ("--depth", "3")]
    ended = gradlab("run", *without, "--json")
    assert ended.json["summary"]["depth"] == 2
    assert "warning: environment variable GRADLAB_NETWORK__DEPHT is not known" in ended.err
    assert gradlab("run", *without, "--json", "--quiet").err == ""


def test_without_records_nothing_is_claimed_of_the_gradient(gradlab) -> None:  # type: ignore[no-untyped-def]
    off = [*TINY, "--record", "off", "--out", "o"]
    ended = gradlab("run", *off)
    assert ended.code == 0 and "verdict: none, since no layer was recorded" in ended.out
    assert "next: gradlab run --config o/config.toml --record log" in ended.out
    summary = gradlab("run", *off, "--json").json["summary"]
    assert summary["verdict"] == summary["verdict_seeds"] == summary["advice"] == ""
    for wanted in ("--report", "--fix", "--jacobian", "--histograms"):
        refused = gradlab("run", *TINY, "--record", "off", "--out", "new", wanted)
        assert refused.code == 2 and wanted in refused.err and not Path("new").exists()
    drawn = gradlab("report", "o")
    assert drawn.code == 2 and "no layer was recorded" in drawn.err
    assert {path.name for path in Path("o").iterdir() if path.is_file()} == FILES
    failing = gradlab("run", *TINY[:-4], "--steps", "150", "--lr", "1e-9", "--record", "off")
    assert "not-learning" in failing.out and "advice" not in failing.out


def test_an_unfinished_run_is_said_to_be_one(gradlab) -> None:  # type: ignore[no-untyped-def]
    Path("o/.journal").mkdir(parents=True)
    for command in ("diagnose", "report"):
        ended = gradlab(command, "o")
        assert ended.code == 2 and "its run is unfinished" in ended.err and "continues it" in ended.err


@pytest.mark.slow
def test_closed_streams_are_no_bug() -> None:
    command = f"{sys.executable} -m gradlab list rulesets"
    for closed in (">&-", "2>&-", ">&- 2>&-"):
        done = subprocess.run(f"{command} {closed}", shell=True, capture_output=True, text=True)
        assert done.returncode == 0 and not done.stderr


def test_commands_to_copy_are_quoted_for_the_shell(gradlab) -> None:  # type: ignore[no-untyped-def]
    out = "a $(touch oops) b"
    (following,) = [
        line for line in gradlab("run", *TINY, "--out", out).out.splitlines() if line.startswith("next: ")
    ]
    assert shlex.split(following)[-1] == out
    told = gradlab("diagnose", out).err.splitlines()[-1]
    assert out in shlex.split(told)


def test_bytes_that_are_no_text_are_named(gradlab) -> None:  # type: ignore[no-untyped-def]
    for arguments in (("report", "C\udcff"), ("run", *TINY, "--out", "a\udcff")):
        ended = gradlab(*arguments)
        assert ended.code == 2 and "no UTF-8 text" in ended.err
    Path("c.toml").write_text('[run]\nout = "a\\u0000b"\n')
    ended = gradlab("run", *TINY, "--config", "c.toml")
    assert ended.code == 2 and "NUL character" in ended.err
    assert [path.name for path in Path().iterdir()] == ["c.toml"]
