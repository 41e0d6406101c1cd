"""One reader: what `diagnose` refuses, `report` and whoever else reads a results folder refuses, in the same words."""

from __future__ import annotations

import json
import random
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sweep.small_plans import Notes, plan_of

from gradlab.analyse.results import diagnose_saved, read_saved
from gradlab.base.errors import DataError, UserError
from gradlab.base.identity import identity_of
from gradlab.cli.main import main
from gradlab.lab.experiment import Outcome, execute
from gradlab.lab.merge import merge
from gradlab.report.build import build
from gradlab.store.results import read_folder

Change = Callable[[pd.DataFrame], pd.DataFrame]


def read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype=str, keep_default_na=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "out"
    execute(plan_of(out, depth=[2]), Notes())
    return out


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "out"))


DAMAGE: dict[str, tuple[str, Change, str]] = {
    "a negative delta": (
        "layers",
        lambda t: t.assign(delta_rms=["-1", *t["delta_rms"][1:]]),
        r"layers.csv: delta_rms: -1 is out of range",
    ),
    "an accuracy of 2": ("steps", lambda t: t.assign(val_accuracy="2"), "val_accuracy: 2 is out of range"),
    "the same seed twice": ("layers", lambda t: t.assign(seed="0"), "several rows for the same seed, step and layer"),
    "the same steps twice": ("steps", lambda t: pd.concat([t, t]), "several rows for the same seed and step"),
    "an empty cell": ("layers", lambda t: t.assign(cell=["", *t["cell"][1:]]), "cell: a row has no value"),
    "two columns of one name": (
        "layers",
        lambda t: t.set_axis(["cell", "cell", *t.columns[2:]], axis=1),
        "two columns are called 'cell'",
    ),
    "a second header": (
        "layers",
        lambda t: pd.concat([t, pd.DataFrame([dict(zip(t, t, strict=True))]), t]),
        "a second header stands among the rows",
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_report_and_diagnose_refuse_the_same(folder: Path, damage: str) -> None:
    name, change, says = DAMAGE[damage]
    path = folder / f"{name}.csv"
    change(read(path)).to_csv(path, index=False)
    said = []
    for call in (
        lambda: diagnose_saved(read_saved(folder)),
        lambda: build([folder], ("md",)),
        lambda: read_folder(folder),
    ):
        with pytest.raises(DataError, match=says) as caught:
            call()
        said.append(str(caught.value))
    assert said[0] == said[1] == said[2] and str(path) in said[0]


def test_a_summary_with_a_cell_twice_is_refused(folder: Path) -> None:
    path = folder / "summary.csv"
    table = read(path)
    pd.concat([table, table]).to_csv(path, index=False)
    with pytest.raises(DataError, match=r"summary\.csv: several rows for the same cell .*gradlab merge"):
        build([folder], ("md",))


def alone(folder: Path, *names: str) -> Path:
    """The tables without what says where they come from."""
    for path in folder.iterdir():
        if path.name not in names:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return folder


@pytest.mark.usefixtures("two_figures")
def test_tables_without_a_manifest_are_read_and_what_is_unknown_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = read(folder / "summary.csv")
    alone(folder, "layers.csv", "steps.csv")
    assert main(["diagnose", str(folder)]) == 0
    said = capsys.readouterr().err
    assert "unfinished" not in said and "no manifest.json is here" in said and "is not known" in said
    assert main(["report", str(folder), "--format", "html,md,png"]) == 0
    page = (folder / "report.html").read_text()
    assert "the run is unfinished" not in page and "no manifest.json is here" in page
    assert f"| {summary['activation'][0]} |" in (folder / "summary.md").read_text()


def test_layers_alone_are_drawn_without_learning(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alone(folder, "layers.csv")
    assert main(["diagnose", str(folder)]) == 0
    assert "no steps table is here: nothing can be said about learning" in capsys.readouterr().err
    assert main(["report", str(folder), "--format", "html,md,latex,png"]) == 0
    assert (
        "no steps table is here: nothing can be said about learning" in (folder / "report.html").read_text()
    )
    assert (folder / "figures" / "depth.png").exists() or list((folder / "figures").iterdir())


def test_tables_of_two_machines_one_below_the_other_are_read(tmp_path: Path) -> None:
    for name in ("relu", "tanh"):
        execute(plan_of(tmp_path / name, activation=[name], depth=[2]), Notes())
    both = tmp_path / "both"
    both.mkdir()
    for table in ("layers.csv", "steps.csv"):
        pd.concat([read(tmp_path / name / table) for name in ("relu", "tanh")]).to_csv(
            both / table, index=False
        )
    assert len(diagnose_saved(read_saved(both))) == 2
    assert build([both], ("html", "md")).files


def test_a_journal_without_a_manifest_is_an_unfinished_run(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    assert read_saved(folder).unknown == ["the run is unfinished, and only what was done until then is here"]


# -- readers that know nothing of gradlab ------------------------------------------------------------------------


def test_no_reader_takes_an_id_for_a_number(tmp_path: Path) -> None:
    """pandas is asked. R and spreadsheets take digits, signs, hex behind 0x, month names, `inf`, `nan` and `true` for
    more than texts: none begins with a g."""
    ids = [identity_of(random.Random(seed).random()) for seed in range(20_000)]
    assert any(each[1:].isdecimal() for each in ids), "bare hex digits would have been read as numbers"
    (tmp_path / "t.csv").write_text("\n".join(["cell", *ids]))
    for engine in ("c", "python", "pyarrow"):
        assert pd.read_csv(tmp_path / "t.csv", engine=engine)["cell"].tolist() == ids
    assert all(each[0] == "g" and len(each) == 13 and each.isalnum() for each in ids)


FORMULAS = [
    "=cmd()",
    "+1+1",
    "-a",
    "@sum(a)",
    "\ta",
    "\ra",
    "'=a",
    "''=a",
    "'a",
    "a=b",
    "-1",
    "+2.5",
    "-inf",
    "",
]


def test_a_text_that_looks_like_a_formula_is_none_in_the_file_and_reads_back(tmp_path: Path) -> None:
    import numpy as np

    from gradlab.tables.cell import kinds_of
    from gradlab.tables.layers import LAYERS
    from gradlab.tables.table import Table, read_rows, read_texts, write_csv

    n = len(FORMULAS)
    columns = {
        "cell": np.array([f"g{i}" for i in range(n)], dtype=object),
        "dataset": np.array(FORMULAS, dtype=object),
        "own": np.array(FORMULAS[:6] * 3, dtype=object)[:n],
        "seed": np.arange(n),
        "bias": np.linspace(-1.0, 1.0, n),
    }
    path = tmp_path / "layers.csv"
    write_csv(path, Table(columns, {}))
    for row in read_texts(path).rows:
        assert row[1][:1] not in ("=", "+", "-", "@", "\t", "\r") or float(row[1]) is not None
        assert row[2][:1] not in ("=", "+", "-", "@", "\t", "\r")
    raw = pd.read_csv(path)
    assert raw["bias"].tolist() == columns["bias"].tolist()
    rows = read_rows(path, kinds_of(LAYERS))
    assert [row["dataset"] for row in rows] == FORMULAS
    assert [row["own"] for row in rows] == columns["own"].tolist()
    from gradlab.store.results import read_table

    back = read_table(path, LAYERS)
    assert back["dataset"].tolist() == FORMULAS and back["own"].tolist() == columns["own"].tolist()


def test_a_data_file_named_like_a_formula(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("=cmd().csv").write_text("\n".join(["a,b", *(f"{i % 7},{'xy'[i % 2]}" for i in range(60))]))
    plan = plan_of(tmp_path / "out", data="=cmd().csv", target="b", activation=["relu"], depth=[2])
    execute(plan, Notes())
    for name in ("layers", "steps", "summary"):
        assert set(read(tmp_path / "out" / f"{name}.csv")["dataset"]) == {"'=cmd().csv"}
        assert set(getattr(read_folder(tmp_path / "out"), name)["dataset"]) == {"=cmd().csv"}
    assert execute(plan, Notes()).summary["dataset"].tolist() == ["=cmd().csv"]


@pytest.mark.usefixtures("two_figures")
def test_figures_follow_no_planted_link(folder: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("years of work")
    build([folder], ("png", "svg", "pdf", "html", "md", "latex"))
    made = [*folder.rglob("figures/*"), *folder.glob("report.html"), *folder.glob("summary.[mt]*")]
    assert {path.suffix for path in made} >= {".png", ".svg", ".pdf", ".html", ".md", ".tex"}
    before = {path: path.read_bytes() for path in made}
    for path in made:
        path.unlink()
        path.symlink_to(victim)
    build([folder], ("png", "svg", "pdf", "html", "md", "latex"))
    assert victim.read_text() == "years of work"
    assert not any(path.is_symlink() for path in made)
    assert {path: path.read_bytes() for path in made} == before


MANIFESTS: dict[str, Callable[[dict[str, Any]], str]] = {
    "a NUL in a name": lambda m: json.dumps(m | {"sha256": {"layers\0.csv": "0", **m["sha256"]}}),
    "a device among its files": lambda m: json.dumps(m | {"sha256": {"/dev/zero": "0", **m["sha256"]}}),
    "nested deeply": lambda m: '{"sha256": ' * 100_000 + "1" + "}" * 100_000,
    "an infinite chance": lambda m: json.dumps(m | {"chance": dict.fromkeys(m["chance"], float("inf"))}),
}


@pytest.mark.parametrize("kind", MANIFESTS)
def test_a_forged_manifest_is_data_to_every_command(folder: Path, tmp_path: Path, kind: str) -> None:
    path = folder / "manifest.json"
    path.write_text(MANIFESTS[kind](json.loads(path.read_text())))
    ended: list[object] = []

    def call_all() -> None:
        for call in (
            lambda: diagnose_saved(read_saved(folder)),
            lambda: build([folder], ("md", "html")),
            lambda: merge([folder, folder], tmp_path / "both"),
            lambda: execute(plan_of(folder, depth=[2]), notes),
        ):
            try:
                ended.append(call())
            except Exception as error:
                ended.append(error)

    notes = Notes()
    thread = threading.Thread(target=call_all, daemon=True)
    thread.start()
    thread.join(120)
    assert not thread.is_alive(), "it reads without end"
    *others, outcome = ended
    assert isinstance(outcome, Outcome), outcome
    assert all(isinstance(each, UserError) or not isinstance(each, Exception) for each in others), others
    assert isinstance(others[2], UserError) and not (tmp_path / "both").exists()
    if kind == "an infinite chance":
        assert outcome.cached and read_folder(folder).chance == {}
    else:
        assert json.loads(path.read_text())["finished"] and notes.messages


def test_the_configuration_is_the_file_and_empty_without_one(folder: Path) -> None:
    assert read_folder(folder).config == (folder / "config.toml").read_text(encoding="utf-8") != ""
    (folder / "config.toml").unlink()
    assert read_folder(folder).config == ""
