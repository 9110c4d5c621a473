"""Listening sockets that several processes share: opened by the supervisor, or passed by systemd (socket activation)."""

import os
import socket
from collections.abc import MutableMapping, Sequence
from contextlib import suppress
from pathlib import Path
from stat import S_ISSOCK

BACKLOG = 2048  # connections that wait to be accepted; Linux allows at most net.core.somaxconn
FIRST_SYSTEMD_FD = 3  # SD_LISTEN_FDS_START of sd_listen_fds(3)
UNIX_SOCKET_MODE = 0o666  # as Daphne's own Unix sockets; the permissions of the directory limit the access


def open_tcp_socket(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises OSError, for example if the port is in use."""
    family, *_, address = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def open_unix_socket(path: str) -> socket.socket:
    """Return a listening Unix socket. Replaces a socket that no process listens on. Raises OSError."""
    _remove_stale_socket(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(path)
        Path(path).chmod(UNIX_SOCKET_MODE)
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def inherit_sockets(fds: Sequence[int]) -> list[socket.socket]:
    """Return the listening sockets with these file descriptors. Raises OSError if one is not a socket."""
    sockets = [socket.socket(fileno=fd) for fd in fds]
    for each in sockets:
        each.setblocking(False)
    return sockets


def take_systemd_sockets(environ: MutableMapping[str, str]) -> list[socket.socket]:
    """Return the sockets that systemd passed to this process (sd_listen_fds(3)), and remove the variables that describe them."""
    pid, count = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "")
    environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdecimal():
        return []
    sockets = inherit_sockets(range(FIRST_SYSTEMD_FD, FIRST_SYSTEMD_FD + int(count)))
    for each in sockets:
        os.set_inheritable(each.fileno(), False)  # only the processes that serve requests inherit the sockets
    return sockets


def _remove_stale_socket(path: str) -> None:
    with suppress(FileNotFoundError):
        if not S_ISSOCK(Path(path).stat().st_mode):
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            try:
                client.connect(path)
            except ConnectionRefusedError:
                Path(path).unlink()
