"""Live events of a real server: many clients under load, slow clients, shutdown, and Server-Sent Events."""

import asyncio
import json
import random
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.frames import Close

from fastapi_app.events.reauthorization import RECHECK_INTERVAL_SECONDS
from tests.conftest import StartServer
from tests.processes import ROOT, WAIT_TIMEOUT_SECONDS, Server, process_env

EMAIL = {"from": "Shop <shop@example.com>", "to": "ada@example.com", "subject": "Your order", "text": "It has been shipped."}
LONG_EMAIL = {**EMAIL, "subject": "x" * 900}
TOO_SLOW_REASON = "Too slow. Reconnect with the id of the last event you received."
WRITERS, BATCH_SIZE = 4, 20
EMAILS = 1680
# Emails are accepted without being stored in the embedded mailbox, which would take longer than the events.
ACCEPT_ALL = {"EMAIL_BACKEND": "django.core.mail.backends.dummy.EmailBackend"}
FILTERS = {"": 3, "&types=email.sent": 1, "&types=email.queued,email.sending": 2}  # {query: number of events per email}
SEED = 5


def create_key(data: Path, name: str = "shop") -> str:
    """Create an API key that may send emails and read events."""
    return manage(data, "create_api_key", name, "--scope", "emails:send", "--scope", "events:read")


def manage(data: Path, *arguments: str) -> str:
    """Run a management command in its own process, and return its output."""
    command = [sys.executable, "manage.py", *arguments]
    env = process_env({"DATA_DIR": str(data)})
    return subprocess.run(command, cwd=ROOT, env=env, check=True, capture_output=True, text=True).stdout.strip()


def bearer(key: str) -> dict[str, str]:
    """Return the Authorization header for a key."""
    return {"Authorization": f"Bearer {key}"}


def send(server: Server, key: str, count: int = 1, email: dict[str, Any] = EMAIL) -> list[str]:
    """Send emails in one batch, and return their ids."""
    response = server.post("/api/emails/batch", json={"emails": [email] * count}, headers=bearer(key))
    return [accepted["id"] for accepted in response.raise_for_status().json()["data"]]


def send_many(server: Server, key: str, count: int) -> None:
    """Send emails in many batches."""
    for start in range(0, count, BATCH_SIZE):
        send(server, key, min(BATCH_SIZE, count - start))


def list_event_ids(server: Server, key: str, query: str = "") -> list[int]:
    """Return the ids of all stored events, read page by page."""
    ids: list[int] = []
    after: str | None = "0"
    with server.client(headers=bearer(key)) as client:
        while after is not None:
            page = client.get(f"/api/events?limit=100&after={after}{query}").raise_for_status().json()
            ids += [event["id"] for event in page["data"]]
            after = page["next"]
    return ids


@asynccontextmanager
async def open_event_socket(server: Server, key: str, query: str = "", **options: Any) -> AsyncIterator[ClientConnection]:
    """Open a WebSocket for events, and wait until it is ready."""
    options = {"max_queue": None, **options}  # the client does not notice a close while its queue is full
    async with connect(f"{server.ws_url}/api/ws/events?{query}", additional_headers=bearer(key), **options) as websocket:
        assert json.loads(await websocket.recv())["type"] == "ready"
        yield websocket


async def receive_events(websocket: ClientConnection, count: int) -> list[dict[str, Any]]:
    """Receive the next `count` events, and return them."""
    async with asyncio.timeout(WAIT_TIMEOUT_SECONDS):
        return [json.loads(await websocket.recv()) for _ in range(count)]


async def wait_for_close(websocket: ClientConnection) -> Close | None:
    """Read until the connection closes, and return the close frame."""
    async with asyncio.timeout(WAIT_TIMEOUT_SECONDS):
        try:
            while True:
                await websocket.recv()
        except ConnectionClosed as closed:
            return closed.rcvd


# Many clients under load


@dataclass
class Reader:
    """A client that disconnects at random, and reconnects with the id of the last event it received."""

    key: str
    query: str
    rng: random.Random
    received: list[int] = field(default_factory=list)
    connections: int = 0

    async def read(self, server: Server) -> None:
        """Read until canceled."""
        while True:
            self.connections += 1
            last = self.received[-1] if self.received else 0
            async with open_event_socket(server, self.key, f"after={last}{self.query}") as websocket:
                for _ in range(self.rng.randrange(1, 400)):
                    self.received.append(json.loads(await websocket.recv())["id"])
                if self.rng.random() < 0.5:
                    websocket.transport.abort()


