"""Files are whole or not there, and a folder has one writer."""

from __future__ import annotations

import errno
import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
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
    (tmp_path / ".gradlab-0123456789abcdef.part").write_text("half")
    (tmp_path / "table.csv").write_text("whole")
    (tmp_path / ".film.part").write_text("half a film")
    atomic.remove_leftovers(tmp_path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".film.part", "table.csv"]


def test_no_planted_link_is_followed(tmp_path: Path) -> None:
    """Not where it is known which process writes, and not at the goal."""
    shared, victim = tmp_path / "shared", tmp_path / "victim"
    shared.mkdir()
    victim.write_text("years of work")
    (shared / f".table.csv.{os.getpid()}.part").symlink_to(victim)
    (shared / "table.csv").symlink_to(victim)
    atomic.write_text(shared / "table.csv", "new")
    assert victim.read_text() == "years of work"
    assert not (shared / "table.csv").is_symlink() and (shared / "table.csv").read_text() == "new"


@pytest.mark.parametrize("target", ["victim", "missing"])
def test_not_even_a_link_under_the_random_name_is_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    (tmp_path / "victim").write_text("years of work")
    monkeypatch.setattr(atomic, "token_hex", lambda size: "0" * 2 * size)
    planted = tmp_path / f".gradlab-{'0' * 16}.part"
    planted.symlink_to(tmp_path / target)
    with pytest.raises(FileExistsError):
        atomic.write_text(tmp_path / "table.csv", "new")
    assert planted.is_symlink() and not (tmp_path / "missing").exists()
    assert (tmp_path / "victim").read_text() == "years of work"


def test_two_writes_at_once_have_two_names(tmp_path: Path) -> None:
    def inner(handle: IO[bytes]) -> None:
        atomic.write_text(tmp_path / "x", "inner")
        handle.write(b"outer")

    atomic.write(tmp_path / "x", inner)
    assert (tmp_path / "x").read_text() == "outer"


def test_a_second_lock_is_refused_with_its_holders_name(tmp_path: Path) -> None:
    lock = Lock(tmp_path / "lock")
    with pytest.raises(Held, match=f"process {os.getpid()} on {socket.gethostname()}"):
        Lock(tmp_path / "lock")
    lock.release()
    Lock(tmp_path / "lock").release()


HOLD = """
import sys
from pathlib import Path
from gradlab.base.lock import Lock
lock = Lock(Path(sys.argv[1]))
"""
WAIT = "print('held', flush=True)\nsys.stdin.read()\n"
FORK_AND_WAIT = """
import os
if os.fork() == 0:
    print('held', flush=True)
sys.stdin.read()
os._exit(0)
"""


@contextmanager
def another_process(path: Path, then: str = WAIT) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock; it is killed at the end."""
    command = [sys.executable, "-c", HOLD + then, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        try:
            yield holder
        finally:
            holder.kill()


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    with another_process(tmp_path / "lock") as holder:
        for _ in range(2):  # an attempt does not erase who holds it
            with pytest.raises(Held, match=f"process {holder.pid} on {socket.gethostname()}"):
                Lock(tmp_path / "lock")
        holder.kill()
        holder.wait()
        lock = Lock(tmp_path / "lock")
    assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()
    lock.release()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no process can be forked here")
def test_a_killed_processs_children_do_not_keep_its_lock(tmp_path: Path) -> None:
    with another_process(tmp_path / "lock", FORK_AND_WAIT) as holder:
        holder.kill()
        holder.wait()
        Lock(tmp_path / "lock").release()  # the child still waits for the end of its input


@pytest.mark.parametrize("target", ["missing", "there"])
def test_a_link_is_no_lock(target: str, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("mine")
    (tmp_path / "lock").symlink_to(tmp_path / target)
    with pytest.raises(OSError) as refused:
        Lock(tmp_path / "lock")
    assert refused.value.errno == errno.ELOOP
    assert (tmp_path / "there").read_text() == "mine" and not (tmp_path / "missing").exists()


def test_a_folder_that_may_not_be_written_is_no_place_for_a_lock() -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o555)
        administrator = os.geteuid() == 0
        if administrator:
            os.seteuid(65534)  # nobody: an administrator may write anywhere
        try:
            with pytest.raises(PermissionError):
                Lock(folder / "lock")
        finally:
            if administrator:
                os.seteuid(0)
        folder.chmod(0o755)


NO_ROOM = """
import resource, sys
from pathlib import Path
from gradlab.base.lock import Lock
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))  # no file may hold a byte
try:
    Lock(Path(sys.argv[1]))
except OSError as error:
    print(type(error).__name__, error.errno)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
Lock(Path(sys.argv[1])).release()
"""


def test_a_lock_that_finds_no_room_for_its_holders_name_is_not_kept(tmp_path: Path) -> None:
    command = [sys.executable, "-c", NO_ROOM, str(tmp_path / "lock")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == (f"OSError {errno.EFBIG}\n", "")


def test_a_file_system_without_locks_is_refused_and_not_pretended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*args: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", missing)
    with pytest.raises(OSError, match="not implemented"):
        Lock(tmp_path / "lock")


def test_a_lock_file_with_other_contents_still_locks(tmp_path: Path) -> None:
    lock = Lock(tmp_path / "lock")
    (tmp_path / "lock").write_text("not json")
    with pytest.raises(Held, match="another process"):
        Lock(tmp_path / "lock")
    lock.release()


def test_the_file_is_on_the_disk_before_it_moves_and_the_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power failure after `write` returned takes nothing: neither what is in the file nor its name."""
    done: list[str] = []
    sync, replace = os.fsync, Path.replace

    def fsync(handle: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        sync(handle)

    def move(self: Path, target: Path) -> Path:
        done.append("moved")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", move)
    atomic.write_text(tmp_path / "a", "years of work")
    assert done == ["file", "moved", "folder"]
    done.clear()
    atomic.write(tmp_path / "b", lambda handle: handle.write(b"quick"), flush=False)
    assert done == ["moved"]
