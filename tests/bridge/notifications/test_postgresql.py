"""Notifications through a real PostgreSQL server, also while the server is unavailable."""

import asyncio
import logging
from collections.abc import Callable, Iterator

import psycopg
import pytest

from project.bridge.notifications import postgresql as notifications
from project.bridge.notifications.postgresql import PostgreSQLNotifications
from project.bridge.notifications.process_messages import incoming, outgoing
from tests.postgresql import PostgreSQL, cluster, program
from tests.processes import WAIT_TIMEOUT_SECONDS, wait_for

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(program("initdb") is None, reason="needs PostgreSQL (Debian: postgresql)"),
]

TOPIC, CHANNEL = "weather", "shop_weather"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSQL]:
    """Run a PostgreSQL cluster for the tests of this module."""
    with cluster() as server:
        yield server


@pytest.fixture
def received() -> Iterator[list[str]]:
    """Return the list of the topics that arrive from other processes."""
    topics: list[str] = []
    with incoming.subscribed(topics.append):
        yield topics


def connect(server: PostgreSQL, *topics: str) -> PostgreSQLNotifications:
    """Return notifications that listen for `topics`."""
    parameters = {"host": "127.0.0.1", "port": server.port, "user": "postgres", "dbname": "postgres", "cursor_factory": None}
    return PostgreSQLNotifications(parameters, topics=topics, prefix="shop_")


async def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until the condition is true."""
    await asyncio.to_thread(wait_for, condition, "the condition is true")


async def listen(server: PostgreSQL) -> "psycopg.AsyncConnection[tuple[object, ...]]":
    """Return the connection of another process, which listens."""
    connection = await psycopg.AsyncConnection.connect(server.url, autocommit=True)
    await connection.execute(f"LISTEN {CHANNEL}")
    return connection


async def test_receives_the_notifications_of_other_processes_and_not_its_own(server: PostgreSQL, received: list[str]) -> None:
    async with await listen(server) as other, connect(server, TOPIC).running():
        await wait_until(lambda: received == [TOPIC])  # sent after each connection
        outgoing.send(TOPIC)
        await anext(other.notifies(timeout=WAIT_TIMEOUT_SECONDS))
        await asyncio.to_thread(server.query, f"NOTIFY {CHANNEL}")  # arrives after this process's own notification
        await wait_until(lambda: len(received) == 2)

    assert received == [TOPIC, TOPIC]


async def test_notifications_have_no_payload_and_share_a_statement(server: PostgreSQL) -> None:
    async with await listen(server) as other, connect(server).running():
        for _ in range(100):
            outgoing.send(TOPIC)
        first = await anext(other.notifies(timeout=WAIT_TIMEOUT_SECONDS))
        outgoing.send(TOPIC)
        second = await anext(other.notifies(timeout=WAIT_TIMEOUT_SECONDS))
        rest = [each async for each in other.notifies(timeout=0)]

    assert [(each.channel, each.payload) for each in (first, second)] == [(CHANNEL, "")] * 2
    assert rest == []


async def test_the_last_notification_is_sent_at_the_end(server: PostgreSQL) -> None:
    async with await listen(server) as other:
        async with connect(server).running():
            outgoing.send(TOPIC)

        assert (await anext(other.notifies(timeout=WAIT_TIMEOUT_SECONDS))).channel == CHANNEL


async def test_reconnects_after_an_outage_and_logs_it_once(
    server: PostgreSQL, received: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(notifications, "RETRY_DELAY_SECONDS", 0.05)
    caplog.set_level(logging.INFO)
    async with connect(server, TOPIC).running():
        await wait_until(lambda: received == [TOPIC])
        await asyncio.to_thread(server.stop)
        outgoing.send(TOPIC)
        await wait_until(lambda: "failed" in caplog.text)
        await asyncio.to_thread(server.start)
        await wait_until(lambda: "work again" in caplog.text)
        # Sent again after the reconnection, because notifications may have been missed.
        await wait_until(lambda: received == [TOPIC, TOPIC])

    assert [record.levelname for record in caplog.records if record.name == notifications.__name__] == ["ERROR", "WARNING"]
