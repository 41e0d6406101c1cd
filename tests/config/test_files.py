"""Configuration files: the bad ones under tests/data/configs, each with what is said about it, and the shipped ones."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from gradlab.base.errors import ConfigError
from gradlab.cli.main import main
from gradlab.config import KEYS, Config, resolve, schema, shipped, starter, to_toml
from gradlab.config.write import NOT_SAVED

ROOT = Path(__file__).parents[2]
BAD = ROOT / "tests" / "data" / "configs"

SAYS: dict[str, tuple[str, ...]] = {
    "bad-init-parameter": ("network.init gaussian:sigma_w: -1 is out of range", "a number in (0, 1e+100]"),
    "bad-item-in-list": ("grid.depth: 0 is out of range", "grid.depth: 'x' is not a whole number"),
    "bad-schedule-and-probe": (
        "recording.record: unknown record schedule 'sometimes'",
        "recording.probe: 'none'",
    ),
    "batch-larger-than-data": ("training.batch_size: 5000", "1438"),
    "date": ("network.activation: 2026-01-01 is not a text",),
    "empty-list": ("grid.depth: the list is empty",),
    "infinite": ("training.lr: inf is out of range",),
    "key-outside-a-section": ("depth: a key stands in a section", "write it under [network]"),
    "list-in-section": ("network.depth: is a list", "[grid]: depth = [...]"),
    "list-of-schedules": ("grid.recording.record: cannot be a list",),
    "list-of-seeds": ("grid.seeds: cannot be a list",),
    "many-problems": (
        "network.depth: -1 is out of range",
        "network.activatoin: [network] has no key 'activatoin'",
        "did you mean 'activation'?",
        "training.lr: 'fast' is not a number",
        "training.loss: unknown loss 'hinge'",
        "rn: there is no section 'rn'",
        "did you mean 'run'?",
        "grid.width: 0 is out of range",
    ),
    "missing-data": ("data.name", "no/such"),
    "momentum-one": ("training.momentum: 1.0 is out of range", ">= 0 and < 1"),
    "nan": ("training.lr: nan is out of range",),
    "not-a-number": ("network.depth: 'many' is not a whole number",),
    "not-a-switch": ("run.force: 'perhaps' is not true or false",),
    "not-toml": ("is not TOML", "line 1"),
    "not-utf8": ("is not UTF-8 text (byte 24)",),
    "not-whole": ("network.width: 6.5 is not a whole number",),
    "out-of-range": ("network.depth: 0 is out of range",),
    "scalar-in-grid": ("grid.depth: 5 is not a list",),
    "section-is-a-key": ("network: is a section, not a key",),
    "switch-for-number": ("network.depth: true is not a whole number",),
    "table-for-value": ("network.depth: {'deep': 5} is not a single value",),
    "twice": ("network.depth: is set again as grid.depth",),
    "twice-in-grid": ("grid.lr: is set again as grid.training.lr",),
    "unknown-activation": ("network.activation: unknown activation 'sigmod'", "did you mean 'sigmoid'?"),
    "unknown-dotted-grid-key": ("grid.network.widht: [network] has no key 'widht'", "did you mean 'width'?"),
    "unknown-grid-key": ("grid.depht: there is no key 'depht'", "did you mean 'depth'?"),
    "unknown-key": ("network.depht: [network] has no key 'depht'", "did you mean 'depth'?"),
    "unknown-optimizer": ("training.optimizer: unknown optimiser 'adm'", "did you mean 'adam'?"),
    "unknown-section": ("netwrok: there is no section 'netwrok'", "did you mean 'network'?"),
}


def test_every_bad_file_has_its_expectation() -> None:
    assert {path.stem for path in BAD.glob("*.toml")} == set(SAYS)


@pytest.mark.parametrize("name", SAYS)
def test_a_bad_file_is_refused_by_every_command_and_writes_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    file = BAD / f"{name}.toml"
    for command in (["config", "validate"], ["run", "--config"], ["compare", "--config"]):
        assert main([*command, str(file)]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert all(text in err for text in SAYS[name]), err
        assert err.count("error: ") == err.count(f"error: {file}") >= 1, "every problem names the file"
    assert list(tmp_path.iterdir()) == []

    assert main(["run", "--json", "--config", str(file)]) == 2
    out, err = capsys.readouterr()
    assert err == ""
    problems = json.loads(out)["error"]["problems"]
    assert problems and all(problem["where"].startswith(str(file)) for problem in problems)


def test_the_line_of_a_syntax_error_is_the_parsers_and_no_other_line_is_claimed(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text("[network]\ndepth = 5\nwidth = = 3\n")
    with pytest.raises(tomllib.TOMLDecodeError) as parser:
        tomllib.loads(file.read_text())
    with pytest.raises(ConfigError) as caught:
        resolve(file=file)
    assert str(parser.value) in str(caught.value)
    for bad in BAD.glob("*.toml"):
        if bad.stem not in ("not-toml",):
            with pytest.raises(ConfigError) as caught:
                resolve(file=bad, flags={"depth": "0", "activation": ""})
            assert "line" not in str(caught.value).replace("linear", "")


def test_a_missing_file_names_its_neighbour_and_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "smoke.toml").write_text("")
    for path, says in (
        (tmp_path / "smok.toml", "no such file; allowed: a TOML file; did you mean 'smoke.toml'?"),
        (tmp_path / "none" / "x.toml", "no such file"),
        (tmp_path, "is a folder"),
    ):
        with pytest.raises(ConfigError) as caught:
            resolve(file=path)
        assert str(caught.value).startswith(f"{path}: {says}")


def test_a_byte_order_mark_and_an_empty_file_are_fine(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_bytes(b"\xef\xbb\xbf[network]\r\ndepth = 3\r\n")
    assert resolve(file=file).base.network.depth == 3
    file.write_bytes(b"")
    assert resolve(file=file).base == Config()


def test_the_starter_is_all_defaults_and_names_every_key(tmp_path: Path) -> None:
    text = starter()
    file = tmp_path / "a.toml"
    file.write_text(text)
    assert resolve(file=file).base == Config()
    file.write_text(
        "\n".join(line.removeprefix("# ") if " = " in line else line for line in text.split("\n"))
    )
    lines = [line for line in file.read_text().split("\n") if not line.endswith(" = ...")]
    file.write_text("\n".join(line for line in lines if line not in ("# ",)).split("[grid]")[0])
    request = resolve(file=file)
    assert request.base == Config(), "uncommented, every key is still at its default"
    for path, key in KEYS.items():
        assert key.meaning and key.meaning in text
        assert key.default is None or request.provenance[path] == f"file {file}"


def test_the_schema_has_every_key_with_its_meaning_and_the_grid() -> None:
    document = schema()
    for path, key in KEYS.items():
        section = document["$defs"][key.section.capitalize()]
        assert section["properties"][key.name]["description"] == key.meaning
        assert section["additionalProperties"] is False
        assert (key.flag in document["properties"]["grid"]["properties"]) == key.takes_list, path


@pytest.mark.parametrize("file", sorted(shipped.FOLDER.glob("*.toml")), ids=lambda path: path.stem)
def test_a_shipped_configuration_is_valid_and_says_what_it_asks(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", "validate", str(file)]) == 0
    assert "valid" in capsys.readouterr().out
    text = file.read_text()
    assert text.startswith("# ") and "?" in text.split("\n")[0], "its first line is its question"
    command = "compare" if "[grid]" in text else "run"
    assert f"gradlab {command} --config {file.stem}\n" in text


def test_the_shipped_configurations_are_there() -> None:
    assert {*shipped.names()} >= {"smoke", "sigmoid-depth", "activations", "init-matters", "dying-relu"}


def test_what_is_written_repeats_the_run_in_every_key(tmp_path: Path) -> None:
    others = {
        "dtype": "float64",
        "activation": "gelu",
        "lr": 0.7,
        "seeds": 3,
        "probe": "77",
        "out": "elsewhere",
    }
    config = resolve(flags=others).base
    file = tmp_path / "config.toml"
    file.write_text(to_toml(config))
    written, again = tomllib.loads(file.read_text()), resolve(file=file).base
    for key in KEYS.values():
        value = getattr(getattr(config, key.section), key.name)
        if key.section == "run" and key.name in NOT_SAVED:
            assert key.name not in written[key.section]
        else:
            assert written[key.section].get(key.name) == value, key.path
            assert getattr(getattr(again, key.section), key.name) == value, key.path
