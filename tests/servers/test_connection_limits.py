"""What a client may bring, how long it may take, and what it costs when it does not read: against real processes."""

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
from tests.processes import PATIENCE, Server

MEBIBYTE = 1024 * 1024
HEAD = "{method} {path} HTTP/1.1\r\nHost: localhost\r\n"
UPGRADE = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    f"Sec-WebSocket-Key: {base64.b64encode(bytes(16)).decode()}\r\n\r\n"
)
CLIENTS = 3
Open = Callable[[Server, str], socket.socket]


@pytest.fixture
def opened() -> Iterator[Open]:
    """Open a connection and say something."""
    with ExitStack() as connections:

        def open_connection(server: Server, said: str) -> socket.socket:
            client = connections.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE))
            client.sendall(said.encode())
            return client

        yield open_connection


# Bodies


@pytest.mark.pitfall(5)
def test_a_body_announced_too_long_is_refused_before_it_is_read(probe: StartServer, opened: Open) -> None:
    server = probe()

    client = opened(server, head("POST", "/size") + f"Content-Length: {15 * MEBIBYTE + 1}\r\n\r\n")
    answer = read_all(client)

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"\r\nCache-Control: no-store\r\n" in answer
    assert b"Connection: close" in answer
    assert json.loads(body_of(answer)) == {"detail": "A request has up to 15728640 bytes.", "code": "content_too_large"}
    assert "size: called" not in server.log


@pytest.mark.pitfall(5)
def test_clients_that_send_all_of_it_read_why_it_was_refused_and_cost_no_memory(probe: StartServer, opened: Open) -> None:
    server = probe()
    before = memory(server)
    clients = [opened(server, head("POST", "/size") + f"Content-Length: {50 * MEBIBYTE}\r\n\r\n") for _ in range(CLIENTS)]

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(lambda client: client.sendall(bytes(50 * MEBIBYTE)), clients))

    assert [read_all(client)[:13] for client in clients] == [b"HTTP/1.1 413 "] * CLIENTS
    assert memory(server) - before < 20 * MEBIBYTE


@pytest.mark.pitfall(5)
def test_a_body_of_unknown_length_is_cut_off_when_it_passes_the_limit(probe: StartServer) -> None:
    server = probe(PROBE_LIMITS='{"body": 1048576}')
    fits, too_long = [b"x" * 65536] * 16, [b"x" * 65536] * 16 + [b"x"]

    answers = [server.post("/size", content=iter(pieces)) for pieces in (fits, too_long)]

    assert [answer.status_code for answer in answers] == [200, 413]
    assert (answers[0].json(), answers[1].json()["code"]) == (MEBIBYTE, "content_too_large")
    assert server.log.count("size: called") == 1


def test_a_client_that_asks_first_is_not_told_to_continue(probe: StartServer, opened: Open) -> None:
    server = probe()
    expecting = head("POST", "/size") + "Expect: 100-continue\r\nConnection: close\r\nContent-Length: {}\r\n\r\n"

    welcome, refused = (opened(server, expecting.format(length)) for length in (2, 15 * MEBIBYTE + 1))
    told = [client.recv(25) for client in (welcome, refused)]

    assert [line.split()[1] for line in told] == [b"100", b"413"]
    welcome.sendall(b"Hi")
    assert body_of(read_all(welcome)) == b"2"


def test_nothing_behind_a_refused_body_is_taken_for_a_request(probe: StartServer, opened: Open) -> None:
    server = probe()
    too_long = head("POST", "/size") + f"Content-Length: {15 * MEBIBYTE + 1}\r\n\r\n"

    client = opened(server, too_long + head("POST", "/size") + "Content-Length: 0\r\n\r\n")

    assert read_all(client).count(b"HTTP/1.1") == 1
    assert "size: called" not in server.log


def test_a_refused_client_that_goes_on_is_cut_off_after_a_while(probe: StartServer, opened: Open) -> None:
    server = probe(PROBE_LIMITS='{"linger": 0.5}')
    client = opened(server, head("POST", "/size") + f"Content-Length: {10**12}\r\n\r\n")

    with pytest.raises(ConnectionError):
        push(client)


def test_a_form_is_not_taken_apart_in_memory(probe: StartServer) -> None:
    server = probe()
    before = memory(server)
    form = {"Content-Type": "application/x-www-form-urlencoded"}

    answer = server.post("/size", content=b"abc=123&" * MEBIBYTE, headers=form)

    assert answer.json() == 8 * MEBIBYTE
    assert memory(server) - before < 64 * MEBIBYTE


# Readers


@pytest.mark.pitfall(5)
def test_clients_that_do_not_read_stop_the_sender(probe: StartServer, opened: Open) -> None:
    server = probe()
    before = memory(server)

    clients = [opened(server, head("GET", "/stream?mebibytes=50") + "Connection: close\r\n\r\n") for _ in range(CLIENTS)]
    heads = [client.recv(100, socket.MSG_WAITALL) for client in clients]
    server.get("/slow?seconds=1")  # time to send all of it

    assert all(head.startswith(b"HTTP/1.1 200") for head in heads)
    assert "stream: ended" not in server.log
    assert memory(server) - before < 20 * MEBIBYTE
    assert len(read_all(clients[0])) > 50 * MEBIBYTE


def test_a_long_answer_in_one_piece_arrives_whole(probe: StartServer) -> None:
    server = probe()

    answer = server.get("/long?mebibytes=5")

    assert answer.content == b"".join(bytes([number]) * MEBIBYTE for number in range(5))


