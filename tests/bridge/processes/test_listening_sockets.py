"""Listening sockets: of the supervisor, and of systemd."""

import os
import socket
from pathlib import Path

import pytest

from project.bridge.processes import listening_sockets
from project.bridge.processes.listening_sockets import open_tcp_socket, open_unix_socket, take_systemd_sockets


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "[::1]", "localhost"])
def test_listens_on_a_free_port(host: str) -> None:
    with open_tcp_socket(host, 0) as listener, socket.create_connection(listener.getsockname()[:2]):
        assert listener.getsockname()[1] > 0


def test_refuses_a_port_in_use() -> None:
    with open_tcp_socket("127.0.0.1", 0) as listener, pytest.raises(OSError, match="in use"):
        open_tcp_socket("127.0.0.1", listener.getsockname()[1])


def test_replaces_a_unix_socket_that_no_process_listens_on(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    open_unix_socket(path).close()

    with open_unix_socket(path), socket.socket(socket.AF_UNIX) as client:
        client.connect(path)


def test_refuses_a_unix_socket_in_use(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with open_unix_socket(path), pytest.raises(OSError, match="in use"):
        open_unix_socket(path)


def test_replaces_no_other_file(tmp_path: Path) -> None:
    path = tmp_path / "important"
    path.write_text("data")

    with pytest.raises(OSError, match="in use"):
        open_unix_socket(str(path))
    assert path.read_text() == "data"


def test_takes_the_sockets_of_systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    with open_tcp_socket("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        monkeypatch.setattr(listening_sockets, "FIRST_SYSTEMD_FD", os.dup(listener.fileno()))
        environ = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "http", "PATH": ""}

        [taken] = take_systemd_sockets(environ)

    with taken:
        assert taken.getsockname()[1] == port
    assert environ == {"PATH": ""}


@pytest.mark.parametrize("environ", [{}, {"LISTEN_PID": "1", "LISTEN_FDS": "1"}, {"LISTEN_PID": "", "LISTEN_FDS": ""}])
def test_takes_no_sockets_that_are_for_another_process(environ: dict[str, str]) -> None:
    assert take_systemd_sockets(environ) == []
