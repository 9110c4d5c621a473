"""Clients that open connections and send nothing, and clients that send many tiny WebSocket frames, against a real server."""

import asyncio
import resource
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from tests.conftest import StartServer
from tests.processes import WAIT_TIMEOUT_SECONDS, Server

Open = Callable[[Server, int], list[socket.socket]]


@pytest.fixture
def open_sockets() -> Iterator[Open]:
    """Return a function that opens connections and sends nothing."""
    with ExitStack() as stack:

        def open_sockets(server: Server, count: int) -> list[socket.socket]:
            address = ("127.0.0.1", server.port)
            return [stack.enter_context(socket.create_connection(address, timeout=WAIT_TIMEOUT_SECONDS)) for _ in range(count)]

        yield open_sockets


def test_a_silent_connection_is_closed(start_bridge_app: StartServer, open_sockets: Open) -> None:
    server = start_bridge_app(BRIDGE_APP_LIMITS='{"first_byte_timeout": 0.5}')

    (client,) = open_sockets(server, 1)

    assert client.recv(100) == b""


def test_an_idle_keep_alive_connection_is_closed_later(start_bridge_app: StartServer, open_sockets: Open) -> None:
    server = start_bridge_app(BRIDGE_APP_LIMITS='{"first_byte_timeout": 0.2, "keep_alive_timeout": 2}')

    (client,) = open_sockets(server, 1)
    client.sendall(b"GET /started HTTP/1.1\r\nHost: localhost\r\n\r\n")
    response = client.recv(4096)
    started = time.monotonic()

    assert response.startswith(b"HTTP/1.1 200 OK\r\n")
    assert client.recv(100) == b""
    assert time.monotonic() - started > 1


def test_silent_connections_do_not_use_up_the_files(start_bridge_app: StartServer, open_sockets: Open) -> None:
    server = start_bridge_app(BRIDGE_APP_OPEN_FILES="200:200")

    open_sockets(server, 300)

    assert [server.get("/started").status_code for _ in range(20)] == [200] * 20
    server.wait_for_log("Closing idle connections in favor of new ones")
    assert server.log.count("Closing idle connections") == 1


def test_the_limit_of_open_files_is_raised(start_bridge_app: StartServer) -> None:
    server = start_bridge_app(BRIDGE_APP_OPEN_FILES="100:300")

    limits = Path(f"/proc/{server.process.pid}/limits").read_text()

    (line,) = [line for line in limits.splitlines() if line.startswith("Max open files")]
    assert line.split()[3:5] == ["300", "300"]


def test_connections_that_the_system_refuses_are_logged(start_bridge_app: StartServer, open_sockets: Open) -> None:
    server = start_bridge_app()
    _soft, hard = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (8, hard))

    open_sockets(server, 20)

    server.wait_for_log("Cannot accept connections (EMFILE). The limit of open files is 8.")
    assert server.log.count("Cannot accept connections") == 1


def test_an_address_with_too_many_running_requests_is_refused(start_bridge_app: StartServer, open_sockets: Open) -> None:
    server = start_bridge_app(BRIDGE_APP_LIMITS='{"max_connections_per_address": 3}')
    running = open_sockets(server, 3)
    for client in running:
        client.sendall(b"GET /slow?seconds=2 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    server.wait_for_log("started", times=3)

    (refused,) = open_sockets(server, 1)

    response = b"".join(iter(lambda: refused.recv(4096), b""))
    assert response.startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
    assert b'"code": "too_many_connections"' in response
    assert [client.recv(15) for client in running] == [b"HTTP/1.1 200 OK"] * 3


@pytest.mark.anyio
async def test_closed_websockets_are_not_counted(start_bridge_app: StartServer) -> None:
    server = start_bridge_app(BRIDGE_APP_LIMITS='{"max_connections_per_address": 3}')

    for _ in range(6):
        async with connect(f"{server.ws_url}/echo") as client:
            await client.send("Hi")
            assert await client.recv() == "Hi"


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["pings", "fragments"])
async def test_control_frames_and_fragments_count_for_the_message_rate(start_bridge_app: StartServer, kind: str) -> None:
    server = start_bridge_app(BRIDGE_APP_LIMITS='{"messages_per_second": 10}')

    async with connect(f"{server.ws_url}/echo") as client:
        started = time.monotonic()
        if kind == "pings":
            pongs = [await client.ping() for _ in range(30)]
            await asyncio.wait_for(asyncio.gather(*pongs), WAIT_TIMEOUT_SECONDS)
        else:
            await client.send(["x"] * 30)
        await client.send("Hi")
        messages = [await client.recv() for _ in range(1 if kind == "pings" else 2)]

    assert messages[-1] == "Hi"
    assert time.monotonic() - started > 1.5  # 30 frames at 10 a second, of which the first 10 are free


@pytest.mark.anyio
async def test_a_flood_of_pings_leaves_time_for_others(start_bridge_app: StartServer) -> None:
    server = start_bridge_app(BRIDGE_APP_LIMITS='{"messages_per_second": 0}')
    ping = b"\x89\x80\0\0\0\0"

    async with connect(f"{server.ws_url}/echo") as client:
        client.transport.write(ping * 20_000)
        await client.send("Hi")
        response = await asyncio.to_thread(server.get, "/started")
        assert await client.recv() == "Hi"

    assert response.status_code == 200
