"""Files are whole or not there, and a folder has one writer."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from gradlab.base import atomic
from gradlab.base.lock import Held, Lock


def test_a_write_that_fails_halfway_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    atomic.write_text(path, "old")

    def fill(handle: IO[bytes]) -> None:
        handle.write(b"half of the n")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        atomic.write(path, fill)
    assert [entry.name for entry in tmp_path.iterdir()] == ["table.csv"]
    assert path.read_text() == "old"


def test_the_old_file_is_there_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    atomic.write_text(path, "old")
    seen = []

    def fill(handle: IO[bytes]) -> None:
        handle.write(b"new")
        handle.flush()
        seen.append(path.read_text())

    atomic.write(path, fill)
    assert (seen, path.read_text()) == (["old"], "new")


def test_text_is_written_byte_for_byte(tmp_path: Path) -> None:
    atomic.write_text(tmp_path / "x", "φ\nend")
    assert (tmp_path / "x").read_bytes() == b"\xcf\x86\nend"


def test_what_killed_writers_leave_is_removed_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / ".table.csv.123.part").write_text("half")
    (tmp_path / "table.csv").write_text("whole")
    atomic.remove_leftovers(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["table.csv"]


def test_a_second_lock_is_refused_with_its_holders_name(tmp_path: Path) -> None:
    lock = Lock(tmp_path / "lock")
    with pytest.raises(Held, match=f"process {os.getpid()} on {socket.gethostname()}"):
        Lock(tmp_path / "lock")
    lock.release()
    Lock(tmp_path / "lock").release()


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    code = "import sys; from gradlab.base.lock import Lock; from pathlib import Path\n"
    code += "lock = Lock(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(Held, match=f"process {holder.pid} "):
            Lock(tmp_path / "lock")
        holder.kill()
    lock = Lock(tmp_path / "lock")
    assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()
    lock.release()


def test_a_lock_that_finds_no_room_for_its_holders_name_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(OSError, match="No space"):
            Lock(tmp_path / "lock")
    Lock(tmp_path / "lock").release()


def test_a_lock_file_with_other_contents_still_locks(tmp_path: Path) -> None:
    lock = Lock(tmp_path / "lock")
    (tmp_path / "lock").write_text("not json")
    with pytest.raises(Held, match="another process"):
        Lock(tmp_path / "lock")
    lock.release()
