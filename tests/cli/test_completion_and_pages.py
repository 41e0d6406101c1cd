"""What a shell completes, how a cell is named, and the page in a browser."""

from __future__ import annotations

import webbrowser
from pathlib import Path

import pytest
from cli.conftest import TINY

from gradlab.cli.main import main
from gradlab.config import KEYS, shipped
from gradlab.config.typed import GridSettings, Settings


def completed(words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What bash is given for the last of these words."""
    monkeypatch.setenv("_GRADLAB_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))
    capsys.readouterr()
    assert main([]) == 0
    return capsys.readouterr().out.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("gradlab comp", ["compare"]),
        ("gradlab run --activation leaky_", ["leaky_relu"]),
        ("gradlab compare --activation sigmoid,leaky_", ["sigmoid,leaky_relu"]),
        ("gradlab run --dtype b", ["bfloat16"]),
        ("gradlab run --config init", ["init-matters"]),
        ("gradlab run --set training.lr", ["training.lr="]),
        ("gradlab list conf", ["configs"]),
        ("gradlab diagnose x --ruleset smd", ["smdebug"]),
        ("gradlab report x --format html,la", ["html,latex"]),
        ("gradlab nonsense --activation s", []),
    ],
)
def test_values_of_flags_are_completed(words, expected, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    assert completed(words, monkeypatch, capsys) == expected


def test_a_switch_has_no_type_in_the_help(gradlab) -> None:  # type: ignore[no-untyped-def]
    for command in ("run", "report", "diagnose", "watch"):
        ended = gradlab(command, "--help")
        assert ended.code == 0 and f"gradlab {command} " in ended.out.split("╭")[0].split("Usage")[1]
        assert "<bool>" not in ended.out and "<list" not in ended.out and "<Path>" not in ended.out


def test_a_name_is_suggested_only_where_it_is_near(gradlab) -> None:  # type: ignore[no-untyped-def]
    assert "did you mean '--batch-size'?" in gradlab("run", "--batch", "3").err
    assert "did you mean" not in gradlab("run", "--layers", "3").err
    assert "did you mean" not in gradlab("run", "--verbose").err


@pytest.mark.slow
def test_the_page_is_drawn_and_opened(gradlab, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda link: opened.append(link) or True)
    ended = gradlab("run", *TINY, "--out", "a b", "--open")
    page = Path("a b/report.html")
    assert ended.code == 0 and page.is_file() and opened == [page.resolve().as_uri()]
    assert "page: a b/report.html" in ended.out
    monkeypatch.setattr(webbrowser, "open", lambda link: False)
    ended = gradlab("report", "a b", "--open", "--format", "md")
    assert "no browser could be opened" in ended.err and page.resolve().as_uri() in ended.err


def test_a_cell_is_named_as_its_diagnosis_is_headed(gradlab) -> None:  # type: ignore[no-untyped-def]
    grid = [*TINY, "--activation", "sigmoid,hard_sigmoid", "--depth", "6,9", "--out", "grid"]
    assert gradlab("compare", *grid).code == 0
    found = gradlab("diagnose", "grid")
    assert "\nsigmoid, depth 9: vanishing" in found.out
    assert "--try --cell 'sigmoid, depth 9'" in found.err or "--try --cell 'sigmoid, depth 6'" in found.err
    unnamed = gradlab("diagnose", "grid", "--try")
    assert (
        unnamed.code == 2
        and "'sigmoid, depth 9'" in unnamed.err
        and "hint: gradlab diagnose grid --try --cell" in unnamed.err
    )
    wrong = gradlab("diagnose", "grid", "--try", "--cell", "sigmoid, depth 8")
    assert wrong.code == 2 and "did you mean 'sigmoid, depth" in wrong.err


@pytest.mark.parametrize("width", [50, 80, 120])
def test_a_diagnosis_obeys_the_width_but_for_commands(width: int, gradlab, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    folder = "results/a-folder-with-a-name-that-is-longer-than-a-narrow-terminal"
    assert gradlab("run", *TINY, "--activation", "sigmoid", "--depth", "9", "--out", folder).code == 0
    monkeypatch.setenv("COLUMNS", str(width))
    lines = (
        gradlab("diagnose", folder).out.splitlines()
        + gradlab("run", *TINY, "--activation", "sigmoid", "--depth", "9", "--out", folder).out.splitlines()
    )
    long = [line for line in lines if len(line.rstrip()) > width]
    assert all(
        "gradlab " in line or folder in line.split() or f"{folder}:" in line.split() for line in long
    ), long
    assert any(f"{folder}" in line for line in lines), "a path is never broken"


def test_shipped_configurations_are_found_by_name_and_a_file_of_the_name_wins(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    assert shipped.found(Path("smoke")) == shipped.FOLDER / "smoke.toml" == shipped.found(Path("smoke.toml"))
    Path("smoke").write_text("")
    assert shipped.found(Path("smoke")) == Path("smoke")
    assert shipped.found(Path("x/smoke")) == Path("x/smoke")


def test_the_typed_keywords_are_the_keys() -> None:
    assert (
        set(Settings.__annotations__)
        == set(GridSettings.__annotations__)
        == {key.flag for key in KEYS.values()}
    )
    for key in KEYS.values():
        assert ("Sequence" in str(GridSettings.__annotations__[key.flag])) == key.takes_list, key.path
