"""How much a socket is read, and how many sockets and streams somebody may have: against real processes."""

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.frames import Close

from tests.conftest import StartServer
from tests.processes import PATIENCE, Server
from tests.servers.test_connection_limits import MEBIBYTE, memory
from tests.servers.test_live_events import bearer, create_key

ECHO, EVENTS = "/api/ws", "/api/ws/events"
FULL = Close(1013, "There may be 1 sockets and streams of one caller at a time.")
SOON = 5.0  # seconds: after ten, Daphne itself ends what serves who has gone
PING = json.dumps({"action": "ping"})


async def send_all(websocket: ClientConnection, texts: list[str]) -> None:
    """Send one after the other."""
    for text in texts:
        await websocket.send(text)


async def exchanged(websocket: ClientConnection, texts: list[str]) -> list[str | bytes]:
    """What is answered to these, sent as fast as they are taken."""
    sending = asyncio.create_task(send_all(websocket, texts))
    async with asyncio.timeout(PATIENCE):
        answers: list[str | bytes] = [await websocket.recv() for _ in texts]
        await sending
    return answers


async def refusal(server: Server, path: str, *, first: str = "Hi", headers: dict[str, str] | None = None) -> Close | None:
    """How a new socket that says something is closed, or None if it is answered."""
    async with asyncio.timeout(PATIENCE), connect(server.ws_url + path, additional_headers=headers) as websocket:
        try:
            await websocket.send(first)
            await websocket.recv()
        except ConnectionClosed as closed:
            return closed.rcvd
    return None


async def is_taken_again(server: Server, path: str, **options: Any) -> None:
    """Return when a new socket has the place of one that has just gone."""
    async with asyncio.timeout(SOON):
        while await refusal(server, path, **options) is not None:
            continue


# Messages


@pytest.mark.anyio
@pytest.mark.parametrize("path", [ECHO, EVENTS])
async def test_who_says_too_much_is_slowed_and_nothing_is_lost(start: StartServer, data: Path, path: str) -> None:
    key, server = create_key(data), start(WEBSOCKET_MESSAGES_PER_SECOND="100")
    said = [PING if path == EVENTS else str(number) for number in range(300)]
    async with connect(server.ws_url + path, additional_headers=bearer(key)) as websocket:
        if path == EVENTS:
            await websocket.recv()  # that it is ready
        began = time.monotonic()

        answers = await exchanged(websocket, said)

    assert answers == (['{"type":"pong"}'] * 300 if path == EVENTS else [f"Message text was: {text}" for text in said])
    assert time.monotonic() - began > 1.9  # a hundred at once, and then a hundred a second


@pytest.mark.anyio
async def test_who_says_too_much_is_not_read_and_costs_no_memory(probe: StartServer) -> None:
    server = probe(PROBE_LIMITS='{"messages": 1}')
    before = memory(server)

    async with connect(f"{server.ws_url}/echo") as websocket:
        pushing = asyncio.create_task(send_all(websocket, ["x" * MEBIBYTE] * 50))
        await asyncio.to_thread(server.get, "/slow?seconds=1")  # time to take all of it

        assert not pushing.done()
        assert memory(server) - before < 20 * MEBIBYTE
        pushing.cancel()
        websocket.transport.abort()


@pytest.mark.anyio
async def test_who_is_slowed_is_not_taken_for_one_that_answers_no_ping(probe: StartServer) -> None:
    server = probe("serve", "--ping-interval", "1", "--ping-timeout", "1", PROBE_LIMITS='{"messages": 1}')
    texts = [str(number) * 60_000 for number in range(8)]  # more than is read ahead

    async with connect(f"{server.ws_url}/echo") as websocket:
        assert await exchanged(websocket, texts) == texts


# Places


@pytest.mark.anyio
async def test_one_socket_too_many_is_told_to_try_later(start: StartServer) -> None:
    server = start(MAX_STREAMS_PER_CALLER="1")
    async with connect(server.ws_url + ECHO) as websocket:
        assert await refusal(server, ECHO) == FULL

        assert await exchanged(websocket, ["Hi"]) == ["Message text was: Hi"]
    await is_taken_again(server, ECHO)


