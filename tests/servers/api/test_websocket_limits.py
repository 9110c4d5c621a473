"""Limits on WebSocket messages, and on open WebSockets and streams per caller, in real server processes."""

import asyncio
import itertools
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.frames import Close

from tests.conftest import StartServer
from tests.processes import WAIT_TIMEOUT_SECONDS, Server
from tests.servers.api.test_live_events import bearer
from tests.servers.bridge.test_connection_limits import MEBIBYTE, memory

ECHO, EVENTS = "/api/ws", "/api/ws/events"
TOO_MANY_CONNECTIONS = Close(1013, "Too many open WebSockets and streams. The limit is 1.")
SLOT_TIMEOUT_SECONDS = 5.0  # shorter than the ten seconds after which Daphne ends the application of a disconnected client
PING = json.dumps({"action": "ping"})
PROXY = "127.0.0.2"
CLIENT_NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def server_env() -> dict[str, str]:
    """Return the limits for the tests that share a server. Each test has an IP address and an API key of its own."""
    return {
        "MAX_STREAMS_PER_CALLER": "1",
        "WEBSOCKET_MESSAGES_PER_SECOND": "100",
        "TRUSTED_PROXIES": PROXY,
        "DELIVERY_WORKER": "external",
    }


@pytest.fixture
def client_address() -> dict[str, Any]:
    """Return the option of `connect` for an IP address that no other test uses."""
    return {"local_addr": (f"127.0.1.{next(CLIENT_NUMBERS)}", 0)}


def forwarded(address: str) -> dict[str, Any]:
    """Return options of `connect`: the proxy forwards the address of its client."""
    return {"local_addr": (PROXY, 0), "additional_headers": {"X-Forwarded-For": address}}


async def send_all(websocket: ClientConnection, texts: list[str]) -> None:
    """Send the texts one after the other."""
    for text in texts:
        await websocket.send(text)


async def exchange(websocket: ClientConnection, texts: list[str]) -> list[str | bytes]:
    """Send the texts as fast as possible, and return one response per text."""
    sending = asyncio.create_task(send_all(websocket, texts))
    async with asyncio.timeout(WAIT_TIMEOUT_SECONDS):
        responses: list[str | bytes] = [await websocket.recv() for _ in texts]
        await sending
    return responses


async def close_frame(server: Server, path: str, *, first: str = "Hi", **options: Any) -> Close | None:
    """Open a WebSocket and send a text. Return the server's close frame, or None if the server responds to the text."""
    async with asyncio.timeout(WAIT_TIMEOUT_SECONDS), connect(server.ws_url + path, **options) as websocket:
        try:
            await websocket.send(first)
            await websocket.recv()
        except ConnectionClosed as closed:
            return closed.rcvd
    return None


async def wait_for_free_slot(server: Server, path: str, **options: Any) -> None:
    """Wait until a new WebSocket is accepted in place of a WebSocket that was just closed."""
    async with asyncio.timeout(SLOT_TIMEOUT_SECONDS):
        while await close_frame(server, path, **options) is not None:
            continue


# Messages


@pytest.mark.anyio
@pytest.mark.parametrize("path", [ECHO, EVENTS])
async def test_messages_above_the_rate_are_delayed_and_not_lost(
    server: Server, api_key: str, client_address: dict[str, Any], path: str
) -> None:
    messages = [PING if path == EVENTS else str(number) for number in range(300)]
    async with connect(server.ws_url + path, additional_headers=bearer(api_key), **client_address) as websocket:
        if path == EVENTS:
            await websocket.recv()  # the "ready" message
        started = time.monotonic()

        responses = await exchange(websocket, messages)

    assert responses == (['{"type":"pong"}'] * 300 if path == EVENTS else [f"Message text was: {text}" for text in messages])
    assert time.monotonic() - started > 1.9  # a burst of 100 messages, and then 100 messages per second


@pytest.mark.anyio
async def test_messages_above_the_rate_are_not_read_and_cost_no_memory(start_bridge_app: StartServer) -> None:
    server = start_bridge_app(BRIDGE_APP_LIMITS='{"messages_per_second": 1}')
    before = memory(server)

    async with connect(f"{server.ws_url}/echo") as websocket:
        sending = asyncio.create_task(send_all(websocket, ["x" * MEBIBYTE] * 50))
        await asyncio.to_thread(server.get, "/slow?seconds=1")  # enough time to receive everything

        assert not sending.done()
        assert memory(server) - before < 20 * MEBIBYTE
        sending.cancel()
        websocket.transport.abort()


@pytest.mark.anyio
async def test_a_delayed_client_is_not_closed_for_a_missing_pong(start_bridge_app: StartServer) -> None:
    server = start_bridge_app(
        "serve", "--ping-interval", "1", "--ping-timeout", "1", BRIDGE_APP_LIMITS='{"messages_per_second": 2}'
    )
    texts = [str(number) * 60_000 for number in range(8)]  # more data than the server reads ahead, and 3 seconds of delay

    async with connect(f"{server.ws_url}/echo") as websocket:
        assert await exchange(websocket, texts) == texts


