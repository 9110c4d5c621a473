"""Events on PostgreSQL are read in commit order, although PostgreSQL assigns ids before the commit, and no writer waits."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import pytest

from tests.conftest import prepare_installation
from tests.postgresql import PostgreSQL, cluster, program
from tests.processes import BASE_ENV, ROOT, SERVERS, Server, running
from tests.servers.api.test_live_events import EMAIL, bearer, list_event_ids, open_event_socket, receive_events

pytestmark = [
    pytest.mark.skipif(program("initdb") is None, reason="needs PostgreSQL (Debian: postgresql)"),
    pytest.mark.anyio,
    pytest.mark.pitfall(15),
]

EMAILS = 400
UNCOMMITTED_WRITER = """
import select, sys, django
from dataclasses import replace
django.setup()
from django.db import connection, transaction
from django.utils import timezone
from project.api_keys.models import ApiKey
from project.emails.submit import prepare_email, submit_batch, plain_text_email
email = replace(plain_text_email(address="ada@example.com", text="First"), owner_id=f"key:{ApiKey.objects.get().pk}")
with transaction.atomic():
    print(submit_batch([prepare_email(email, now=timezone.now())])[0].id, flush=True)
    while not select.select([sys.stdin], [], [], 0.2)[0]:
        connection.cursor().execute("SELECT 1")  # an idle transaction would be closed
"""


@contextmanager
def uncommitted_email(env: dict[str, str]) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """Start a process that writes an event and commits it when it reads a line. Yield the process and the email's id."""
    command, pipe = [sys.executable, "-c", UNCOMMITTED_WRITER], subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, env=env, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as writer:
        assert writer.stdout is not None
        try:
            yield writer, writer.stdout.readline().strip()
        finally:
            if writer.poll() is None:
                writer.kill()
                writer.communicate()


def send(server: Server, key: str) -> str:
    """Send an email, and return its id."""
    response = server.post("/api/emails", json=EMAIL, headers=bearer(key))
    assert response.status_code == 202, response.text
    return str(response.json()["id"])


@pytest.fixture(scope="module")
def postgresql() -> Iterator[PostgreSQL]:
    """Run a PostgreSQL cluster for the tests of this module."""
    with cluster() as server:
        yield server


@pytest.fixture(scope="module")
def env(postgresql: PostgreSQL, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the environment of an installation without a delivery worker."""
    data = {"DATA_DIR": str(tmp_path_factory.mktemp("data")), "DATABASE_URL": postgresql.url}
    return {**BASE_ENV, "PATH": "", **data, "DELIVERY_WORKER": "external"}


@pytest.fixture(scope="module")
def key(env: dict[str, str]) -> str:
    """Create the tables, and an API key that may send emails and read events."""
    [key] = prepare_installation(env)
    return key


@pytest.fixture(scope="module")
def server(env: dict[str, str], key: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run Mailrail on PostgreSQL."""
    with running(SERVERS["serve"], log=tmp_path_factory.mktemp("serve") / "log", env=env) as server:
        yield server


async def test_no_writer_waits_and_no_reader_passes_an_open_transaction(server: Server, key: str, env: dict[str, str]) -> None:
    async with open_event_socket(server, key) as websocket:
        with uncommitted_email(env) as (writer, first):
            later = [await asyncio.to_thread(send, server, key) for _ in range(3)]
            while_open = await asyncio.to_thread(list_event_ids, server, key)
            writer.communicate("commit\n")
        events = await receive_events(websocket, 4)

    assert while_open == []
    assert [event["data"]["email_id"] for event in events] == [first, *later]
    assert [event["id"] for event in events] == await asyncio.to_thread(list_event_ids, server, key)


async def test_a_notification_wakes_another_server(server: Server, key: str, env: dict[str, str], tmp_path: Path) -> None:
    """The other server does not poll, and there is no Redis, so it reads the event only because PostgreSQL notifies it."""
    notify_only = {**env, "DJANGO_SETTINGS_MODULE": "tests.servers.notify_only_settings"}
    with running(SERVERS["serve"], log=tmp_path / "log", env=notify_only) as other:
        async with open_event_socket(other, key) as websocket:
            await asyncio.to_thread(send, server, key)
            await receive_events(websocket, 1)  # perhaps read by the poll after the socket was opened
            second = await asyncio.to_thread(send, server, key)

            assert [event["data"]["email_id"] for event in await receive_events(websocket, 1)] == [second]


async def test_a_socket_opened_during_an_open_transaction_misses_nothing(server: Server, key: str, env: dict[str, str]) -> None:
    with uncommitted_email(env) as (writer, first):
        later = await asyncio.to_thread(send, server, key)
        async with open_event_socket(server, key) as websocket:
            writer.communicate("commit\n")
            events = await receive_events(websocket, 2)

    assert [event["data"]["email_id"] for event in events] == [first, later]


async def test_a_stopped_writer_delays_events_only_until_its_transaction_is_closed(
    server: Server, key: str, env: dict[str, str]
) -> None:
    async with open_event_socket(server, key) as websocket:
        with uncommitted_email(env) as (writer, _):
            writer.send_signal(signal.SIGSTOP)
            sent = await asyncio.to_thread(send, server, key)
            events = await receive_events(websocket, 1)
            writer.send_signal(signal.SIGCONT)
            _, error = writer.communicate("commit\n")

    assert [event["data"]["email_id"] for event in events] == [sent]
    assert "terminating connection due to idle-in-transaction timeout" in error


async def test_writers_of_three_processes_leave_no_gap_and_no_double(
    server: Server, key: str, env: dict[str, str], tmp_path: Path
) -> None:
    """Two servers submit, and the delivery worker of the second one sends, while two sockets of each server read."""
    before = await asyncio.to_thread(list_event_ids, server, key)  # the worker also sends the emails of earlier tests
    query = f"after={before[-1] if before else 0}"
    with running(SERVERS["serve"], log=tmp_path / "log", env={**env, "DELIVERY_WORKER": "subprocess"}) as second:
        async with AsyncExitStack() as stack:
            sockets = [await stack.enter_async_context(open_event_socket(each, key, query)) for each in (server, second) * 2]
            reading = [asyncio.create_task(receive_events(websocket, 3 * EMAILS)) for websocket in sockets]
            writing = (asyncio.to_thread(send_batches, each, key, EMAILS // 8) for each in (server, second) * 4)
            await asyncio.gather(*writing)
            received = [[event["id"] for event in await events] for events in reading]
        stored = await asyncio.to_thread(list_event_ids, server, key)

    assert received == [stored[len(before) :][: 3 * EMAILS]] * 4


def send_batches(server: Server, key: str, count: int) -> None:
    """Send emails in small batches."""
    with server.client(headers=bearer(key)) as client:
        for _ in range(count // 5):
            response = client.post("/api/emails/batch", json={"emails": [EMAIL] * 5})
            assert response.status_code == 202, f"{response.text}\n{server.log}"
