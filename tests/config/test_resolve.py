"""Precedence, provenance and the grammar of lists: what a file, the environment, flags and --set add up to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gradlab
from gradlab import data
from gradlab.base.errors import ConfigError
from gradlab.config import KEYS, Config, collect, resolve, to_toml
from gradlab.config.plan import make
from gradlab.config.resolve import DEFAULT_GRID, DEFAULT_GRID_STEPS

LAYERS = ("default", "file", "environment", "flag", "set")


def problems_of(**given: object) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        resolve(**given)  # type: ignore[arg-type]
    return [str(problem) for problem in caught.value.problems]


def test_nothing_given_is_every_default() -> None:
    request = resolve()
    assert request.base == Config()
    assert request.grid == {} and request.warnings == ()
    assert set(request.provenance) == set(KEYS) and set(request.provenance.values()) == {"default"}


@given(st.dictionaries(st.sampled_from(LAYERS[1:]), st.integers(1, 1000)))
def test_the_highest_layer_that_speaks_wins(
    tmp_path_factory: pytest.TempPathFactory, layers: dict[str, int]
) -> None:
    if "flag" in layers:
        layers.pop("set", None)  # they are one layer, and may not disagree
    file = None
    if "file" in layers:
        file = tmp_path_factory.mktemp("layers") / "a.toml"
        file.write_text(f"[network]\nwidth = {layers['file']}\n")
    request = resolve(
        file=file,
        environment={"GRADLAB_NETWORK__WIDTH": str(layers["environment"])} if "environment" in layers else {},
        flags={"width": str(layers["flag"])} if "flag" in layers else {},
        sets=[f"network.width={layers['set']}"] if "set" in layers else [],
    )
    winner = max(layers, key=LAYERS.index, default="default")
    sources = {
        "default": "default",
        "file": f"file {file}",
        "environment": "environment GRADLAB_NETWORK__WIDTH",
        "flag": "flag --width",
        "set": "--set network.width",
    }
    assert request.base.network.width == layers.get(winner, 64)
    assert request.provenance["network.width"] == sources[winner]
    assert {source for path, source in request.provenance.items() if path != "network.width"} == {"default"}


@given(st.lists(st.integers(1, 50), min_size=1, max_size=8))
def test_a_list_becomes_its_distinct_values_in_order(values: list[int]) -> None:
    text = ",".join(map(str, values))
    distinct = tuple(dict.fromkeys(values))
    request = resolve(flags={"depth": text, "activation": "relu,relu"}, lists=True)
    assert request.values("network.depth") == distinct
    assert request.base.network.depth == values[0]
    assert request.grid.get("network.depth", distinct) == distinct
    assert request.grid["network.activation"] == ("relu",), "a list of one value is still a list"


EXAMPLES: dict[str, tuple[str, object]] = {
    "network.activation": ("leaky_relu:negative_slope=0.2", "leaky_relu:negative_slope=0.2"),
    "network.depth": ("7", 7),
    "network.width": ("33", 33),
    "network.init": ("gaussian:sigma_w=1.5", "gaussian:sigma_w=1.5"),
    "network.norm": ("layer", "layer"),
    "network.residual": ("pre", "pre"),
    "data.name": ("moons", "moons"),
    "data.target": ("a, b", "a, b"),
    "data.task": ("regression", "regression"),
    "data.csv": ("sep=;:decimal=,", "sep=;:decimal=,"),
    "training.optimizer": ("adam", "adam"),
    "training.lr": ("1e-3", 1e-3),
    "training.schedule": ("cosine:warmup=10", "cosine:warmup=10"),
    "training.momentum": ("0.5", 0.5),
    "training.weight_decay": ("0.01", 0.01),
    "training.clip": ("1", 1.0),
    "training.loss": ("mse", "mse"),
    "training.batch_size": ("16", 16),
    "training.steps": ("0", 0),
    "training.stack_size": ("2", 2),
    "recording.record": ("every:5", "every:5"),
    "recording.probe": ("all", "all"),
    "recording.eval_rows": ("100", "100"),
    "recording.metrics": ("full", "full"),
    "recording.jacobian": ("true", True),
    "recording.sharpness": ("true", True),
    "recording.histograms": ("true", True),
    "run.seeds": ("5", 5),
    "run.first_seed": ("3", 3),
    "run.dtype": ("float64", "float64"),
    "run.device": ("auto", "auto"),
    "run.out": ("a,b/c", "a,b/c"),
    "run.force": ("true", True),
    "run.tables": ("both", "both"),
    "run.workers": ("2", 2),
    "run.executor": ("ray", "ray"),
    "run.ray_address": ("auto", "auto"),
    "run.gpus_per_stack": ("0.5", 0.5),
    "run.on_error": ("stop", "stop"),
    "run.checkpoint": ("5", 5.0),
    "run.save_weights": ("true", True),
}


@pytest.mark.parametrize("path", list(KEYS))
def test_every_key_has_its_flag_variable_file_key_and_set(path: str, tmp_path: Path) -> None:
    text, value = EXAMPLES[path]  # a new key without an example fails here
    key = KEYS[path]
    section, name = path.split(".")
    file = tmp_path / "a.toml"
    file.write_text(
        f"[{section}]\n{name} = {text if isinstance(value, int | float) else repr(text)}\n".lower()
    )
    for asked in (
        {"file": file, "trusted": True},
        {"environment": {f"GRADLAB_{section}__{name}".upper(): text}},
        {"flags": {key.flag: text}},
        {"flags": {key.flag: value}},
        {"sets": [f"{path}={text}"]},
    ):
        request = resolve(**asked, lists=key.path in ("network.activation",))
        assert getattr(getattr(request.base, section), name) == value
        assert request.provenance[path] != "default"
        assert type(request.values(path)[0]) is type(value)


def test_only_the_flag_of_the_data_set_has_another_name() -> None:
    assert {path for path, key in KEYS.items() if key.flag != key.name} == {"data.name"}


def test_the_keys_that_take_lists_are_those_of_network_and_training_and_data() -> None:
    for key in KEYS.values():
        assert key.takes_list == (key.section in ("network", "training") or key.path == "data.name")


@pytest.mark.parametrize("path", [path for path, key in KEYS.items() if key.takes_list])
def test_lists_of_every_key_that_takes_them_and_run_refuses_them(path: str, tmp_path: Path) -> None:
    text, value = EXAMPLES[path]
    other, other_value = {
        "training.optimizer": ("rmsprop", "rmsprop"),
        "training.loss": ("cross_entropy", "cross_entropy"),
        "training.momentum": ("0.25", 0.25),
    }.get(path, ("3", type(value)(3)))  # type: ignore[call-arg]
    key = KEYS[path]
    shown = f"[{value!r}, {other_value!r}]"
    dotted, flat = tmp_path / "dotted.toml", tmp_path / "flat.toml"
    dotted.write_text(f"[grid]\n{path} = {shown}\n")
    flat.write_text(f"[grid]\n{key.flag} = {shown}\n")
    for asked in (
        {"flags": {key.flag: f"{text}, {other}"}},
        {"flags": {key.flag: [value, other_value]}},
        {"sets": [f"{path}={text},{other}"]},
        {"environment": {key.variable: f"{text},{other}"}},
        {"file": dotted},
        {"file": flat},
    ):
        request = resolve(**asked, lists=True)
        assert request.grid == {path: (value, other_value)}
        assert request.values(path) == (value, other_value)
        (problem,) = problems_of(**asked, lists=False)
        assert "is a list" in problem and "gradlab compare" in problem


@pytest.mark.parametrize("path", [path for path, key in KEYS.items() if not key.takes_list])
def test_lists_of_every_other_key_are_refused(path: str, tmp_path: Path) -> None:
    key = KEYS[path]
    file = tmp_path / "a.toml"
    file.write_text(f"[grid]\n{path} = [1, 2]\n")
    assert "cannot be a list" in problems_of(file=file, lists=True)[0]
    assert "cannot be a list" in problems_of(flags={key.flag: [1, 2]}, lists=True)[0]
    if not key.is_text:  # a text may hold a comma: the name of a column or folder
        assert "one value, not a list" in problems_of(flags={key.flag: "1,2"}, lists=True)[0] or key.choices


def test_a_higher_layer_replaces_a_grid_by_one_value_so_that_run_can_use_the_file(tmp_path: Path) -> None:
    file = tmp_path / "grid.toml"
    file.write_text("[grid]\ndepth = [5, 20]\n")
    request = resolve(file=file, flags={"depth": "7"})
    assert request.base.network.depth == 7 and request.grid == {}
    (problem,) = problems_of(file=file)
    assert problem.startswith(f"{file}: grid.depth")


def test_numpy_numbers_arrays_and_paths_from_a_caller() -> None:
    flags = {
        "depth": np.arange(2, 5),
        "lr": np.float64(0.5),
        "data": Path("some/file.csv"),
        "width": range(1, 3),
    }
    request = resolve(flags=flags, lists=True)
    assert request.grid == {"network.depth": (2, 3, 4), "network.width": (1, 2)}
    assert request.base.training.lr == 0.5 and request.base.data.name == str(Path("some/file.csv"))


def test_a_flag_and_a_set_that_disagree() -> None:
    assert resolve(flags={"lr": "0.10"}, sets=["training.lr=0.1"]).base.training.lr == 0.1
    (problem,) = problems_of(flags={"lr": "0.2"}, sets=["training.lr=0.1"])
    assert "--set training.lr" in problem and "--lr" in problem and "0.1" in problem and "0.2" in problem
    assert len(problems_of(sets=["run.seeds=1", "run.seeds=2"])) == 1


def test_an_unknown_variable_warns_and_debug_is_reserved() -> None:
    request = resolve(environment={"GRADLAB_TRAINING__LRR": "1", "GRADLAB_DEBUG": "1", "HOME": "/"})
    (warning,) = request.warnings
    assert "GRADLAB_TRAINING__LRR" in warning and "'GRADLAB_TRAINING__LR'" in warning
    assert resolve(environment={"GRADLAB_TRAINING__LR": ""}).provenance["training.lr"] == "default"


def test_every_layers_problems_are_reported_at_once(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text('[network]\ndepth = "x"\nwidht = 3\n')
    found = problems_of(
        file=file,
        environment={"GRADLAB_TRAINING__LR": "fast"},
        flags={"seeds": "0", "tables": "cvs", "sedes": 1},
        sets=["training.stepz=3", "nothing", "netwrok.depth=3"],
    )
    for expected in (
        f"{file}: network.depth: 'x' is not a whole number",
        f"{file}: network.widht",
        "GRADLAB_TRAINING__LR: 'fast' is not a number; allowed: a number > 0",
        "--seeds: '0' is out of range; allowed: a whole number >= 1",
        "--tables: 'cvs' is not known; allowed: csv, parquet, both; did you mean 'csv'?",
        "--sedes: there is no such flag; did you mean 'seeds'?",
        "--set training.stepz: [training] has no key 'stepz'",
        "--set nothing: has no value",
        "--set netwrok.depth: there is no section 'netwrok'",
    ):
        assert sum(problem.startswith(expected) for problem in found) == 1, expected
    assert len(found) == 9


def test_collect_returns_the_rest_beside_the_problems() -> None:
    request, problems = collect(flags={"depth": "x", "width": "8"})
    assert len(problems) == 1
    assert request.base.network.width == 8 and request.base.network.depth == 20


@pytest.mark.parametrize("text", ["5,", ",5", "5,,6", ","])
def test_a_list_with_an_empty_item(text: str) -> None:
    assert "empty item" in problems_of(flags={"depth": text}, lists=True)[0]


def test_a_comparison_of_nothing_compares_the_default_grid() -> None:
    request = resolve(lists=True)
    assert request.grid == DEFAULT_GRID
    assert request.base.training.steps == DEFAULT_GRID_STEPS
    assert request.provenance["network.depth"] == request.provenance["training.steps"] == "default grid"

    request = resolve(lists=True, flags={"activation": "relu", "steps": "7"})
    assert request.base.network.activation == "relu" and request.base.training.steps == 7
    assert request.grid == {"network.depth": DEFAULT_GRID["network.depth"]}

    assert resolve(lists=True, flags={"lr": "0.1,0.2"}).grid == {"training.lr": (0.1, 0.2)}
    one = resolve(lists=True, flags={"activation": "relu", "depth": 5})
    assert one.grid == {} and one.base.training.steps == 1000


VALUES = st.fixed_dictionaries(
    {},
    optional={
        "activation": st.sampled_from(["relu", "tanh", "elu:alpha=1.5"]),
        "depth": st.integers(1, 100_000),
        "lr": st.floats(1e-300, 1e18),
        "momentum": st.floats(0, 1, exclude_max=True),
        "clip": st.floats(0, 1e9),
        "optimizer": st.sampled_from(["sgd", "adamw"]),
        "target": st.text(st.characters(codec="utf-8"), max_size=8).map(str.strip),
        "record": st.sampled_from(["log", "every:7"]),
        "first_seed": st.integers(0, 2**31 - 1),
        "tables": st.sampled_from(["csv", "both"]),
    },
)
LISTS = st.fixed_dictionaries(
    {},
    optional={
        "width": st.lists(st.integers(1, 10_000), min_size=1, max_size=4),
        "weight_decay": st.lists(st.floats(0, 10), min_size=1, max_size=4),
        "data": st.lists(st.sampled_from(["digits", "moons:noise=0.1", "a b.csv"]), min_size=1, max_size=4),
    },
)


@given(VALUES, LISTS)
def test_the_written_file_asks_for_the_same_run(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, object], lists: dict[str, object]
) -> None:
    asked = resolve(flags=values | lists | {"force": True, "out": "elsewhere"}, lists=True)
    file = tmp_path_factory.mktemp("written") / "config.toml"
    file.write_text(to_toml(asked.base, asked.grid), encoding="utf-8")
    again = resolve(file=file, lists=True)
    assert again.base.run.out == "" and not again.base.run.force, (
        "where and whether to replace are not repeated"
    )
    run = again.base.run.model_copy(update={"force": True, "out": "elsewhere"})
    assert again.base.model_copy(update={"run": run}) == asked.base
    assert again.grid == asked.grid


def test_a_mistyped_variable_is_told_to_a_library_user_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADLAB_TRAINING__LRR", "1")
    with pytest.warns(UserWarning, match="GRADLAB_TRAINING__LRR is not known"):
        gradlab.run(depth=1, width=4, steps=0, seeds=1, out=str(tmp_path / "out"))


def test_a_data_set_is_read_once_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "points.csv"
    file.write_text("a,b\n" + "".join(f"{i % 7},{'xy'[i % 2]}\n" for i in range(40)))
    read, load = [], data.load
    monkeypatch.setattr(data, "load", lambda *given: (read.append(given), load(*given))[1])
    (cell,) = make(resolve(flags={"data": f"{tmp_path}/./points.csv", "target": "b", "batch_size": 8})).cells
    assert cell.dataset() is cell.dataset() and len(read) == 1
    file.write_text(file.read_text() + "9,x\n")
    (other,) = make(resolve(flags={"data": str(file), "target": "b", "batch_size": 8})).cells
    assert other.id != cell.id and len(other.dataset().y_train) > len(cell.dataset().y_train)


def test_the_environment_goes_before_a_file_and_a_flag_before_both(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text("[training]\nlr = 0.1\n[run]\nseeds = 4\n[network]\ndepth = 7\n")
    environment = {"GRADLAB_TRAINING__LR": "0.2", "GRADLAB_RUN__SEEDS": "5"}
    found = resolve(file=file, environment=environment, flags={"seeds": "6"}).base
    assert (found.training.lr, found.run.seeds, found.network.depth) == (0.2, 6, 7)


def test_a_grid_larger_than_is_asked_for_by_accident_needs_a_yes() -> None:
    request = resolve(flags={"activation": ["relu", "tanh"], "depth": [2, 3], "steps": 0}, lists=True)
    for most in (4, None):
        assert len(make(request, most=most).cells) == 4
    with pytest.raises(
        ConfigError, match=r"2 of --activation x 2 of --depth are 4 cells; allowed: 3 cells without"
    ):
        make(request, most=3)
