"""Folders that were made apart, joined: the same bytes as made together, or one error that names the difference."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sweep.small_plans import Notes, plan_of, table_bytes

import gradlab
from gradlab.analyse.results import diagnose_saved, read_saved
from gradlab.base.errors import GradlabError, UserError
from gradlab.cli.main import main
from gradlab.lab import merge as merging
from gradlab.lab.experiment import execute
from gradlab.report.build import build
from gradlab.store.results import Results


def make(out: Path, **settings: Any) -> Path:
    execute(plan_of(out, **settings), Notes())
    return out


def join(*folders: Path, out: Path, **settings: Any) -> tuple[Results, list[str]]:
    said: list[str] = []
    return merging.merge(folders, out, say=said.append, **settings), said


PARTS: dict[str, list[dict[str, Any]]] = {
    "cells": [{"activation": ["relu"]}, {"activation": ["sigmoid"]}],
    "three parts": [{"activation": ["relu"]}, {"activation": ["sigmoid"]}, {"activation": ["tanh"]}],
    "seeds": [{"seeds": 2}, {"seeds": 3, "first_seed": 2}],
    "seeds backwards": [{"seeds": 3, "first_seed": 2}, {"seeds": 2}],
    "stacks of two": [{"seeds": 4, "stack_size": 2}, {"seeds": 1, "first_seed": 4, "stack_size": 2}],
}
WHOLE: dict[str, dict[str, Any]] = {
    "cells": {},
    "three parts": {"activation": ["relu", "sigmoid", "tanh"]},
    "seeds": {"seeds": 5},
    "seeds backwards": {"seeds": 5},
    "stacks of two": {"seeds": 5, "stack_size": 2},
}


@pytest.mark.parametrize("how", PARTS)
def test_parts_make_the_bytes_of_the_whole_and_compare_takes_them_up(tmp_path: Path, how: str) -> None:
    whole = make(tmp_path / "whole", **WHOLE[how])
    parts = [make(tmp_path / str(n), **part) for n, part in enumerate(PARTS[how])]
    merged, said = join(*parts, out=tmp_path / "out")
    assert table_bytes(tmp_path / "out") == table_bytes(whole) and not said
    assert (tmp_path / "out" / "config.toml").read_bytes() == (whole / "config.toml").read_bytes()
    assert merged.finished and not merged.unknown
    assert merged.chance == json.loads((whole / "manifest.json").read_text())["chance"]
    notes = Notes()
    again = execute(plan_of(tmp_path / "out", **WHOLE[how]), notes)
    assert again.cached and notes.total == 0 and not notes.messages
    assert build([tmp_path / "out"], ("html", "md")).files
    assert len(diagnose_saved(read_saved(tmp_path / "out"))) == len(again.summary)


def test_the_manifest_says_who_made_what(tmp_path: Path) -> None:
    parts = [make(tmp_path / name, activation=[name], save_weights=True) for name in ("relu", "sigmoid")]
    other = json.loads((parts[1] / "manifest.json").read_text())
    other["versions"]["torch"], other["platform"] = "1.0", "a toaster"
    (parts[1] / "manifest.json").write_text(json.dumps(other))
    merged, said = join(*parts, out=tmp_path / "out")
    assert [text.split(":")[0] for text in said] == ["torch differs", "the platform differs"]
    assert [part["folder"] for part in merged.manifest["merged"]] == ["relu", "sigmoid"]
    assert merged.manifest["merged"][1]["platform"] == "a toaster"
    assert merged.manifest["versions"]["torch"].endswith(" | 1.0")
    assert sorted(merged.manifest["weights"]) == sorted(p.name for p in (tmp_path / "out/weights").iterdir())
    assert execute(plan_of(tmp_path / "out", save_weights=True), Notes()).cached


def test_cells_that_are_no_grid_are_joined_without_a_configuration(tmp_path: Path) -> None:
    parts = [
        make(tmp_path / "a", activation=["relu"], depth=[2]),
        make(tmp_path / "b", activation=["tanh"], depth=[3]),
    ]
    merged, said = join(*parts, out=tmp_path / "out")
    assert len(merged.summary) == 2 and not (tmp_path / "out" / "config.toml").exists()
    assert said == ["these cells are no whole grid: there is no config.toml that repeats them"]
    notes = Notes()
    execute(plan_of(tmp_path / "out", activation=["relu", "tanh"]), notes)
    assert notes.total == 2 * 2 * 6, "the larger grid takes up what is there"


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


MISFITS: dict[str, tuple[dict[str, Any], Callable[[Path], object] | None, str]] = {
    "recording": ({"probe": "16"}, None, r"\[recording\] is probe 16, and probe 32 in"),
    "tables": ({"jacobian": True}, None, "jacobian"),
    "columns": ({"weight_decay": [0.0, 0.5]}, None, "the header of layers"),
    "twice": ({"activation": ["relu", "tanh"]}, None, r"cell g\w{12}, seed 0 is in .*a, too"),
    "ragged": ({"activation": ["tanh"], "seeds": 3}, None, "has seeds 0-1, cell g.* 0-2"),
    "schema": ({}, lambda b: edit(b, lambda m: m.update(schema=1)), "schema version 1, this gradlab writes"),
    "recipe": ({}, lambda b: edit(b, lambda m: m.update(recipe=1)), "the recipe is 1, and"),
    "gradlab": ({}, lambda b: edit(b, lambda m: m["versions"].update(gradlab="9")), "gradlab is 9, and"),
    "data": ({}, lambda b: edit(b, lambda m: m["data"].update(digits="x")), "data digits is sha256 x, and"),
    "no recipe": ({}, lambda b: edit(b, lambda m: m.pop("recipe")), "does not say: recipe"),
    "no manifest": ({}, lambda b: (b / "manifest.json").unlink(), "unfinished"),
    "loose": ({}, lambda b: ((b / "manifest.json").unlink(), shutil.rmtree(b / ".journal")), "no manifest.json"),
    "changed": ({}, lambda b: (b / "config.toml").write_text(""), "not as gradlab left it"),
    "no folder": ({}, shutil.rmtree, "no such results folder"),
}  # fmt: skip


@pytest.mark.parametrize("kind", MISFITS)
def test_what_does_not_fit_is_named_and_nothing_is_written(tmp_path: Path, kind: str) -> None:
    settings, damage, says = MISFITS[kind]
    one = make(tmp_path / "a", activation=["relu"], depth=[2])
    other = make(tmp_path / "b", **({"activation": ["sigmoid"], "depth": [2]} | settings))
    if damage is not None:
        damage(other)
    with pytest.raises(UserError, match=says) as caught:
        join(one, other, out=tmp_path / "out")
    assert (str(other) in str(caught.value)) == (kind != "ragged")
    assert not (tmp_path / "out").exists()


def test_the_command_writes_prints_and_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = [str(make(tmp_path / name, activation=[name], depth=[2])) for name in ("relu", "sigmoid")]
    out = tmp_path / "out"
    assert main(["merge", parts[0], "--out", str(out)]) == 2
    assert main(["merge", *parts, "--out", parts[0]]) == 2
    assert "one of the folders that are joined" in capsys.readouterr().err
    assert main(["merge", *parts, "--out", str(out), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [row["activation"] for row in document["cells"]] == ["relu", "sigmoid"]
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert main(["merge", *parts, "--out", str(out)]) == 0, "they are joined already"
    printed = capsys.readouterr()
    assert str(out / "layers.csv") in printed.out and "next: gradlab report" in printed.err
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("years of work")
    assert main(["merge", *parts, "--out", str(tmp_path / "thesis"), "--force"]) == 2
    assert gradlab.merge(parts, tmp_path / "again").summary.equals(gradlab.merge(parts, out).summary)


def test_a_merge_that_finds_no_room_can_be_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [make(tmp_path / name, activation=[name], depth=[2]) for name in ("relu", "sigmoid")]

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(merging, "write_texts", full)
    with pytest.raises(GradlabError, match="No space left"):
        join(*parts, out=tmp_path / "out")
    monkeypatch.undo()
    assert len(join(*parts, out=tmp_path / "out")[0].summary) == 2