@pytest.mark.anyio
async def test_who_breaks_off_leaves_a_place_whatever_it_had_said(start: StartServer) -> None:
    server = start(MAX_STREAMS_PER_CALLER="1", WEBSOCKET_MESSAGES_PER_SECOND="1")
    async with connect(server.ws_url + ECHO) as websocket:
        await send_all(websocket, ["Hi"] * 100)
        await (await websocket.ping())  # answered behind all of it: it has been read
        websocket.transport.abort()

        await is_taken_again(server, ECHO)


@pytest.mark.anyio
async def test_an_address_is_the_one_that_a_trusted_proxy_tells(start: StartServer) -> None:
    ada, bob = {"X-Forwarded-For": "192.0.2.1"}, {"X-Forwarded-For": "192.0.2.2"}
    server = start(MAX_STREAMS_PER_CALLER="1", TRUSTED_PROXIES="127.0.0.1")
    async with connect(server.ws_url + ECHO, additional_headers=ada):
        assert await refusal(server, ECHO, headers=ada) == FULL
        assert await refusal(server, ECHO, headers=bob) is None


@pytest.mark.anyio
async def test_an_address_is_not_the_one_that_anybody_tells(start: StartServer) -> None:
    server = start(MAX_STREAMS_PER_CALLER="1")
    async with connect(server.ws_url + ECHO):
        assert await refusal(server, ECHO, headers={"X-Forwarded-For": "192.0.2.1"}) == FULL


@pytest.mark.anyio
async def test_a_key_has_places_of_its_own_however_it_says_who_it_is(start: StartServer, data: Path) -> None:
    shop, blog = create_key(data), create_key(data, "blog")
    server = start(MAX_STREAMS_PER_CALLER="1")
    hello = json.dumps({"action": "authenticate", "token": shop})
    async with connect(server.ws_url + EVENTS) as websocket:
        assert await exchanged(websocket, [hello])

        assert await refusal(server, EVENTS, headers=bearer(shop)) == FULL
        assert await refusal(server, EVENTS, first=hello) == FULL
        assert await refusal(server, EVENTS, headers=bearer(blog)) is None
        assert await refusal(server, ECHO) is None  # its address has a place for who is nobody
        websocket.transport.abort()
        await is_taken_again(server, EVENTS, first=hello)


@pytest.mark.anyio
async def test_who_has_not_said_who_it_is_has_a_place_of_its_address(start: StartServer, data: Path) -> None:
    key, server = create_key(data), start(MAX_STREAMS_PER_CALLER="1")
    hello = json.dumps({"action": "authenticate", "token": key})
    async with connect(server.ws_url + EVENTS) as websocket:
        assert "error" in str(await exchanged(websocket, [PING]))

        assert await refusal(server, EVENTS, first=hello) == FULL
        assert await refusal(server, EVENTS, headers=bearer(key)) is None
        websocket.transport.abort()
        await is_taken_again(server, EVENTS, first=hello)


@pytest.mark.anyio
async def test_streams_and_sockets_have_the_same_places(start: StartServer, data: Path) -> None:
    key, server = create_key(data), start(MAX_STREAMS_PER_CALLER="1")
    with streams(server, key) as (first, again):
        assert (first.status_code, again.status_code) == (200, 429)
        assert json.loads(again.read())["code"] == "too_many_sockets"
        assert int(again.headers["Retry-After"]) > 0
        assert await refusal(server, EVENTS, headers=bearer(key)) == FULL
    await is_taken_again(server, EVENTS, headers=bearer(key))


@contextmanager
def streams(server: Server, key: str) -> Iterator[list[httpx.Response]]:
    """Two streams, broken off at the end."""
    with ExitStack() as open_streams, server.client(headers=bearer(key)) as client:
        yield [open_streams.enter_context(client.stream("GET", "/api/events/stream")) for _ in range(2)]