@pytest.mark.anyio
async def test_clients_receive_all_events_in_order_across_reconnects(start: StartServer, api_keys: list[str]) -> None:
    rng = random.Random(SEED)  # noqa: S311  # not secret
    keys = api_keys[:WRITERS]
    readers = [Reader(rng.choice(keys), rng.choice([*FILTERS]), random.Random(seed)) for seed in range(20)]  # noqa: S311
    server = start(LOG_LEVEL="WARNING", **ACCEPT_ALL)
    tasks = [asyncio.create_task(reader.read(server)) for reader in readers]

    await asyncio.gather(*(asyncio.to_thread(send_many, server, key, EMAILS // WRITERS) for key in keys))
    stored: dict[tuple[str, str], list[int]] = {}  # the events that a reader with this key and query should receive
    for reader in readers:
        async with asyncio.timeout(WAIT_TIMEOUT_SECONDS):
            while len(reader.received) < EMAILS // WRITERS * FILTERS[reader.query]:
                assert not [task.exception() for task in tasks if task.done()]
                await asyncio.sleep(0.01)
        expected = (reader.key, reader.query)
        if expected not in stored:
            stored[expected] = await asyncio.to_thread(list_event_ids, server, *expected)
        assert reader.received == stored[expected]
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert sum(reader.connections for reader in readers) > len(readers)


# Slow clients, idle clients, shutdown


@pytest.fixture(scope="module")
def server_env() -> dict[str, str]:
    """Run a server without a delivery worker for the tests that do not stop it. Each test has its own API key."""
    return {"DELIVERY_WORKER": "external", "LOG_LEVEL": "WARNING"}


@pytest.mark.anyio
async def test_a_slow_client_is_closed_with_4408_and_others_receive_everything(server: Server, api_key: str) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as small_buffer:
        small_buffer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        small_buffer.setblocking(False)
        async with AsyncExitStack() as sockets:
            slow = await sockets.enter_async_context(
                open_event_socket(server, api_key, sock=small_buffer, max_queue=1, ping_interval=None)
            )
            others = [await sockets.enter_async_context(open_event_socket(server, api_key)) for _ in range(8)]

            while "too slow" not in server.log:
                await asyncio.to_thread(send, server, api_key, 100, LONG_EMAIL)
            expected = await asyncio.to_thread(list_event_ids, server, api_key)

            assert await wait_for_close(slow) == Close(4408, TOO_SLOW_REASON)
            for other in others:
                assert [event["id"] for event in await receive_events(other, len(expected))] == expected


@pytest.mark.anyio
async def test_a_thousand_idle_clients_receive_an_event(server: Server, api_key: str) -> None:
    async with AsyncExitStack() as sockets:
        idle = [await sockets.enter_async_context(open_event_socket(server, api_key, compression=None)) for _ in range(1000)]
        (email_id,) = await asyncio.to_thread(send, server, api_key)

        received = {event["data"]["email_id"] for websocket in idle for event in await receive_events(websocket, 1)}

    assert received == {email_id}


@pytest.mark.anyio
async def test_a_stopping_server_sends_committed_events_and_then_closes_with_1012(start: StartServer, api_key: str) -> None:
    server = start(DELIVERY_WORKER="external")
    async with open_event_socket(server, api_key) as websocket:
        ids = await asyncio.to_thread(send, server, api_key, 200)
        server.process.terminate()

        events = await receive_events(websocket, len(ids))

        assert [event["data"]["email_id"] for event in events] == ids
        assert await wait_for_close(websocket) == Close(1012, "The server is restarting.")
    assert await asyncio.to_thread(server.wait) == 0


@pytest.mark.anyio
@pytest.mark.pitfall(19)
async def test_a_key_rotated_by_another_process_closes_its_websocket(server: Server, api_key: str) -> None:
    async with open_event_socket(server, api_key) as websocket:
        await asyncio.to_thread(manage, Path(server.env["DATA_DIR"]), "rotate_api_key", api_key[3:11], "--overlap", "0s")

        async with asyncio.timeout(RECHECK_INTERVAL_SECONDS / 2):  # sooner than the periodic checks alone
            assert getattr(await wait_for_close(websocket), "code", None) == 4401


# Server-Sent Events


def test_a_stream_resumes_after_the_last_event_id(server: Server, api_key: str) -> None:
    ids = send(server, api_key, 3)
    with open_stream(server, api_key) as stream:
        ids += send(server, api_key, 2)
        live = [next(stream) for _ in range(2)]
    first, *_ = list_event_ids(server, api_key)

    with open_stream(server, api_key, {"Last-Event-ID": str(first)}) as stream:
        replayed = [next(stream) for _ in range(4)]

    assert [event["data"]["email_id"] for event in live] == ids[3:]
    assert [event["data"]["email_id"] for event in replayed] == ids[1:]


def test_a_stream_ends_when_the_server_stops(start: StartServer, api_key: str) -> None:
    server = start(DELIVERY_WORKER="external")
    with open_stream(server, api_key) as stream:
        (email_id,) = send(server, api_key)
        server.process.terminate()

        assert [event["data"]["email_id"] for event in stream] == [email_id]
    assert server.wait() == 0


@pytest.mark.pitfall(19)
def test_a_stream_ends_when_its_key_is_rotated(server: Server, api_key: str) -> None:
    with open_stream(server, api_key) as stream:
        manage(Path(server.env["DATA_DIR"]), "rotate_api_key", api_key[3:11], "--overlap", "0s")

        assert list(stream) == []


@contextmanager
def open_stream(server: Server, key: str, headers: Mapping[str, str] | None = None) -> Iterator[Iterator[dict[str, Any]]]:
    """Open a stream, wait until it is ready, and yield an iterator over its events."""
    with (
        server.client(headers={**bearer(key), **(headers or {})}) as client,
        client.stream("GET", "/api/events/stream") as response,
    ):
        lines = response.iter_lines()
        ready = {name: value for name, _, value in (line.partition(": ") for line in takewhile(bool, lines))}
        assert json.loads(ready["data"]) == {"type": "ready", "cursor": int(ready["id"])}
        yield (json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: "))
