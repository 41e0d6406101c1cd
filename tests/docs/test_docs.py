"""What the documents say runs: every command, every Python block; and the metrics page is the schema's."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from gradlab.cli.main import main
from gradlab.sensors.describe import page

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
# Commands that need minutes, a cluster, or files that only the reader has.
SKIPPED = re.compile(
    r"reproduce .*--all|--ray-address|report RESULTS|diagnose RESULTS|--target|mypackage|\.\.\.|NAME"
)


def commands() -> list[str]:
    found = []
    for path in PAGES:
        for language, block in FENCE.findall(path.read_text(encoding="utf-8")):
            if language in ("", "sh", "console"):
                lines = (line.removeprefix("$ ").split("  #")[0].strip() for line in block.splitlines())
                found += [line for line in lines if line.startswith("gradlab ")]
    return [line for line in dict.fromkeys(found) if not SKIPPED.search(line)]


def blocks() -> list[tuple[str, str]]:
    return [
        (f"{path.name}-{number}", block)
        for path in PAGES
        for number, (language, block) in enumerate(FENCE.findall(path.read_text(encoding="utf-8")))
        if language == "python"
    ]


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder; runs of two steps, so that a command's sense is not its length."""
    monkeypatch.chdir(tmp_path)
    for key, value in {"TRAINING__STEPS": "2", "RUN__SEEDS": "1", "RUN__WORKERS": "1"}.items():
        monkeypatch.setenv(f"GRADLAB_{key}", value)


def test_there_are_commands_to_run() -> None:
    assert len(commands()) >= 4


def makes_what_it_needs(line: str) -> list[str]:
    """The documented commands with `--out FOLDER` whose folder the line names."""
    words = shlex.split(line)
    return [
        other
        for other in commands()
        if (parts := shlex.split(other)) != words
        and "--out" in parts
        and parts[parts.index("--out") + 1] in words
    ]


@pytest.mark.parametrize("line", commands())
@pytest.mark.usefixtures("small", "two_figures")
def test_a_documented_command_runs(line: str) -> None:
    for each in [*makes_what_it_needs(line), line]:
        assert main(shlex.split(each)[1:]) == 0


@pytest.mark.parametrize(("name", "block"), blocks())
@pytest.mark.usefixtures("small")
def test_a_documented_block_runs(name: str, block: str) -> None:
    exec(compile(block, name, "exec"), {"__name__": name})


def test_the_metrics_page_is_what_the_schema_says() -> None:
    assert (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8") == page()
