"""Timeouts that an operator can set: the time to receive a request body, and the time for a client to read a response."""

import asyncio
import socket

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedError

from tests.conftest import StartServer
from tests.processes import WAIT_TIMEOUT_SECONDS

POST = b"POST /api/emails HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"


def test_request_body_timeout_limits_the_time_for_a_body(start: StartServer) -> None:
    server = start(REQUEST_BODY_TIMEOUT="0.5")

    with socket.create_connection(("127.0.0.1", server.port), timeout=WAIT_TIMEOUT_SECONDS) as client:
        client.sendall(POST)
        response = client.recv(4096)

    assert response.startswith(b"HTTP/1.1 408 ")
    assert b"The request was not received within 0.5 seconds." in response


@pytest.mark.anyio
async def test_client_write_timeout_disconnects_a_client_that_does_not_read(start: StartServer) -> None:
    server = start(CLIENT_WRITE_TIMEOUT="0.5")

    async with connect(f"{server.ws_url}/api/ws", max_queue=1) as client:
        with pytest.raises(ConnectionClosedError):
            await asyncio.wait_for(_send_forever(client), WAIT_TIMEOUT_SECONDS)


async def _send_forever(client: ClientConnection) -> None:
    while True:
        await client.send("x" * 60_000)
