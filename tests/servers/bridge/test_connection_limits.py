"""Limits on request bodies, time and memory per connection, in real server processes."""

import asyncio
import base64
import json
import resource
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedError

from tests.conftest import StartServer
from tests.processes import WAIT_TIMEOUT_SECONDS, Server

MEBIBYTE = 1024 * 1024
HEAD = "{method} {path} HTTP/1.1\r\nHost: localhost\r\n"
UPGRADE = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    f"Sec-WebSocket-Key: {base64.b64encode(bytes(16)).decode()}\r\n\r\n"
)
CLIENTS = 3
Open = Callable[[Server, str], socket.socket]


@pytest.fixture
def open_socket() -> Iterator[Open]:
    """Return a function that opens a connection and sends a text."""
    with ExitStack() as connections:

        def open_connection(server: Server, text: str) -> socket.socket:
            client = connections.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=WAIT_TIMEOUT_SECONDS))
            client.sendall(text.encode())
            return client

        yield open_connection


# Bodies


@pytest.mark.pitfall(5)
def test_a_body_with_a_too_large_content_length_is_rejected_before_it_is_read(
    start_bridge_app: StartServer, open_socket: Open
) -> None:
    server = start_bridge_app()

    client = open_socket(server, head("POST", "/size") + f"Content-Length: {15 * MEBIBYTE + 1}\r\n\r\n")
    response = read_all(client)

    assert response.startswith(b"HTTP/1.1 413 ")
    assert b"\r\nCache-Control: no-store\r\n" in response
    assert b"Connection: close" in response
    assert json.loads(body_of(response)) == {
        "detail": "The request body is larger than 15728640 bytes.",
        "code": "content_too_large",
    }
    assert "size: called" not in server.log


@pytest.mark.pitfall(5)
def test_clients_that_send_a_too_large_body_get_the_error_and_cost_no_memory(
    start_bridge_app: StartServer, open_socket: Open
) -> None:
    server = start_bridge_app()
    before = memory(server)
    clients = [open_socket(server, head("POST", "/size") + f"Content-Length: {50 * MEBIBYTE}\r\n\r\n") for _ in range(CLIENTS)]

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(lambda client: client.sendall(bytes(50 * MEBIBYTE)), clients))

    assert [read_all(client)[:13] for client in clients] == [b"HTTP/1.1 413 "] * CLIENTS
    assert memory(server) - before < 20 * MEBIBYTE


@pytest.mark.pitfall(5)
def test_a_chunked_body_is_rejected_when_it_exceeds_the_limit(start_bridge_app: StartServer) -> None:
    server = start_bridge_app(BRIDGE_APP_LIMITS='{"max_body_bytes": 1048576}')
    fits, too_long = [b"x" * 65536] * 16, [b"x" * 65536] * 16 + [b"x"]

    responses = [server.post("/size", content=iter(chunks)) for chunks in (fits, too_long)]

    assert [response.status_code for response in responses] == [200, 413]
    assert (responses[0].json(), responses[1].json()["code"]) == (MEBIBYTE, "content_too_large")
    assert server.log.count("size: called") == 1


def test_expect_100_continue_is_rejected_for_a_too_large_body(share_bridge_app: StartServer, open_socket: Open) -> None:
    server = share_bridge_app()
    expecting = head("POST", "/size") + "Expect: 100-continue\r\nConnection: close\r\nContent-Length: {}\r\n\r\n"

    accepted, rejected = (open_socket(server, expecting.format(length)) for length in (2, 15 * MEBIBYTE + 1))
    heads = [client.recv(25) for client in (accepted, rejected)]

    assert [line.split()[1] for line in heads] == [b"100", b"413"]
    accepted.sendall(b"Hi")
    assert body_of(read_all(accepted)) == b"2"


def test_data_after_a_rejected_body_is_not_parsed_as_a_request(start_bridge_app: StartServer, open_socket: Open) -> None:
    server = start_bridge_app()
    too_long = head("POST", "/size") + f"Content-Length: {15 * MEBIBYTE + 1}\r\n\r\n"

    client = open_socket(server, too_long + head("POST", "/size") + "Content-Length: 0\r\n\r\n")

    assert read_all(client).count(b"HTTP/1.1") == 1
    assert "size: called" not in server.log