@pytest.mark.pitfall(6)
@pytest.mark.parametrize("path", ["/stream", "/long"])
def test_a_client_that_reads_nothing_for_too_long_is_cut_off(probe: StartServer, opened: Open, path: str) -> None:
    server = probe(PROBE_LIMITS='{"send_timeout": 0.5}')

    client = opened(server, head("GET", f"{path}?mebibytes=50") + "\r\n")
    server.get("/slow?seconds=1.5")

    with pytest.raises(ConnectionError):
        read_all(client)
    assert "stream: ended" not in server.log


# Deadlines


@pytest.mark.pitfall(6)
@pytest.mark.parametrize("rest", ["X-Long: ", "Content-Length: 1000\r\n\r\n"], ids=["header", "body"])
def test_a_request_that_trickles_is_cut_off(probe: StartServer, opened: Open, rest: str) -> None:
    server = probe(PROBE_LIMITS='{"header_timeout": 0.5, "body_timeout": 0.5}')

    answer = trickle(opened(server, head("POST", "/size") + rest))

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert json.loads(body_of(answer)) == {"detail": "The request did not come within 0.5 seconds.", "code": "request_timeout"}


@pytest.mark.pitfall(6)
def test_a_request_line_that_trickles_is_cut_off(probe: StartServer, opened: Open) -> None:
    server = probe(PROBE_LIMITS='{"header_timeout": 0.5}')

    assert trickle(opened(server, "GET /")) == b""


def test_a_kept_connection_may_rest_for_longer_than_a_header_may_take(probe: StartServer) -> None:
    server = probe(PROBE_LIMITS='{"header_timeout": 0.5, "body_timeout": 0.5}')

    with server.client() as client:
        client.post("/size", content=b"Hi")
        connection = connections_of(client)
        server.get("/slow?seconds=1")

        assert client.get("/slow?seconds=1").json() == {"slept": 1}
        assert connections_of(client) == connection


# Sockets


@pytest.mark.anyio
async def test_a_message_that_is_too_long_closes_the_socket_with_1009(probe: StartServer) -> None:
    server = probe()

    async with connect(f"{server.ws_url}/echo") as client:
        await client.send("x" * MEBIBYTE)
        echoed = await client.recv()
        await client.send("x" * (MEBIBYTE + 1))
        await asyncio.wait_for(client.wait_closed(), PATIENCE)

    assert (len(echoed), client.close_code) == (MEBIBYTE, 1009)


@pytest.mark.pitfall(5)
@pytest.mark.anyio
async def test_a_socket_that_does_not_read_stops_its_sender(probe: StartServer) -> None:
    server = probe()
    before = memory(server)

    async with connect(f"{server.ws_url}/flood?mebibytes=50", max_queue=1) as client:
        await asyncio.to_thread(server.get, "/slow?seconds=1")  # time to send all of it

        assert "flood: ended" not in server.log
        assert memory(server) - before < 20 * MEBIBYTE
        assert sum([len(message) async for message in client]) == 50 * MEBIBYTE


@pytest.mark.pitfall(6)
@pytest.mark.anyio
async def test_a_socket_that_reads_nothing_for_too_long_is_cut_off(probe: StartServer) -> None:
    server = probe(PROBE_LIMITS='{"send_timeout": 0.5}')

    async with connect(f"{server.ws_url}/flood?mebibytes=50", max_queue=1) as client:
        await asyncio.to_thread(server.get, "/slow?seconds=1.5")

        with pytest.raises(ConnectionClosedError):
            assert [len(message) async for message in client] != [MEBIBYTE] * 50


@pytest.mark.pitfall(5)
@pytest.mark.anyio
async def test_an_application_that_does_not_receive_stops_the_client(probe: StartServer) -> None:
    server = probe()
    before = memory(server)

    async with connect(f"{server.ws_url}/deaf") as client:
        pushing = asyncio.create_task(send_all(client, [bytes(MEBIBYTE)] * 50 + [b""]))
        await asyncio.to_thread(server.get, "/slow?seconds=1")  # time to take all of it

        assert not pushing.done()
        assert memory(server) - before < 20 * MEBIBYTE
        await asyncio.to_thread(server.post, "/hear")
        assert await client.recv() == "50"
        await pushing


@pytest.mark.pitfall(6)
def test_a_socket_whose_client_answers_no_ping_is_closed(probe: StartServer, opened: Open) -> None:
    server = probe("serve", "--ping-interval", "1", "--ping-timeout", "1")

    client = opened(server, head("GET", "/echo") + UPGRADE)

    with pytest.raises(ConnectionError):
        read_all(client)


def head(method: str, path: str) -> str:
    """The first lines of a request."""
    return HEAD.format(method=method, path=path)


def memory(server: Server) -> int:
    """The resident memory of its process, in bytes."""
    return int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]) * resource.getpagesize()


def read_all(client: socket.socket) -> bytes:
    """What comes until the server closes."""
    answer = bytearray()
    while chunk := client.recv(MEBIBYTE):
        answer += chunk
    return bytes(answer)


def body_of(answer: bytes) -> bytes:
    """What follows the header."""
    return answer.partition(b"\r\n\r\n")[2]


def push(client: socket.socket) -> None:
    """Send until the server is tired of it."""
    while True:
        client.sendall(bytes(MEBIBYTE))


async def send_all(client: ClientConnection, messages: list[bytes]) -> None:
    """Send one after the other."""
    for message in messages:
        await client.send(message)


def trickle(client: socket.socket) -> bytes:
    """Send a byte now and then until the server answers or closes. Gives its answer."""
    client.settimeout(0.1)
    for _ in range(100):
        client.sendall(b"x")
        try:
            return client.recv(MEBIBYTE)
        except TimeoutError:
            continue
    raise AssertionError("The server is very patient")


def connections_of(client: httpx.Client) -> list[int]:
    """Its connections, by their identity."""
    return [id(connection) for connection in client._transport._pool.connections]  # type: ignore[attr-defined]  # httpx
