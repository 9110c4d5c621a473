"""Fixtures of the crash tests: the load generator, and `manage.py deliver` processes."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.crash.load_generator import LoadGenerator
from tests.processes import BASE_ENV, ROOT, Server

StartLoad = Callable[..., LoadGenerator]
StartDeliver = Callable[..., Server]


@pytest.fixture
def load(data: Path) -> Iterator[StartLoad]:
    """Return a function that starts to send `goal` emails. Environment variables select the installation's database."""
    with ExitStack() as loads:

        def start_load(goal: int, **env: str) -> LoadGenerator:
            command = ["manage.py", "create_api_key", "load", "--scope", "emails:send", "--scope", "emails:read"]
            load = LoadGenerator(_output(command, DATA_DIR=str(data), **env), goal)
            loads.callback(load.stop)
            return load

        yield start_load


@pytest.fixture
def deliver(data: Path, tmp_path: Path) -> Iterator[StartDeliver]:
    """Return a function that starts `manage.py deliver`."""
    with ExitStack() as processes:

        def start_deliver(name: str = "deliver", **env: str) -> Server:
            return processes.enter_context(_delivering(tmp_path / f"log.{name}", DATA_DIR=str(data), **env))

        yield start_deliver


@contextmanager
def _delivering(log: Path, **env: str) -> Iterator[Server]:
    process = Server(["manage.py", "deliver"], log=log, env=env)
    try:
        yield process
    finally:
        process.terminate()


def _output(command: list[str], **env: str) -> str:
    environment = {**os.environ, **BASE_ENV, **env}
    completed = subprocess.run([sys.executable, *command], cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    return completed.stdout.strip()