def test_a_rejected_client_that_keeps_sending_is_disconnected(start_bridge_app: StartServer, open_socket: Open) -> None:
    server = start_bridge_app(BRIDGE_APP_LIMITS='{"linger_timeout": 0.5}')
    client = open_socket(server, head("POST", "/size") + f"Content-Length: {10**12}\r\n\r\n")

    with pytest.raises(ConnectionError):
        send_until_disconnected(client)


def test_a_form_is_not_parsed_in_memory(start_bridge_app: StartServer) -> None:
    server = start_bridge_app()
    before = memory(server)
    form = {"Content-Type": "application/x-www-form-urlencoded"}

    response = server.post("/size", content=b"abc=123&" * MEBIBYTE, headers=form)

    assert response.json() == 8 * MEBIBYTE
    assert memory(server) - before < 64 * MEBIBYTE


# Slow clients


@pytest.mark.pitfall(5)
def test_clients_that_do_not_read_pause_the_sender(start_bridge_app: StartServer, open_socket: Open) -> None:
    server = start_bridge_app()
    before = memory(server)

    clients = [open_socket(server, head("GET", "/stream?mebibytes=50") + "Connection: close\r\n\r\n") for _ in range(CLIENTS)]
    heads = [client.recv(100, socket.MSG_WAITALL) for client in clients]
    server.get("/slow?seconds=1")  # enough time to send everything

    assert all(head.startswith(b"HTTP/1.1 200") for head in heads)
    assert "stream: finished" not in server.log
    assert memory(server) - before < 20 * MEBIBYTE
    assert len(read_all(clients[0])) > 50 * MEBIBYTE


def test_a_long_response_in_one_chunk_arrives_complete(share_bridge_app: StartServer) -> None:
    server = share_bridge_app()

    response = server.get("/long?mebibytes=5")

    assert response.content == b"".join(bytes([number]) * MEBIBYTE for number in range(5))


@pytest.mark.pitfall(6)
@pytest.mark.parametrize("path", ["/stream", "/long"])
def test_a_client_that_reads_nothing_for_too_long_is_disconnected(
    share_bridge_app: StartServer, open_socket: Open, path: str
) -> None:
    server = share_bridge_app(BRIDGE_APP_LIMITS='{"write_timeout": 0.5}')

    client = open_socket(server, head("GET", f"{path}?mebibytes=50") + "\r\n")
    server.get("/slow?seconds=1.5")

    with pytest.raises(ConnectionError):
        read_all(client)
    assert "stream: finished" not in server.log


# Timeouts


@pytest.mark.pitfall(6)
@pytest.mark.parametrize("rest", ["X-Long: ", "Content-Length: 1000\r\n\r\n"], ids=["header", "body"])
def test_a_request_that_arrives_too_slowly_is_rejected(share_bridge_app: StartServer, open_socket: Open, rest: str) -> None:
    server = share_bridge_app(BRIDGE_APP_LIMITS='{"header_timeout": 0.5, "body_timeout": 0.5}')

    response = trickle(open_socket(server, head("POST", "/size") + rest))

    assert response.startswith(b"HTTP/1.1 408 ")
    assert json.loads(body_of(response)) == {
        "detail": "The request was not received within 0.5 seconds.",
        "code": "request_timeout",
    }


@pytest.mark.pitfall(6)
def test_a_request_line_that_arrives_too_slowly_closes_the_connection(start_bridge_app: StartServer, open_socket: Open) -> None:
    server = start_bridge_app(BRIDGE_APP_LIMITS='{"header_timeout": 0.5}')

    assert trickle(open_socket(server, "GET /")) == b""


def test_a_keep_alive_connection_may_be_idle_longer_than_the_header_timeout(share_bridge_app: StartServer) -> None:
    server = share_bridge_app(BRIDGE_APP_LIMITS='{"header_timeout": 0.5, "body_timeout": 0.5}')

    with server.client() as client:
        client.post("/size", content=b"Hi")
        connection = connections_of(client)
        server.get("/slow?seconds=1")

        assert client.get("/slow?seconds=1").json() == {"slept": 1}
        assert connections_of(client) == connection


# WebSockets


