"""Without being asked to, no command opens a connection."""

import socket
from pathlib import Path
from typing import Any

import pytest

from gradlab.cli.main import main


@pytest.mark.slow
def test_no_command_opens_a_connection_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any, **__: Any) -> Any:
        raise AssertionError("a connection was opened")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    monkeypatch.chdir(tmp_path)
    small = ["--depth", "2", "--width", "4", "--steps", "3", "--seeds", "1", "--quiet"]
    assert main(["run", "--activation", "relu", *small, "--out", "out"]) == 0
    for command in (
        ["diagnose", "out"],
        ["report", "out"],
        ["theory", "--activation", "tanh"],
        ["list", "verdicts"],
        ["env"],
    ):
        assert main(command) == 0, command
    with pytest.raises(AssertionError, match="connection"):
        socket.create_connection(("127.0.0.1", 9))
