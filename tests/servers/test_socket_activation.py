"""`manage.py serve` under systemd: clients that connect during a restart wait for an answer, and systemd knows its state."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx

from project.bridge.processes.listening_sockets import open_tcp_socket
from tests.processes import WAIT_TIMEOUT_SECONDS, Server

# Does what systemd does before it starts a service: the socket becomes file descriptor 3, and the variables describe it.
LAUNCHER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.executable, [sys.executable, "manage.py", "serve", *sys.argv[2:]])
"""


@contextmanager
def started(listener: socket.socket, data: Path, log: Path, *options: str) -> Iterator[None]:
    """Start the server on the socket, as systemd does, and stop it at the end of the block. Check that it notifies systemd."""
    command = ["-c", LAUNCHER, str(listener.fileno()), *options]
    address = f"{log}.notify"
    env = {"DATA_DIR": str(data), "DELIVERY_WORKER": "external", "NOTIFY_SOCKET": address}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(address)
        systemd.settimeout(WAIT_TIMEOUT_SECONDS)
        server = Server(command, log=log, env=env, pass_fds=[listener.fileno()])
        try:
            assert systemd.recv(100) == b"READY=1"
            yield
        finally:
            assert server.terminate() == 0, server.log
        assert systemd.recv(100) == b"STOPPING=1"


def test_a_client_that_connects_during_a_restart_is_answered(data: Path, tmp_path: Path) -> None:
    with open_tcp_socket("127.0.0.1", 0) as listener, ThreadPoolExecutor() as threads:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/api/health/live"
        with started(listener, data, tmp_path / "log.first"):
            before = httpx.get(url, timeout=WAIT_TIMEOUT_SECONDS)

        waiting = threads.submit(httpx.get, url, timeout=WAIT_TIMEOUT_SECONDS)
        with started(listener, data, tmp_path / "log.second", "--processes", "1"):
            assert (before.status_code, waiting.result().status_code) == (200, 200)
