"""Servers of the bridge without Mailrail."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.processes import BRIDGE_APP_SERVERS, Server, running


@pytest.fixture
def start_bridge_app(tmp_path: Path) -> Iterator[StartServer]:
    """Return a function that starts the bridge without Mailrail, around the application in tests/servers/bridge/bridge_app.py."""
    with ExitStack() as servers:

        def start_server(kind: str = "serve", *options: str, **env: str) -> Server:
            return servers.enter_context(_running_bridge_app(kind, options, env, tmp_path))

        yield start_server


@pytest.fixture(scope="module")
def share_bridge_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartServer]:
    """Return a function that starts such a server once for all tests of a module with the same environment variables.

    It is for tests that do not stop the server, and whose assertions about its log hold with the lines of the other tests.
    """
    started: dict[frozenset[tuple[str, str]], Server] = {}
    with ExitStack() as servers:

        def share_server(**env: str) -> Server:
            key = frozenset(env.items())
            if key not in started:
                started[key] = servers.enter_context(_running_bridge_app("serve", (), env, tmp_path_factory.mktemp("bridge")))
            return started[key]

        yield share_server


def _running_bridge_app(kind: str, options: Sequence[str], env: dict[str, str], folder: Path) -> AbstractContextManager[Server]:
    *command, application = BRIDGE_APP_SERVERS[kind]
    log = folder / f"log.{kind}"
    return running([*command, *options, application], log=log, env={"DATA_DIR": str(folder), **env})
