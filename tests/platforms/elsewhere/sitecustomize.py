"""What gradlab would meet on another system. Python imports this module as it starts, in every process of a test.

PRETEND names the system: `windows` or `macos`. Only what gradlab, or a package below it, might lean on is taken away
or made to fail as it does there; the rest stays Linux.
"""

from __future__ import annotations

import builtins
import ctypes
import io
import multiprocessing
import os
import pathlib
import signal
import sys
from multiprocessing import context
from typing import Any

HERE = os.environ.get("PRETEND", "")
POSIX_MODULES = (
    "resource",  # fcntl stays: its locks stand for those of Windows, which filelock would take there
    "termios",
    "pty",
    "tty",
    "pwd",
    "grp",
)
# fmt: off
POSIX_CALLS = (
    "fork", "forkpty", "getuid", "geteuid", "getgid", "getegid", "getpgid", "killpg", "setsid", "wait",
    "wait3", "wait4", "waitid", "mkfifo", "mknod", "statvfs", "fchmod", "fchown", "chown", "nice",
    "pread", "pwrite", "posix_fadvise", "posix_fallocate",
)
POSIX_SIGNALS = (
    "pthread_sigmask", "pthread_kill", "SIGKILL", "SIGHUP", "SIGALRM", "SIGUSR1", "SIGUSR2", "SIGWINCH",
    "SIGPIPE", "alarm",
)
# fmt: on
FORBIDDEN_IN_NAMES = set('<>:"|?*')


def only_spawn() -> None:
    """Worker processes are started anew, as on macOS and Windows."""
    spawn = {"spawn": context.SpawnContext()}
    context._concrete_contexts = spawn  # type: ignore[attr-defined]
    default = context.DefaultContext(spawn["spawn"])
    for name in ("get_context", "get_all_start_methods", "set_start_method", "get_start_method", "Process"):
        setattr(multiprocessing, name, getattr(default, name))
    context._default_context = default  # type: ignore[attr-defined]
    multiprocessing.get_all_start_methods = lambda: ["spawn"]  # type: ignore[assignment]


def no_proc() -> None:
    """There is no /proc: opening it fails, for Python's own calls and for pathlib."""

    def refusing(call: Any) -> Any:
        def opened(file: Any, *rest: Any, **named: Any) -> Any:
            if isinstance(file, str | bytes | os.PathLike) and os.fsdecode(file).startswith("/proc/"):
                raise FileNotFoundError(2, "No such file or directory", os.fsdecode(file))
            return call(file, *rest, **named)

        return opened

    builtins.open = io.open = refusing(io.open)
    os.open = refusing(os.open)
    os.listdir = refusing(os.listdir)


def is_open(path: str) -> bool:
    """Whether this process has the file open or mapped: Windows neither replaces nor removes it then."""
    with real_open("/proc/self/maps") as maps:
        mapped = {line.rstrip("\n").split(None, 5)[-1] for line in maps if line.count(" ") > 4}
    target = os.path.realpath(path)
    handles = real_listdir("/proc/self/fd")
    return target in mapped or any(
        os.path.lexists(link := f"/proc/self/fd/{each}") and os.readlink(link) == target for each in handles
    )


def windows_files() -> None:
    """A folder is not opened, an open file neither replaced nor removed, a name has no colon, nobody makes links."""
    plain_open, replace, rename, unlink, mkdir = os.open, os.replace, os.rename, os.unlink, os.mkdir

    def check_name(path: Any) -> None:
        name = os.path.basename(os.fsdecode(path).rstrip("/"))
        if set(name) & FORBIDDEN_IN_NAMES or (name.endswith((" ", ".")) and name not in (".", "..")):
            raise OSError(22, "Invalid argument", name)

    def os_open(path: Any, flags: int, *rest: Any, **named: Any) -> int:
        if os.path.isdir(path):
            raise PermissionError(13, "Permission denied", path)
        if flags & os.O_CREAT:
            check_name(path)
        return plain_open(path, flags, *rest, **named)

    def refuse_open(path: Any) -> None:
        if os.path.isfile(path) and is_open(os.fsdecode(path)):
            raise PermissionError(13, "The process cannot access the file: it is being used", path)

    def moved(call: Any, over: bool) -> Any:
        def move(source: Any, target: Any, **named: Any) -> None:
            refuse_open(source)
            refuse_open(target)
            check_name(target)
            if os.path.isdir(target) if over else os.path.lexists(target):
                raise FileExistsError(17, "File exists", target)
            call(source, target, **named)

        return move

    def os_unlink(path: Any, **named: Any) -> None:
        refuse_open(path)
        unlink(path, **named)

    def os_mkdir(path: Any, *rest: Any, **named: Any) -> None:
        check_name(path)
        mkdir(path, *rest, **named)

    def no_link(*_: Any, **__: Any) -> None:
        raise OSError(1314, "A required privilege is not held by the client")

    opened = io.open

    def io_open(file: Any, mode: str = "r", *rest: Any, **named: Any) -> Any:
        if isinstance(file, str | os.PathLike):
            if os.path.isdir(file):
                raise PermissionError(13, "Permission denied", str(file))
            if set(mode) & set("wxa"):
                check_name(file)
        return opened(file, mode, *rest, **named)

    builtins.open = io.open = io_open  # type: ignore[assignment]
    os.open, os.mkdir, os.symlink = os_open, os_mkdir, no_link  # type: ignore[assignment]
    os.replace, os.rename = moved(replace, True), moved(rename, False)
    os.unlink = os.remove = os_unlink  # type: ignore[assignment]


def no_library_of_the_program() -> None:
    """`CDLL(None)`, the program's own symbols, is no call that Windows knows."""
    load = ctypes.CDLL.__init__

    def loaded(self: Any, name: Any, *rest: Any, **named: Any) -> None:
        if name is None:
            raise TypeError("argument of type 'NoneType' is not iterable")
        load(self, name, *rest, **named)

    ctypes.CDLL.__init__ = loaded  # type: ignore[method-assign]


real_open, real_listdir = io.open, os.listdir
if HERE in ("macos", "windows"):
    only_spawn()
    no_proc()
    for call in ("sched_getaffinity", "sched_setaffinity"):
        delattr(os, call)
if HERE == "windows":
    windows_files()
    no_library_of_the_program()
    for module in POSIX_MODULES:
        sys.modules[module] = None  # type: ignore[assignment]
    for call in POSIX_CALLS:
        if hasattr(os, call):
            delattr(os, call)
    for each in POSIX_SIGNALS:
        if hasattr(signal, each):
            delattr(signal, each)
    pathlib.Path.symlink_to = lambda self, *_, **__: os.symlink()  # type: ignore[assignment,call-arg]
