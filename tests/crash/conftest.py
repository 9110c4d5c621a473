"""Fixtures of the crash tests: the load generator, and `manage.py deliver` processes."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.crash.load_generator import LoadGenerator
from tests.processes import Server

StartLoad = Callable[..., LoadGenerator]
StartDeliver = Callable[..., Server]


@pytest.fixture
def load(api_keys: list[str]) -> Iterator[StartLoad]:
    """Return a function that starts to send `goal` emails, by default with a key of the installation."""
    with ExitStack() as loads:

        def start_load(goal: int, key: str = api_keys[0]) -> LoadGenerator:
            load = LoadGenerator(key, goal)
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
