"""Real server processes for tests. Each process runs on a free port with its own data, and is stopped by its process id."""

import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.databases import environment_of

ROOT = Path(__file__).resolve().parents[1]
WAIT_TIMEOUT_SECONDS = 60.0  # a test fails if an expected event has not happened after this time

# httpx would otherwise read all CA certificates for each request, which takes longer than most requests of the tests.
TLS = ssl.create_default_context()

BASE_ENV = {"DJANGO_SETTINGS_MODULE": "project.settings", "PYTHONUNBUFFERED": "1"}

SERVERS = {
    "serve": ["manage.py", "serve", "-b", "127.0.0.1", "-p", "{port}"],
    "processes": ["manage.py", "serve", "-b", "127.0.0.1", "-p", "{port}", "--processes", "2"],
    "daphne": ["-m", "daphne", "-b", "127.0.0.1", "-p", "{port}", "project.asgi:application"],
    "uvicorn": ["-m", "uvicorn", "--host", "127.0.0.1", "--port", "{port}", "project.asgi:application"],
    "hypercorn": ["-m", "hypercorn", "--bind", "127.0.0.1:{port}", "project.asgi:application"],
}
# The commands that serve the bridge without Mailrail. The last argument is the application.
BRIDGE_APP = "tests.servers.bridge.bridge_app"
BRIDGE_APP_SERVERS = {
    "serve": ["-m", BRIDGE_APP, "-b", "127.0.0.1", "-p", "{port}", f"{BRIDGE_APP}:application"],
    "daphne": ["-m", "daphne", "-b", "127.0.0.1", "-p", "{port}", f"{BRIDGE_APP}:application"],
    "uvicorn": ["-m", "uvicorn", "--host", "127.0.0.1", "--port", "{port}", f"{BRIDGE_APP}:application"],
}

COVERAGE_VARIABLE = "COVERAGE_PROCESS_CONFIG"  # coverage.py measures a process that has it
INHERITED_SIGNALS = (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


def start_processes_with_default_signals() -> None:
    """Let the processes that tests start react to signals, even if this process ignores them.

    A shell starts background jobs with SIGINT ignored, and nohup with SIGHUP ignored. Ignored signals are inherited, but handlers
    are reset to the default when a program starts (POSIX, `exec`). This process goes on to ignore the signals.
    """
    for number in INHERITED_SIGNALS:
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


def start_processes_with_a_bytecode_cache() -> None:
    """Let the processes that tests start cache bytecode, even if the environment of this process forbids it.

    Images of Python often set the variable. Without the cache, each process compiles the whole project again.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@contextmanager
def processes_without_coverage() -> Iterator[None]:
    """Start processes without a measurement of coverage until the end of the `with` block."""
    config = os.environ.pop(COVERAGE_VARIABLE, None)
    try:
        yield
    finally:
        if config is not None:
            os.environ[COVERAGE_VARIABLE] = config


@dataclass(frozen=True)
class Host:
    """Where a server process runs: the address at which it listens, and the command that starts a program there."""

    address: str = "127.0.0.1"
    command: Sequence[str] = ()


THIS_HOST = Host()


def process_env(env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a process that runs with these variables, and with the database of its data directory."""
    return {**os.environ, **BASE_ENV, **env, **environment_of(env)}


class Server:
    """A running server process.

    By default, the process has its own session, as a service does, so that the kernel schedules it independently of the tests.
    """

    def __init__(
        self,
        command: list[str],
        *,
        log: Path,
        env: dict[str, str],
        cwd: Path = ROOT,
        own_session: bool = True,
        pass_fds: Sequence[int] = (),
        host: Host = THIS_HOST,
    ) -> None:
        self.port = free_port()
        self.address = host.address
        self.url = f"http://{host.address}:{self.port}"
        self.ws_url = f"ws://{host.address}:{self.port}"
        self.env = env
        self._log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [*host.command, sys.executable, *(part.format(port=self.port) for part in command)],
                cwd=cwd,
                env=process_env({"PORT": str(self.port), **env}),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=own_session,
                pass_fds=pass_fds,
            )

    @property
    def log(self) -> str:
        """The server's output so far, both stdout and stderr."""
        return self._log.read_text()

    @property
    def listens(self) -> bool:
        """Return whether the server accepts connections."""
        with socket.socket() as client:
            return client.connect_ex((self.address, self.port)) == 0

    def wait_until_it_listens(self) -> None:
        """Wait until the server accepts connections. Raises AssertionError if it exits first or does not listen in time."""

        def listens() -> bool:
            if self.process.poll() is not None:
                raise AssertionError(f"The server exited with {self.process.returncode}:\n{self.log}")
            return self.listens

        wait_for(listens, "the server listens")

    def wait_for_log(self, text: str, *, times: int = 1) -> None:
        """Wait until the server's log contains `text` at least `times` times."""
        wait_for(lambda: self.log.count(text) >= times, f"the log contains {text!r}", lambda: self.log)

    def terminate(self) -> int:
        """Send SIGTERM, and return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """Send SIGKILL."""
        self.process.kill()
        self.wait()

    def wait(self) -> int:
        """Wait until the server has exited, and return its exit code."""
        return self.process.wait(WAIT_TIMEOUT_SECONDS)

    def get(self, path: str, **options: Any) -> httpx.Response:
        """Send one GET request on a new connection, with httpx's options."""
        return httpx.get(self.url + path, timeout=WAIT_TIMEOUT_SECONDS, verify=TLS, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        """Send one POST request on a new connection, with httpx's options."""
        return httpx.post(self.url + path, timeout=WAIT_TIMEOUT_SECONDS, verify=TLS, **options)

    def client(self, **options: Any) -> httpx.Client:
        """Return a client for several requests, with httpx's options."""
        return httpx.Client(base_url=self.url, timeout=WAIT_TIMEOUT_SECONDS, verify=TLS, **options)


@contextmanager
def running(
    command: list[str], *, log: Path, env: dict[str, str], cwd: Path = ROOT, own_session: bool = True
) -> Iterator[Server]:
    """Run a server, and wait until it listens. At the end of the block, stop the server if it is still running."""
    server = Server(command, log=log, env=env, cwd=cwd, own_session=own_session)
    try:
        server.wait_until_it_listens()
        yield server
    finally:
        if server.process.poll() is None:
            server.process.terminate()
        try:
            server.process.wait(WAIT_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            server.process.kill()
            server.process.wait()
            raise


def wait_for(condition: Callable[[], bool], what: str, details: Callable[[], str] = str) -> None:
    """Wait until `condition()` is true. Raises AssertionError with `details()` after `WAIT_TIMEOUT_SECONDS`."""
    deadline = time.monotonic() + WAIT_TIMEOUT_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"Waited {WAIT_TIMEOUT_SECONDS:g} s in vain until {what}. {details()}")
        time.sleep(0.02)


def free_port() -> int:
    """Return a port that is not in use."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
