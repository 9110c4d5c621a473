"""Live events of a real server: many sockets, at speed, and across its end."""

import asyncio
import json
import random
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.frames import Close

from fastapi_app.events.reauthorization import RECHECK_INTERVAL_SECONDS
from tests.conftest import StartServer
from tests.processes import BASE_ENV, PATIENCE, ROOT, Server

MAIL = {"from": "Shop <shop@example.com>", "to": "ada@example.com", "subject": "Your order", "text": "It is on its way."}
LONG = {**MAIL, "subject": "x" * 900}
SLOW = "Too slow: come again with the id of the last event."
WRITERS, BATCH = 4, 20
MAILS = 1680
FILTERS = {"": 3, "&types=email.sent": 1, "&types=email.queued,email.sending": 2}  # of a mail's events, how many pass
SEED = 5


def create_key(data: Path, name: str = "shop") -> str:
    """A key that may send, and read events."""
    return manage(data, "create_api_key", name, "--scope", "emails:send", "--scope", "events:read")


def manage(data: Path, *arguments: str) -> str:
    """Run a command, in a process of its own. Gives what it printed."""
    command = [sys.executable, "manage.py", *arguments]
    env = {**BASE_ENV, "DATA_DIR": str(data), "PATH": ""}
    return subprocess.run(command, cwd=ROOT, env=env, check=True, capture_output=True, text=True).stdout.strip()


def bearer(key: str) -> dict[str, str]:
    """The header of a caller with a key."""
    return {"Authorization": f"Bearer {key}"}


def send(server: Server, key: str, count: int = 1, mail: dict[str, Any] = MAIL) -> list[str]:
    """Send mails in one batch. Gives their ids."""
    answer = server.post("/api/emails/batch", json={"emails": [mail] * count}, headers=bearer(key))
    return [email["id"] for email in answer.raise_for_status().json()["data"]]


def send_many(server: Server, key: str, count: int, mail: dict[str, Any] = MAIL) -> None:
    """Send mails in many batches."""
    for begin in range(0, count, BATCH):
        send(server, key, min(BATCH, count - begin), mail)


def told(server: Server, key: str, query: str = "") -> list[int]:
    """The ids of the events that the table has, page by page."""
    ids: list[int] = []
    after: str | None = "0"
    with server.client(headers=bearer(key)) as client:
        while after is not None:
            page = client.get(f"/api/events?limit=100&after={after}{query}").raise_for_status().json()
            ids += [event["id"] for event in page["data"]]
            after = page["next"]
    return ids


@asynccontextmanager
async def listening(server: Server, key: str, query: str = "", **options: Any) -> AsyncIterator[ClientConnection]:
    """A socket that has heard that it is ready."""
    options = {"max_queue": None, **options}  # with one that is full, this client sees no close
    async with connect(f"{server.ws_url}/api/ws/events?{query}", additional_headers=bearer(key), **options) as websocket:
        assert json.loads(await websocket.recv())["type"] == "ready"
        yield websocket


async def heard(websocket: ClientConnection, count: int) -> list[dict[str, Any]]:
    """The next events."""
    async with asyncio.timeout(PATIENCE):
        return [json.loads(await websocket.recv()) for _ in range(count)]


async def end(websocket: ClientConnection) -> Close | None:
    """How it is closed, after whatever comes before."""
    async with asyncio.timeout(PATIENCE):
        try:
            while True:
                await websocket.recv()
        except ConnectionClosed as closed:
            return closed.rcvd


# Many, at speed


@dataclass
class Reader:
    """A socket with a filter, which breaks off at random, and comes again with the id of the last event that it has."""

    key: str
    query: str
    dice: random.Random
    heard: list[int] = field(default_factory=list)
    visits: int = 0

    async def read(self, server: Server) -> None:
        """Read on and on."""
        while True:
            self.visits += 1
            last = self.heard[-1] if self.heard else 0
            async with listening(server, self.key, f"after={last}{self.query}") as websocket:
                for _ in range(self.dice.randrange(1, 400)):
                    self.heard.append(json.loads(await websocket.recv())["id"])
                if self.dice.random() < 0.5:
                    websocket.transport.abort()


