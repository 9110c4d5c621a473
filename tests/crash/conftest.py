"""What is killed, and what sends meanwhile."""

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
    """Send so many mails to an installation, which may have further environment variables."""
    with ExitStack() as loads:

        def start_load(goal: int, **env: str) -> LoadGenerator:
            command = ["manage.py", "create_api_key", "load", "--scope", "emails:send", "--scope", "emails:read"]
            load = LoadGenerator(_output(command, DATA_DIR=str(data), **env), goal)
            loads.callback(load.stop)
            return load

        yield start_load


@pytest.fixture
def deliver(data: Path, tmp_path: Path) -> Iterator[StartDeliver]:
    """Start an engine as a process of its own."""
    with ExitStack() as engines:

        def start_deliver(name: str = "deliver", **env: str) -> Server:
            return engines.enter_context(_delivering(tmp_path / f"log.{name}", DATA_DIR=str(data), **env))

        yield start_deliver


@contextmanager
def _delivering(log: Path, **env: str) -> Iterator[Server]:
    engine = Server(["manage.py", "deliver"], log=log, env=env)
    try:
        yield engine
    finally:
        engine.terminate()


def _output(command: list[str], **env: str) -> str:
    environment = {**os.environ, **BASE_ENV, **env}
    run = subprocess.run([sys.executable, *command], cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    return run.stdout.strip()
