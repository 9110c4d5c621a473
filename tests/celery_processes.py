"""Mailrail with Celery: a server, Celery workers and Celery beat as real processes, which share a database and a broker."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.processes import SERVERS, WAIT_TIMEOUT_SECONDS, Server, running
from tests.servers.api.test_live_events import create_key, manage

SETTINGS = "tests.servers.delivery.celery_settings"  # a worker polls by itself only with POLL_SECONDS
READY = "ready."


class CeleryInstallation:
    """The processes of one test. Each process has a log of its own."""

    def __init__(self, data: Path, logs: Path, processes: ExitStack, **env: str) -> None:
        self.key = create_key(data)
        self._logs, self._processes = logs, processes
        self._env = {"DATA_DIR": str(data), "DELIVERY_WORKER": "celery", "DJANGO_SETTINGS_MODULE": SETTINGS, **env}
        self._data = data

    def serve(self, **env: str) -> Server:
        """Start `manage.py serve`."""
        command, log = SERVERS["serve"], self._logs / "log.serve"
        return self._processes.enter_context(running(command, log=log, env={**self._env, **env}))

    def worker(self, *options: str, name: str = "worker", **env: str) -> Server:
        """Start a Celery worker, and wait until it consumes."""
        options = ("--loglevel=INFO", f"--hostname={name}@%h", *options)
        worker = self._start(["worker", *options], name, env)
        worker.wait_for_log(READY)
        return worker

    def beat(self, **env: str) -> Server:
        """Start Celery beat."""
        return self._start(["beat"], "beat", env)

    def submit(self, count: int) -> None:
        """Queue emails in a process that publishes no wake."""
        code = "from project.emails.submit import submit_plain_text_email as submit\n"
        manage(self._data, "shell", "-c", f"{code}for _ in range({count}): submit(address='ada@example.com', text='Hi')")

    def heartbeats(self) -> int:
        """Return how many delivery workers have a heartbeat."""
        code = "from project.delivery.models import WorkerHeartbeat as W; print(W.objects.count())"
        return int(manage(self._data, "shell", "-v", "0", "-c", code))

    def _start(self, command: list[str], name: str, env: dict[str, str]) -> Server:
        process = Server(["-m", "celery", "-A", "project", *command], log=self._logs / f"log.{name}", env={**self._env, **env})
        self._processes.callback(stop, process)
        return process


def stop(process: Server) -> None:
    """Stop a process and those that it has started."""
    if process.process.poll() is None:
        os.killpg(process.process.pid, signal.SIGKILL)
        process.process.wait(WAIT_TIMEOUT_SECONDS)


def pool_processes(worker: Server) -> list[int]:
    """Return the process ids of the worker's prefork pool."""
    children = Path(f"/proc/{worker.process.pid}/task").glob("*/children")
    return [int(number) for path in children for number in path.read_text().split()]


@contextmanager
def celery_installation(data: Path, logs: Path, **env: str) -> Iterator[CeleryInstallation]:
    """Return an installation without processes. At the end of the block, kill the processes that still run."""
    with ExitStack() as processes:
        yield CeleryInstallation(data, logs, processes, **env)
