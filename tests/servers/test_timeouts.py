"""The deadlines that an operator may set: for a body to come, and for what is sent to be taken."""

import asyncio
import socket

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedError

from tests.conftest import StartServer
from tests.processes import PATIENCE

POST = b"POST /api/emails HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"


def test_a_body_has_as_long_as_the_operator_says(start: StartServer) -> None:
    server = start(REQUEST_BODY_TIMEOUT="0.5")

    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as client:
        client.sendall(POST)
        answer = client.recv(4096)

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"The request did not come within 0.5 seconds." in answer


@pytest.mark.anyio
async def test_who_takes_nothing_is_cut_off_when_the_operator_says(start: StartServer) -> None:
    server = start(CLIENT_WRITE_TIMEOUT="0.5")

    async with connect(f"{server.ws_url}/api/ws", max_queue=1) as client:
        with pytest.raises(ConnectionClosedError):
            await asyncio.wait_for(_talk(client), PATIENCE)


async def _talk(client: ClientConnection) -> None:
    while True:
        await client.send("x" * 60_000)
