"""The fixed cast, and the clients they use."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from project.accounts.models import User
from project.bridge.database.transactions import shared_test_connection
from tests.processes import PROBES, ROOT, SERVERS, Server, running
from tests.smtp import Sink, smtp_sink

StartServer = Callable[..., Server]

PASSWORD = "correct horse battery staple"


@pytest.fixture
def anyio_backend() -> str:
    """Asynchronous tests run on asyncio, as Daphne does."""
    return "asyncio"


@pytest.fixture(autouse=True)
def _embedded_mailbox(settings: Any) -> None:
    """Django's test runner puts a backend of its own in place of the real one: put it back."""
    settings.EMAIL_BACKEND = settings.MAILBOX_BACKEND


@pytest.fixture
def lent(db: None) -> Iterator[None]:
    """FastAPI and the engine work inside the test's own transaction; its rollback takes back what they wrote."""
    with shared_test_connection():
        yield


@pytest.fixture
def client(lent: None) -> TestClient:
    """The whole application, in this process and with no lifespan. The notes say it must work so too."""
    from project.asgi import application

    return TestClient(application, raise_server_exceptions=False)


@pytest.fixture
def owner(db: None) -> User:
    """An administrator."""
    return User.objects.create_superuser("owner", password=PASSWORD)


@pytest.fixture
def teammate(db: None) -> User:
    """Signs in, and may do nothing yet."""
    return User.objects.create_user("teammate", password=PASSWORD, is_staff=True)


@pytest.fixture
def sink() -> Iterator[Sink]:
    """An SMTP server at the other end."""
    with smtp_sink() as sink:
        yield sink


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data of a fresh installation, to be copied. Its administrator is `admin`, with PASSWORD."""
    folder = tmp_path_factory.mktemp("installation")
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "project.settings", "DATA_DIR": str(folder), "ADMIN_PASSWORD": PASSWORD}
    subprocess.run([sys.executable, "manage.py", "prepare"], cwd=ROOT, env=env, check=True)
    return folder


@pytest.fixture(scope="module")
def server_kind() -> str:
    """How `server` is started; a module may have others."""
    return "serve"


@pytest.fixture(scope="module")
def server(server_kind: str, installation: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Mailrail for all tests of a module. Its log must hold no traceback at the end."""
    folder = tmp_path_factory.mktemp(server_kind)
    data = shutil.copytree(installation, folder / "data")
    with running(SERVERS[server_kind], log=folder / "log", env={"DATA_DIR": str(data)}) as server:
        yield server
        assert "Traceback" not in server.log


@pytest.fixture
def data(installation: Path, tmp_path: Path) -> Path:
    """One installation's data. It survives a restart of the server within a test."""
    return Path(shutil.copytree(installation, tmp_path / "data"))


@pytest.fixture
def start(data: Path, tmp_path: Path) -> Iterator[StartServer]:
    """Start Mailrail as `serve`, `daphne`, `uvicorn` or `hypercorn` would, with further environment variables."""
    with ExitStack() as servers:

        def start_server(kind: str = "serve", **env: str) -> Server:
            command, log = SERVERS[kind], tmp_path / f"log.{kind}"
            return servers.enter_context(running(command, log=log, env={"DATA_DIR": str(data), **env}))

        yield start_server


@pytest.fixture
def probe(tmp_path: Path) -> Iterator[StartServer]:
    """Start the bridge alone, around the small application of tests/servers/probe.py."""
    with ExitStack() as servers:

        def start_server(kind: str = "serve", *options: str, **env: str) -> Server:
            command, log = [*PROBES[kind][:-1], *options, PROBES[kind][-1]], tmp_path / f"log.{kind}"
            return servers.enter_context(running(command, log=log, env={"DATA_DIR": str(tmp_path), **env}))

        yield start_server
