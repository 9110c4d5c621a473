"""Shared fixtures: users, clients, an SMTP sink, and real servers."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from starlette.testclient import TestClient

from project.accounts.models import User
from project.bridge.database import transactions
from project.events import commit_order
from tests.databases import USES_POSTGRESQL, copy_installation, disconnect_all, remove_database
from tests.mailers import use_backend
from tests.processes import (
    ROOT,
    SERVERS,
    Server,
    process_env,
    processes_without_coverage,
    running,
    start_processes_with_a_bytecode_cache,
    start_processes_with_default_signals,
)
from tests.smtp import Sink, smtp_sink

StartServer = Callable[..., Server]

DATABASE_FIXTURES = {"db", "transactional_db", "installation"}

PASSWORD = "correct horse battery staple"
SHARED_API_KEYS = 5  # the installation also has a key for each test of a module that uses the fixture `api_key`
API_KEY_FIXTURE = "api_key"
API_SCOPES = ("emails:send", "emails:read", "events:read")
# One process does everything, because the start of a process takes longer than the work.
PREPARE_AND_CREATE_KEYS = """
import sys, django
django.setup()
from django.core.management import call_command
call_command("prepare")
for number in range(int(sys.argv[1])):
    call_command("create_api_key", f"key {number}", *sys.argv[2:])
"""


# A measured server uses half as much CPU time again. The other tests in tests/servers measure the code that runs only in servers.
# The tests below start many processes, or read files instead of running code.
NOT_MEASURED = (
    "tests/browser",
    "tests/crash",
    "tests/deploy",
    "tests/servers/api",
    "tests/servers/delivery/test_delivery.py",
    "tests/servers/delivery/test_relays.py",
    "tests/servers/security",
    "tests/servers/test_startup.py",
    "tests/test_architecture.py",
    "tests/test_docs.py",
    "tests/test_docs_architecture.py",
    "tests/test_language.py",
    "tests/upgrade",
)


# A worker that started one of these modules last would work long after the other workers have finished.
LONG_TESTS = ("tests/crash", "tests/upgrade", "tests/chaos", "tests/servers/delivery/test_celery.py")


def pytest_configure() -> None:
    """Prepare this process, before any test starts another one."""
    start_processes_with_default_signals()
    start_processes_with_a_bytecode_cache()


@pytest.hookimpl(tryfirst=True)  # before pytest selects tests by their markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that use the database, and exclude others from the measurement of coverage.

    Also let the workers of pytest-xdist begin with the longest modules.
    """
    for item in items:
        if _is_in(NOT_MEASURED, item.path):
            item.add_marker("no_cover")
        # In this process, or in a server that is started with a copy of the installation.
        if DATABASE_FIXTURES & set(getattr(item, "fixturenames", ())) or item.get_closest_marker("django_db"):
            item.add_marker("database")
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: not _is_in(LONG_TESTS, item.path))


@cache
def _is_in(paths: tuple[str, ...], module: Path) -> bool:
    return any(module.is_relative_to(ROOT / path) for path in paths)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Exclude also the processes that such a test and its fixtures start. pytest-cov itself pauses only in this process."""
    with processes_without_coverage() if item.get_closest_marker("no_cover") else nullcontext():
        return (yield)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test that is about SQLite if the tests use PostgreSQL."""
    mark = item.get_closest_marker("sqlite_only")
    if mark is not None and USES_POSTGRESQL:
        pytest.skip(f"only on SQLite: {mark.args[0]}")


@pytest.fixture
def anyio_backend() -> str:
    """Run asynchronous tests on asyncio, as Daphne does."""
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def _slow_transactions() -> Iterator[None]:
    """Let a test's own transaction stand still for as long as the test runs, which would end a writer's connection."""
    with pytest.MonkeyPatch.context() as patch:
        statement = commit_order._ANNOUNCE_WRITER.replace(f"'{commit_order.MAX_PAUSE_BEFORE_COMMIT}'", "'0'")
        patch.setattr(commit_order, "_ANNOUNCE_WRITER", statement)
        yield


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None) -> Iterator[None]:
    """Close the connections of threads at the end, because PostgreSQL removes no database that is in use."""
    yield
    transactions.close_threads()
    disconnect_all(connection.settings_dict["NAME"])


@pytest.fixture(autouse=True)
def _embedded_mailbox(settings: Any) -> None:
    """Restore the embedded mailbox, which Django's test runner replaces with its own email backend."""
    use_backend(settings, settings.MAILBOX_BACKEND)


@pytest.fixture
def shared_test_connection(db: None) -> Iterator[None]:
    """Run the code of FastAPI and the delivery worker in the test's transaction, which is rolled back after the test."""
    with transactions.shared_test_connection():
        yield


