"""Start-up: what is imported, how long the help takes, and that every command can be loaded."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from cli.conftest import TINY

from gradlab.cli.listing import KINDS
from gradlab.cli.main import COMMANDS, load
from gradlab.config import KEYS

CODE = """
import json, sys
from gradlab.cli.main import main
codes = [main(arguments) for arguments in json.loads(sys.argv[1])]
heavy = {name.partition(".")[0] for name in sys.modules}
print(*sorted(heavy & {"torch", "pandas", "pydantic", "numpy", "scipy", "sklearn", "rich"}), file=sys.stderr)
sys.exit(max(codes))
"""


def heavy_imports(*commands: list[str]) -> set[str]:
    """Which heavy packages a fresh process has imported after these commands."""
    done = subprocess.run([sys.executable, "-c", CODE, json.dumps(commands)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.splitlines()[-1].split())


def test_the_help_imports_nothing_heavy() -> None:
    assert heavy_imports(["--help"], [], ["--version"]) == set()


def test_what_trains_nothing_imports_no_torch() -> None:
    assert "torch" not in heavy_imports(
        *(["list", kind] for kind in KINDS),
        ["config", "show"],
        ["config", "init"],
        ["config", "schema"],
        ["config", "validate", "smoke"],
        ["run", "--help"],
        ["compare", "--help"],
        ["theory", "--help"],
    )


SERVER = """
import gc, json, sys
usual = gc.get_threshold()
import gradlab.lab.preload
names = sorted({name.partition(".")[0] for name in sys.modules})
print(json.dumps([gc.get_threshold() == usual, gc.get_freeze_count(), len(gc.get_objects()), names]))
"""


def test_the_workers_server_imports_what_training_needs_and_leaves_the_collector_as_it_was() -> None:
    done = subprocess.run([sys.executable, "-c", SERVER], capture_output=True, text=True, check=True)
    as_usual, kept, left, names = json.loads(done.stdout)
    assert as_usual and kept > left, "what is imported is no work for the workers' collectors"
    assert "torch" in names
    assert not {"scipy", "pandas", "pyarrow", "sklearn", "matplotlib", "rich", "typer"} & set(names)


WITHOUT_BLAS = """
import json, sys
sys.modules["scipy_openblas32"] = None  # as where it is not installed
from gradlab.cli.main import main
sys.exit(any(main(json.loads(arguments)) for arguments in sys.argv[1:]))
"""


@pytest.mark.slow
def test_without_the_extra_blas_torch_multiplies(tmp_path: Path) -> None:
    calls = [
        json.dumps(arguments) for arguments in (["env", "--json"], ["run", *TINY, "--out", "out", "--json"])
    ]
    command = [sys.executable, "-c", WITHOUT_BLAS, *calls]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    first, _ = json.JSONDecoder().raw_decode(done.stdout)
    assert first["products"] == "torch, on the CPU"
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["products"] == "torch"


def test_the_help_takes_less_than_a_third_of_a_second() -> None:
    def once() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", CODE, '[["--help"]]'], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(once() for _ in range(3)) < 0.3, "processor seconds, so that a busy machine does not count"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str, gradlab) -> None:  # type: ignore[no-untyped-def]
    ended = gradlab(name, "--help")
    assert ended.code == 0 and ended.err == "" and "Usage: gradlab " + name in ended.out


@pytest.mark.parametrize("name", ["run", "compare"])
def test_the_training_commands_have_a_flag_for_every_key(name: str) -> None:
    options = {option: parameter for parameter in load(name).params for option in parameter.opts}
    for key in KEYS.values():
        assert key.meaning.split(" ")[0] in options[key.option].help, key.path
    assert {"--config", "--set", "--json", "--quiet", "--profile"} <= set(options)
    assert ("--best-over" in options) == ("--dry-run" in options) == (name == "compare")


def test_what_is_loaded_on_first_use_is_listed() -> None:
    code = "import gradlab; assert set(gradlab.__all__) <= set(dir(gradlab)), dir(gradlab)"
    subprocess.run([sys.executable, "-c", code], check=True)
