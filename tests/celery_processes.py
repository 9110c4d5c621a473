"""Mailrail with Celery: a server, Celery workers and Celery beat as real processes, which share a database and a broker."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from celery import Celery

from tests.databases import query
from tests.processes import SERVERS, WAIT_TIMEOUT_SECONDS, Server, running
from tests.servers.api.test_live_events import EMAIL, create_key, manage, send

SETTINGS = "tests.servers.delivery.celery_settings"  # a worker polls by itself only with POLL_SECONDS
READY = "ready."


class CeleryInstallation:
    """A server, and functions that start Celery's processes beside it. Each process has a log of its own."""

    def __init__(self, data: Path, logs: Path, processes: ExitStack, *, broker_url: str, relay_url: str) -> None:
        self.data, self.broker_url = data, broker_url
        self._logs = logs
        self._started: list[Server] = []
        self._env = {
            "DATA_DIR": str(data),
            "DELIVERY_WORKER": "celery",
            "CELERY_BROKER_URL": broker_url,
            "EMAIL_URL": relay_url,
            "DJANGO_SETTINGS_MODULE": SETTINGS,
        }
        self._key = create_key(data)
        self.server = processes.enter_context(running(SERVERS["serve"], log=logs / "log.serve", env=self._env))

    def worker(self, *options: str, **env: str) -> Server:
        """Start a Celery worker, and wait until it consumes."""
        worker = self.start("worker", "--loglevel=INFO", f"--hostname=worker{len(self._started)}@%h", *options, **env)
        worker.wait_for_log(READY)
        return worker

    def start(self, *command: str, **env: str) -> Server:
        """Start a command of Celery."""
        line, log = ["-m", "celery", "-A", "project", *command], self._logs / f"log.{command[0]}{len(self._started)}"
        process = Server(line, log=log, env={**self._env, **env})
        self._started.append(process)
        return process

    def kill_started(self) -> None:
        """Kill the processes of Celery that still run."""
        for process in self._started:
            kill(process)

    def send(self, count: int = 1, **fields: str) -> None:
        """Send emails in one batch."""
        send(self.server, self._key, count, EMAIL | fields)

    def submit(self, count: int = 1) -> None:
        """Queue emails in a process that publishes no wake."""
        code = "from project.emails.submit import submit_plain_text_email as submit\n"
        manage(self.data, "shell", "-c", f"{code}for _ in range({count}): submit(address='ada@example.com', text='Hi')")

    def unsent(self) -> int:
        """Return how many emails are not sent yet."""
        ((count,),) = query(self.data, "SELECT count(*) FROM emails_email WHERE status != 'sent'")
        return int(count)

    def control(self, command: str, **arguments: Any) -> None:
        """Send a command to all Celery workers, as Flower does."""
        with Celery("flower", broker=self.broker_url, set_as_current=False) as app:
            app.control.broadcast(command, arguments=arguments, reply=command != "shutdown", timeout=5)

    @property
    def delivery_check(self) -> str:
        """The result of the readiness check of delivery."""
        return str(self.server.get("/api/health/ready").json()["checks"]["delivery"])


def kill(process: Server) -> None:
    """Send SIGKILL to a process and those that it has started."""
    if process.process.poll() is None:
        os.killpg(process.process.pid, signal.SIGKILL)
        process.process.wait(WAIT_TIMEOUT_SECONDS)


def pool_processes(worker: Server) -> list[int]:
    """Return the process ids of the worker's prefork pool."""
    children = Path(f"/proc/{worker.process.pid}/task").glob("*/children")
    return [int(number) for path in children for number in path.read_text().split()]


@contextmanager
def celery_installation(data: Path, logs: Path, **urls: str) -> Iterator[CeleryInstallation]:
    """Run the server of an installation. At the end of the block, kill the processes that still run."""
    with ExitStack() as processes:
        installation = CeleryInstallation(data, logs, processes, **urls)
        processes.callback(installation.kill_started)
        yield installation
