"""Real server processes for tests: started on a free port with data of their own, and ended by their id."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 60.0  # seconds until what must happen is taken not to happen

BASE_ENV = {"DJANGO_SETTINGS_MODULE": "project.settings", "PYTHONUNBUFFERED": "1"}

SERVERS = {
    "serve": ["manage.py", "serve", "-b", "127.0.0.1", "-p", "{port}"],
    "daphne": ["-m", "daphne", "-b", "127.0.0.1", "-p", "{port}", "project.asgi:application"],
    "uvicorn": ["-m", "uvicorn", "--host", "127.0.0.1", "--port", "{port}", "project.asgi:application"],
    "hypercorn": ["-m", "hypercorn", "--bind", "127.0.0.1:{port}", "project.asgi:application"],
}
PROBES = {
    "serve": ["-m", "tests.servers.bridge_app", "-b", "127.0.0.1", "-p", "{port}", "tests.servers.bridge_app:application"],
    "daphne": ["-m", "daphne", "-b", "127.0.0.1", "-p", "{port}", "tests.servers.bridge_app:application"],
    "uvicorn": ["-m", "uvicorn", "--host", "127.0.0.1", "--port", "{port}", "tests.servers.bridge_app:application"],
}


class Server:
    """A running server process. `log` is all it has said so far.

    With a session of its own, as a service has, it does not share its part of the processor with the tests.
    """

    def __init__(self, command: list[str], *, log: Path, env: dict[str, str], cwd: Path = ROOT, own_session: bool = True) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.ws_url = f"ws://127.0.0.1:{self.port}"
        self._log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, *(part.format(port=self.port) for part in command)],
                cwd=cwd,
                env={**os.environ, **BASE_ENV, "PORT": str(self.port), **env},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=own_session,
            )

    @property
    def log(self) -> str:
        """Its output."""
        return self._log.read_text()

    @property
    def listens(self) -> bool:
        """Whether it takes connections."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def wait_until_it_listens(self) -> None:
        """Return when it takes connections; raise with its log if it never does."""

        def listens() -> bool:
            if self.process.poll() is not None:
                raise AssertionError(f"The server ended with {self.process.returncode}:\n{self.log}")
            return self.listens

        wait_for(listens, "the server listens")

    def wait_for_log(self, text: str, *, times: int = 1) -> None:
        """Return when its log holds `text`."""
        wait_for(lambda: self.log.count(text) >= times, f"the log says {text!r}", lambda: self.log)

    def terminate(self) -> int:
        """Send SIGTERM. Gives the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """Send SIGKILL."""
        self.process.kill()
        self.wait()

    def wait(self) -> int:
        """Wait until it has ended. Gives the exit code."""
        return self.process.wait(PATIENCE)

    def get(self, path: str, **options: Any) -> httpx.Response:
        """One GET on a connection of its own, with httpx's options."""
        return httpx.get(self.url + path, timeout=PATIENCE, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        """One POST on a connection of its own, with httpx's options."""
        return httpx.post(self.url + path, timeout=PATIENCE, **options)

    def client(self, **options: Any) -> httpx.Client:
        """For several requests, with httpx's options."""
        return httpx.Client(base_url=self.url, timeout=PATIENCE, **options)


@contextmanager
def running(
    command: list[str], *, log: Path, env: dict[str, str], cwd: Path = ROOT, own_session: bool = True
) -> Iterator[Server]:
    """A server that listens; ended, if it still runs, at the end of the block."""
    server = Server(command, log=log, env=env, cwd=cwd, own_session=own_session)
    try:
        server.wait_until_it_listens()
        yield server
    finally:
        if server.process.poll() is None:
            server.process.terminate()
        try:
            server.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            server.process.kill()
            server.process.wait()
            raise


def wait_for(condition: Callable[[], bool], what: str, told: Callable[[], str] = str) -> None:
    """Return as soon as `condition()` holds; fail if it does not for `PATIENCE` seconds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"Waited {PATIENCE:g} s in vain until {what}. {told()}")
        time.sleep(0.02)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