@pytest.mark.anyio
async def test_a_too_long_message_closes_the_websocket_with_1009(share_bridge_app: StartServer) -> None:
    server = share_bridge_app()

    async with connect(f"{server.ws_url}/echo") as client:
        await client.send("x" * MEBIBYTE)
        echoed = await client.recv()
        await client.send("x" * (MEBIBYTE + 1))
        await asyncio.wait_for(client.wait_closed(), WAIT_TIMEOUT_SECONDS)

    assert (len(echoed), client.close_code) == (MEBIBYTE, 1009)


@pytest.mark.pitfall(5)
@pytest.mark.anyio
async def test_a_websocket_client_that_does_not_read_pauses_the_sender(start_bridge_app: StartServer) -> None:
    server = start_bridge_app()
    before = memory(server)

    async with connect(f"{server.ws_url}/flood?mebibytes=50", max_queue=1) as client:
        await asyncio.to_thread(server.get, "/slow?seconds=1")  # enough time to send everything

        assert "flood: finished" not in server.log
        assert memory(server) - before < 20 * MEBIBYTE
        assert sum([len(message) async for message in client]) == 50 * MEBIBYTE


@pytest.mark.pitfall(6)
@pytest.mark.anyio
async def test_a_websocket_client_that_reads_nothing_for_too_long_is_disconnected(share_bridge_app: StartServer) -> None:
    server = share_bridge_app(BRIDGE_APP_LIMITS='{"write_timeout": 0.5}')

    async with connect(f"{server.ws_url}/flood?mebibytes=50", max_queue=1) as client:
        await asyncio.to_thread(server.get, "/slow?seconds=1.5")

        with pytest.raises(ConnectionClosedError):
            assert [len(message) async for message in client] != [MEBIBYTE] * 50


@pytest.mark.pitfall(5)
@pytest.mark.anyio
async def test_an_application_that_does_not_receive_pauses_the_client(start_bridge_app: StartServer) -> None:
    server = start_bridge_app()
    before = memory(server)

    async with connect(f"{server.ws_url}/receive-later") as client:
        sending = asyncio.create_task(send_all(client, [bytes(MEBIBYTE)] * 50 + [b""]))
        await asyncio.to_thread(server.get, "/slow?seconds=1")  # enough time to receive everything

        assert not sending.done()
        assert memory(server) - before < 20 * MEBIBYTE
        await asyncio.to_thread(server.post, "/start-receiving")
        assert await client.recv() == "50"
        await sending


@pytest.mark.pitfall(6)
def test_a_websocket_whose_client_sends_no_pong_is_closed(start_bridge_app: StartServer, open_socket: Open) -> None:
    server = start_bridge_app("serve", "--ping-interval", "1", "--ping-timeout", "1")

    client = open_socket(server, head("GET", "/echo") + UPGRADE)

    with pytest.raises(ConnectionError):
        read_all(client)


def head(method: str, path: str) -> str:
    """Return the first lines of a request."""
    return HEAD.format(method=method, path=path)


def memory(server: Server) -> int:
    """Return the resident memory of the server process, in bytes."""
    return int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]) * resource.getpagesize()


def read_all(client: socket.socket) -> bytes:
    """Read until the server closes the connection. Return the data."""
    response = bytearray()
    while chunk := client.recv(MEBIBYTE):
        response += chunk
    return bytes(response)


def body_of(response: bytes) -> bytes:
    """Return the body of a response."""
    return response.partition(b"\r\n\r\n")[2]


def send_until_disconnected(client: socket.socket) -> None:
    """Send data until the server closes the connection. Raises ConnectionError."""
    while True:
        client.sendall(bytes(MEBIBYTE))


async def send_all(client: ClientConnection, messages: list[bytes]) -> None:
    """Send the messages one after the other."""
    for message in messages:
        await client.send(message)


def trickle(client: socket.socket) -> bytes:
    """Send one byte every 0.1 s until the server responds or closes the connection. Return the response."""
    client.settimeout(0.1)
    for _ in range(100):
        client.sendall(b"x")
        try:
            return client.recv(MEBIBYTE)
        except TimeoutError:
            continue
    raise AssertionError("The server did not disconnect a slow client")


def connections_of(client: httpx.Client) -> list[int]:
    """Return the ids of the client's open connections."""
    return [id(connection) for connection in client._transport._pool.connections]  # type: ignore[attr-defined]  # httpx
