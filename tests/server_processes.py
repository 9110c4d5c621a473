"""The processes of `serve --processes N`, and which process serves a connection. Reads /proc, so it needs Linux."""

import socket
from contextlib import suppress
from pathlib import Path

from tests.processes import Server

ESTABLISHED = "01"  # the state of a connection in /proc/net/tcp


def child_processes(pid: int, word: str) -> list[int]:
    """Return the ids of a process's children whose command line contains `word`."""
    children = [int(child) for path in Path(f"/proc/{pid}/task").glob("*/children") for child in path.read_text().split()]
    return [child for child in children if word.encode() in _read_bytes(Path(f"/proc/{child}/cmdline"))]


def web_processes(server: Server) -> set[int]:
    """Return the ids of the server processes."""
    return set(child_processes(server.process.pid, "--listen-fds"))


def serving_process(server: Server, connection: socket.socket) -> int:
    """Return the id of the process that accepted this connection."""
    port = connection.getsockname()[1]
    connections = Path(f"/proc/{server.process.pid}/net/tcp").read_text()  # the server may run in a network namespace
    inode = next(
        fields[9]
        for fields in map(str.split, connections.splitlines()[1:])
        if fields[3] == ESTABLISHED and fields[1].endswith(f":{server.port:04X}") and fields[2].endswith(f":{port:04X}")
    )
    for pid in web_processes(server):
        if f"socket:[{inode}]" in _open_files(pid):
            return pid
    raise AssertionError(f"No server process has accepted the connection from port {port}")


def _open_files(pid: int) -> set[str]:
    files = set()
    for path in Path(f"/proc/{pid}/fd").glob("*"):
        with suppress(FileNotFoundError):
            files.add(str(path.readlink()))
    return files


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:  # the process has ended
        return b""
