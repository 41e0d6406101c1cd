"""`gradlab list`, `gradlab config` and `gradlab env`: what they print is what the rooms and the models say."""

from __future__ import annotations

import tomllib

import pytest

from gradlab.cli.listing import KINDS, NEXT
from gradlab.config import KEYS, Config, resolve
from gradlab.parts.registries import REGISTRIES
from gradlab.tables.layers import LAYERS
from gradlab.tables.steps import STEPS
from gradlab.tables.summary import SUMMARY

NAMES = {kind: list(registry()) for kind, registry in REGISTRIES.items() if kind != "datasets"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_list_names_everything_with_a_summary(kind: str, gradlab) -> None:  # type: ignore[no-untyped-def]
    rows = gradlab("list", kind, "--json").json
    assert rows and all(row["name"] and row["summary"] for row in rows)
    if kind in NAMES:
        assert [row["name"] for row in rows] == NAMES[kind]
    ended = gradlab("list", kind)
    assert ended.code == 0 and ended.err in ("", f"next: {NEXT.get(kind)}\n")
    first = [line.split()[0] for line in ended.out.splitlines() if not line.startswith(" ")]
    assert first == [row["name"] for row in rows]


def test_metrics_are_the_columns_of_the_tables(gradlab) -> None:  # type: ignore[no-untyped-def]
    rows = gradlab("list", "metrics", "--json").json
    for table in (LAYERS, STEPS, SUMMARY):
        listed = [(row["name"], row["type"], row["unit"]) for row in rows if row["table"] == table.name]
        assert listed == [(column.name, column.kind, column.unit) for column in (*table.keys, *table.columns)]


def test_parameters_are_listed_with_default_and_range(gradlab) -> None:  # type: ignore[no-untyped-def]
    rows = {row["name"]: row for row in gradlab("list", "activations", "--json").json}
    assert rows["leaky_relu"]["parameters"].startswith("negative_slope=0.01 (")
    assert "layer or unit" in rows["prelu"]["parameters"]
    assert rows["relu"]["parameters"] == ""


def test_show_prints_each_value_with_where_it_came_from(gradlab, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "a.toml").write_text("[network]\nwidth = 5\n\n[grid]\nlr = [0.1, 0.2]\n")
    monkeypatch.setenv("GRADLAB_TRAINING__STEPS", "7")
    monkeypatch.setenv("GRADLAB_TRAINING__STEPPS", "7")
    given = ["--config", "a.toml", "--depth", "3,4", "--set", "run.seeds=9", "--force"]
    ended = gradlab("config", "show", *given)
    lines = {line.split()[0]: line.split(maxsplit=1)[1].split("  ") for line in ended.out.splitlines()}
    shown = {path: (parts[0], parts[-1].strip()) for path, parts in lines.items()}
    assert list(shown) == list(KEYS)
    assert shown["network.width"] == ("5", "file a.toml")
    assert shown["network.depth"] == ("3, 4", "flag --depth")
    assert shown["training.lr"] == ("0.1, 0.2", "file a.toml")
    assert shown["training.steps"] == ("7", "environment GRADLAB_TRAINING__STEPS")
    assert shown["run.seeds"] == ("9", "--set run.seeds")
    assert shown["run.force"] == ("true", "flag --force")
    assert shown["network.activation"] == ("sigmoid", "default")
    assert "GRADLAB_TRAINING__STEPPS is not known" in ended.err

    document = gradlab("config", "show", *given, "--json").json
    assert document["training.lr"] == {"value": [0.1, 0.2], "from": "file a.toml"}
    assert document["training.momentum"] == {"value": None, "from": "default"}

    (tmp_path / "b.toml").write_text(gradlab("config", "show", *given, "--toml").out)
    assert resolve(file=tmp_path / "b.toml", lists=True).grid == {
        "network.depth": (3, 4),
        "training.lr": (0.1, 0.2),
    }
    assert gradlab("config", "show", "--depth", "x").code == 2
    ended = gradlab("config", "show", "--toml", "--json")
    assert ended.code == 2 and "--toml: --json prints JSON alone" in ended.out


def test_init_writes_a_valid_file_once(gradlab, tmp_path) -> None:  # type: ignore[no-untyped-def]
    ended = gradlab("config", "init", "mine.toml")
    assert ended.code == 0 and "mine.toml" in ended.err
    assert gradlab("config", "validate", "mine.toml").out.startswith("mine.toml: valid")
    assert resolve(file=tmp_path / "mine.toml").base == Config()
    (tmp_path / "mine.toml").write_text("mine")
    ended = gradlab("config", "init", "mine.toml")
    assert ended.code == 2 and "mine.toml: exists already" in ended.err
    assert (tmp_path / "mine.toml").read_text() == "mine"
    assert gradlab("config", "init", "no/folder.toml").code == 2
    assert tomllib.loads(gradlab("config", "init").out)["network"] == {}


def test_validate_counts_cells_and_checks_several_files(gradlab, tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "a.toml").write_text('[grid]\nactivation = ["relu", "tanh"]\ndepth = [2, 3, 4]\n')
    (tmp_path / "b.toml").write_text('[network]\nactivation = "sigmod"\n')
    (tmp_path / "c.toml").write_text("[network]\ndepth = 0\n")
    assert "6 cell(s), 3 seed(s)" in gradlab("config", "validate", "a.toml").out
    assert gradlab("config", "validate", "a.toml", "--json").json == {
        "files": [{"file": "a.toml", "cells": 6, "seeds": 3}]
    }
    ended = gradlab("config", "validate", "a.toml", "b.toml", "c.toml")
    assert ended.code == 2 and ended.out == ""
    assert "b.toml: network.activation" in ended.err and "c.toml: network.depth" in ended.err


def test_schema_is_one_json_document(gradlab) -> None:  # type: ignore[no-untyped-def]
    assert set(gradlab("config", "schema").json["properties"]) == {*Config.model_fields, "grid"}


def test_env_names_versions_devices_threads_and_paths(gradlab) -> None:  # type: ignore[no-untyped-def]
    import torch

    from gradlab.base import blas

    document = gradlab("env", "--json").json
    assert document["packages"]["torch"] == torch.__version__
    assert {"typer", "pydantic", "pandas", "scikit-learn"} <= set(document["packages"])
    assert document["threads"] == torch.get_num_threads() and document["devices"]["cpu"]
    assert document["products"] == f"{blas.name()}, on the CPU"
    ended = gradlab("env")
    assert ended.code == 0 and ended.err == ""
    assert f"torch: {torch.__version__}" in ended.out and document["paths"]["gradlab"] in ended.out