# Connection slots


@pytest.mark.anyio
async def test_a_websocket_above_the_limit_is_closed_with_1013(server: Server, client_address: dict[str, Any]) -> None:
    async with connect(server.ws_url + ECHO, **client_address) as websocket:
        assert await close_frame(server, ECHO, **client_address) == TOO_MANY_CONNECTIONS

        assert await exchange(websocket, ["Hi"]) == ["Message text was: Hi"]
    await wait_for_free_slot(server, ECHO, **client_address)


@pytest.mark.anyio
async def test_a_client_that_disconnects_frees_its_slot_despite_queued_messages(start: StartServer) -> None:
    server = start(MAX_STREAMS_PER_CALLER="1", WEBSOCKET_MESSAGES_PER_SECOND="1", DELIVERY_WORKER="external")
    async with connect(server.ws_url + ECHO) as websocket:
        await send_all(websocket, ["Hi"] * 100)
        await (await websocket.ping())  # the pong comes after the messages, so the server has received them
        websocket.transport.abort()

        await wait_for_free_slot(server, ECHO)


@pytest.mark.anyio
async def test_slots_are_counted_by_the_address_a_trusted_proxy_sends(server: Server) -> None:
    ada, bob = (forwarded(address) for address in ("192.0.2.1", "192.0.2.2"))
    async with connect(server.ws_url + ECHO, **ada):
        assert await close_frame(server, ECHO, **ada) == TOO_MANY_CONNECTIONS
        assert await close_frame(server, ECHO, **bob) is None


@pytest.mark.anyio
async def test_a_forwarded_address_from_an_untrusted_client_is_ignored(server: Server, client_address: dict[str, Any]) -> None:
    headers = {"X-Forwarded-For": "192.0.2.3"}
    async with connect(server.ws_url + ECHO, **client_address):
        assert await close_frame(server, ECHO, additional_headers=headers, **client_address) == TOO_MANY_CONNECTIONS


@pytest.mark.anyio
async def test_a_key_has_its_own_slots_however_it_authenticates(
    server: Server, api_key: str, api_keys: list[str], client_address: dict[str, Any]
) -> None:
    hello, another_key = json.dumps({"action": "authenticate", "token": api_key}), api_keys[-1]
    async with connect(server.ws_url + EVENTS, **client_address) as websocket:
        assert await exchange(websocket, [hello])

        assert await close_frame(server, EVENTS, additional_headers=bearer(api_key), **client_address) == TOO_MANY_CONNECTIONS
        assert await close_frame(server, EVENTS, first=hello, **client_address) == TOO_MANY_CONNECTIONS
        assert await close_frame(server, EVENTS, additional_headers=bearer(another_key), **client_address) is None
        assert await close_frame(server, ECHO, **client_address) is None  # anonymous WebSockets are counted by IP address
        websocket.transport.abort()
        await wait_for_free_slot(server, EVENTS, first=hello, **client_address)


@pytest.mark.anyio
async def test_a_websocket_that_has_not_authenticated_uses_a_slot_of_its_address(
    server: Server, api_key: str, client_address: dict[str, Any]
) -> None:
    hello = json.dumps({"action": "authenticate", "token": api_key})
    async with connect(server.ws_url + EVENTS, **client_address) as websocket:
        assert "error" in str(await exchange(websocket, [PING]))

        assert await close_frame(server, EVENTS, first=hello, **client_address) == TOO_MANY_CONNECTIONS
        assert await close_frame(server, EVENTS, additional_headers=bearer(api_key), **client_address) is None
        websocket.transport.abort()
        await wait_for_free_slot(server, EVENTS, first=hello, **client_address)


@pytest.mark.anyio
async def test_streams_and_websockets_share_the_slots(server: Server, api_key: str) -> None:
    with streams(server, api_key) as (first, again):
        assert (first.status_code, again.status_code) == (200, 429)
        assert json.loads(again.read())["code"] == "too_many_connections"
        assert int(again.headers["Retry-After"]) > 0
        assert await close_frame(server, EVENTS, additional_headers=bearer(api_key)) == TOO_MANY_CONNECTIONS
    await wait_for_free_slot(server, EVENTS, additional_headers=bearer(api_key))


@contextmanager
def streams(server: Server, key: str) -> Iterator[list[httpx.Response]]:
    """Open two event streams, and disconnect them at the end of the block."""
    with ExitStack() as open_streams, server.client(headers=bearer(key)) as client:
        yield [open_streams.enter_context(client.stream("GET", "/api/events/stream")) for _ in range(2)]