@pytest.mark.anyio
async def test_each_of_many_hears_its_events_in_order_however_often_it_comes_again(start: StartServer, data: Path) -> None:
    keys, dice = [create_key(data, f"writer {number}") for number in range(WRITERS)], random.Random(SEED)  # noqa: S311  # no secrets
    readers = [Reader(dice.choice(keys), dice.choice([*FILTERS]), random.Random(seed)) for seed in range(20)]  # noqa: S311  # no secrets
    server = start(LOG_LEVEL="WARNING")
    tasks = [asyncio.create_task(reader.read(server)) for reader in readers]

    await asyncio.gather(*(asyncio.to_thread(send_many, server, key, MAILS // WRITERS) for key in keys))
    for reader in readers:
        async with asyncio.timeout(PATIENCE):
            while len(reader.heard) < MAILS // WRITERS * FILTERS[reader.query]:
                assert not [task.exception() for task in tasks if task.done()]
                await asyncio.sleep(0.01)
        assert reader.heard == await asyncio.to_thread(told, server, reader.key, reader.query)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert sum(reader.visits for reader in readers) > len(readers)


# Slow, idle, and to the end


@pytest.mark.anyio
async def test_who_is_too_slow_is_closed_with_4408_and_the_others_hear_everything(start: StartServer, data: Path) -> None:
    key, server = create_key(data), start(DELIVERY_WORKER="external", LOG_LEVEL="WARNING")
    with socket.create_connection(("127.0.0.1", server.port)) as narrow:
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        narrow.setblocking(False)
        async with AsyncExitStack() as sockets:
            slow = await sockets.enter_async_context(listening(server, key, sock=narrow, max_queue=1, ping_interval=None))
            others = [await sockets.enter_async_context(listening(server, key)) for _ in range(8)]

            while "too slow" not in server.log:
                await asyncio.to_thread(send, server, key, 100, LONG)
            everything = await asyncio.to_thread(told, server, key)

            assert await end(slow) == Close(4408, SLOW)
            for other in others:
                assert [event["id"] for event in await heard(other, len(everything))] == everything


@pytest.mark.anyio
async def test_a_thousand_idle_sockets_hear_of_one_event(start: StartServer, data: Path) -> None:
    key, server = create_key(data), start(DELIVERY_WORKER="external", LOG_LEVEL="WARNING")
    async with AsyncExitStack() as sockets:
        idle = [await sockets.enter_async_context(listening(server, key, compression=None)) for _ in range(1000)]
        (email_id,) = await asyncio.to_thread(send, server, key)

        told = {event["data"]["email_id"] for websocket in idle for event in await heard(websocket, 1)}

    assert told == {email_id}


@pytest.mark.anyio
async def test_at_the_end_of_the_server_sockets_hear_what_was_committed_and_then_1012(start: StartServer, data: Path) -> None:
    key, server = create_key(data), start(DELIVERY_WORKER="external")
    async with listening(server, key) as websocket:
        ids = await asyncio.to_thread(send, server, key, 200)
        server.process.terminate()

        events = await heard(websocket, len(ids))

        assert [event["data"]["email_id"] for event in events] == ids
        assert await end(websocket) == Close(1012, "The server restarts.")
    assert await asyncio.to_thread(server.wait) == 0


@pytest.mark.anyio
@pytest.mark.pitfall(19)
async def test_a_key_that_another_process_ends_closes_its_socket(start: StartServer, data: Path) -> None:
    key, server = create_key(data), start()
    async with listening(server, key) as websocket:
        await asyncio.to_thread(manage, data, "rotate_api_key", key[3:11], "--overlap", "0s")

        async with asyncio.timeout(RECHECK_INTERVAL_SECONDS / 2):  # sooner than it would be by asking now and then
            assert getattr(await end(websocket), "code", None) == 4401


# Server-Sent Events


def test_a_stream_goes_on_after_the_last_event_that_came(start: StartServer, data: Path) -> None:
    key, server = create_key(data), start(DELIVERY_WORKER="external")
    ids = send(server, key, 3)
    with streaming(server, key) as stream:
        ids += send(server, key, 2)
        now = [next(stream) for _ in range(2)]
    first, *_ = told(server, key)

    with streaming(server, key, {"Last-Event-ID": str(first)}) as stream:
        since = [next(stream) for _ in range(4)]

    assert [event["data"]["email_id"] for event in now] == ids[3:]
    assert [event["data"]["email_id"] for event in since] == ids[1:]


def test_a_stream_ends_with_the_server(start: StartServer, data: Path) -> None:
    key, server = create_key(data), start(DELIVERY_WORKER="external")
    with streaming(server, key) as stream:
        (email_id,) = send(server, key)
        server.process.terminate()

        assert [event["data"]["email_id"] for event in stream] == [email_id]
    assert server.wait() == 0


@pytest.mark.pitfall(19)
def test_a_stream_ends_with_its_key(start: StartServer, data: Path) -> None:
    key, server = create_key(data), start(DELIVERY_WORKER="external")
    with streaming(server, key) as stream:
        manage(data, "rotate_api_key", key[3:11], "--overlap", "0s")

        assert list(stream) == []


@contextmanager
def streaming(server: Server, key: str, headers: Mapping[str, str] | None = None) -> Iterator[Iterator[dict[str, Any]]]:
    """The events of a stream, as they come, once it is ready."""
    with (
        server.client(headers={**bearer(key), **(headers or {})}) as client,
        client.stream("GET", "/api/events/stream") as answer,
    ):
        lines = answer.iter_lines()
        assert next(lines).startswith(": ready")
        yield (json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: "))