@pytest.fixture
def client(shared_test_connection: None) -> TestClient:
    """Return a client of the whole application. The lifespan does not run, because the application must work without it."""
    from project.asgi import application

    return TestClient(application, raise_server_exceptions=False)


@pytest.fixture
def owner(db: None) -> User:
    """Return an administrator."""
    return User.objects.create_superuser("owner", password=PASSWORD)


@pytest.fixture
def teammate(db: None) -> User:
    """Return a staff user without permissions."""
    return User.objects.create_user("teammate", password=PASSWORD, is_staff=True)


@pytest.fixture
def sink() -> Iterator[Sink]:
    """Run an SMTP server that stores the emails it receives."""
    with smtp_sink() as sink:
        yield sink


def prepare_installation(env: dict[str, str], keys: int = 1) -> list[str]:
    """Run `manage.py prepare`, and return new API keys. The administrator `admin` has the password PASSWORD."""
    env = process_env({"ADMIN_PASSWORD": PASSWORD, **env})
    command = [sys.executable, "-c", PREPARE_AND_CREATE_KEYS, str(keys), *(f"--scope={scope}" for scope in API_SCOPES)]
    return subprocess.run(command, cwd=ROOT, env=env, check=True, stdout=subprocess.PIPE, text=True).stdout.split()


@pytest.fixture(scope="session")
def _installed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    folder = tmp_path_factory.mktemp("installation")
    uses = Counter(item.path for item in request.session.items if API_KEY_FIXTURE in getattr(item, "fixturenames", ()))
    return folder, prepare_installation({"DATA_DIR": str(folder)}, SHARED_API_KEYS + max(uses.values(), default=0))


@pytest.fixture(scope="session")
def installation(_installed: tuple[Path, list[str]]) -> Path:
    """Return the data directory of a new installation, which tests copy. The administrator `admin` has the password PASSWORD."""
    return _installed[0]


@pytest.fixture(scope="session")
def api_keys(_installed: tuple[Path, list[str]]) -> list[str]:
    """Return API keys of the installation that all tests may use. Each key has the scopes API_SCOPES."""
    return _installed[1][:SHARED_API_KEYS]


@pytest.fixture(scope="module")
def _unused_api_keys(_installed: tuple[Path, list[str]]) -> Iterator[str]:
    return iter(_installed[1][SHARED_API_KEYS:])


@pytest.fixture
def api_key(_unused_api_keys: Iterator[str]) -> str:
    """Return an API key of the installation that no other test of the module uses, so that the tests can share a server."""
    key = next(_unused_api_keys, None)
    assert key is not None, (
        f"The tests that use `{API_KEY_FIXTURE}` are counted by the names of their fixtures. Do not use getfixturevalue."
    )
    return key


@pytest.fixture(scope="module")
def server_kind() -> str:
    """Return the kind of server that the fixture `server` starts. A test module may override this fixture."""
    return "serve"


@pytest.fixture(scope="module")
def server_env() -> dict[str, str]:
    """Return environment variables for the fixture `server`. A test module may override this fixture."""
    return {}


@pytest.fixture(scope="module")
def server(
    server_kind: str, server_env: dict[str, str], installation: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """Run Mailrail for all tests of a module, and check at the end that the server's log has no traceback."""
    with run_server(server_kind, server_env, installation, tmp_path_factory.mktemp(server_kind)) as server:
        yield server


@contextmanager
def run_server(kind: str, env: dict[str, str], installation: Path, folder: Path) -> Iterator[Server]:
    """Run Mailrail with a copy of the installation, and check at the end that the server's log has no traceback."""
    data = copy_installation(installation, folder / "data")
    with running(SERVERS[kind], log=folder / "log", env={"DATA_DIR": str(data), **env}) as server:
        yield server
        assert "Traceback" not in server.log
    remove_database(data)


@pytest.fixture
def data(installation: Path, tmp_path: Path) -> Iterator[Path]:
    """Return the data directory of an installation. The data survives a restart of the server within a test."""
    yield copy_installation(installation, tmp_path / "data")
    remove_database(tmp_path / "data")


@pytest.fixture
def start(data: Path, tmp_path: Path) -> Iterator[StartServer]:
    """Return a function that starts Mailrail with a kind of server in `SERVERS` and with environment variables."""
    with ExitStack() as servers:

        def start_server(kind: str = "serve", **env: str) -> Server:
            command, log = SERVERS[kind], tmp_path / f"log.{kind}"
            return servers.enter_context(running(command, log=log, env={"DATA_DIR": str(data), **env}))

        yield start_server
