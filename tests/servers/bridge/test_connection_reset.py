"""Clients that disconnect with a TCP reset, as phones and proxies do."""

import base64
import os
import socket
import struct

import pytest

from tests.conftest import StartServer
from tests.processes import Server, wait_for

HANDSHAKE = "GET /api/ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
KEY = f"Sec-WebSocket-Key: {base64.b64encode(bytes(16)).decode()}\r\nSec-WebSocket-Version: 13\r\n\r\n"
TEXT_FRAME = b"\x81\x82\0\0\0\0Hi"  # a masked text frame (RFC 6455 section 5.2)


def send_and_reset(server: Server) -> None:
    """Open a WebSocket, and send a text followed at once by a reset."""
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall((HANDSHAKE.format(port=server.port) + KEY).encode())
        client.recv(4096)
        client.sendall(TEXT_FRAME)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def open_files(server: Server) -> int:
    """Return how many file descriptors the server process has open."""
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))  # noqa: PTH208  # only the names are needed


@pytest.mark.parametrize("kind", ["serve", "daphne"])
def test_a_reset_connection_leaves_no_open_socket(start: StartServer, kind: str) -> None:
    server = start(kind)
    server.get("/api/")
    before = open_files(server)

    for _ in range(20):
        send_and_reset(server)

    wait_for(lambda: open_files(server) <= before + 2, "its sockets are closed", lambda: server.log)
    assert server.terminate() == 0
    assert "Traceback" not in server.log
