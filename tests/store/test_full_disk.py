"""A disk that is really full: a small file system of its own, with more or less room left on it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from sweep.small_plans import TABLES, table_bytes

from gradlab.cli.main import main

CELL = ["--width", "8", "--batch-size", "16", "--steps", "60", "--seeds", "2", "--probe", "32", "--quiet"]
COMMANDS = {
    "run": ["run", "--activation", "relu", "--depth", "3", *CELL],
    "compare": ["compare", "--activation", "relu,sigmoid", "--depth", "2,3", *CELL],
    "two workers": ["compare", "--activation", "relu,sigmoid", "--depth", "2,3", "--workers", "2", *CELL],
    "weights": ["compare", "--activation", "relu,sigmoid", "--depth", "2,3", "--save-weights", *CELL],
}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB; only an administrator may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    try:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)], capture_output=True, text=True
        )
        why = done.stderr.strip()
    except OSError as error:
        done, why = None, str(error)
    if done is None or done.returncode:
        pytest.skip(f"no small file system can be mounted here: {why}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def leave(disk: Path, kilobytes: int) -> Path:
    """Fill the disk but for so much; the file that does it."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as handle:
        with suppress(OSError):
            while handle.write(bytes(4096)):
                pass
        handle.truncate(handle.tell() - kilobytes * 1024)
    return ballast


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_is_lost_however_little_room_there_was(
    command: str, disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = COMMANDS[command]
    assert main([*arguments, "--out", str(tmp_path / "reference")]) == 0
    reference = table_bytes(tmp_path / "reference")
    kept = set()
    for room in (0, 8, 24, 64, 128, 192, 256, 320, 384, 512):
        out = disk / f"out-{room}"
        ballast = leave(disk, room)
        code = main([*arguments, "--out", str(out)])
        error = capsys.readouterr().err
        stacks = len(list(out.glob(".journal/*.npz")))
        kept.add((stacks, code))
        if code:
            assert code in (1, 3), error
            assert "No space left on device" in error and "Traceback" not in error
            if code == 1:
                assert not (out / "manifest.json").exists()
            assert not list(out.rglob(".*.part")), "half a file was left on the full disk"
        ballast.unlink()
        assert main([*arguments, "--out", str(out)]) == 0, capsys.readouterr().err
        assert table_bytes(out) == reference
        assert all((out / name).exists() for name in (*TABLES, "manifest.json"))
        subprocess.run(["rm", "-r", str(out)], check=True)
    assert {1, 0} <= {code for _, code in kept}, (
        "the rooms are chosen so that some are too small and some not"
    )
    if command != "run":
        assert len({stacks for stacks, code in kept if code}) > 1, (
            "it failed after different numbers of stacks"
        )
