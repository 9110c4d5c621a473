"""Many WebSocket clients that only count events, and that count losses instead of waiting for them."""

import asyncio
import base64
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from tests.processes import Server

MARK = b'"email_id"'
QUIET_SECONDS = 5.0  # without another receipt, the missing messages count as lost
TIMEOUT_SECONDS = 120  # for opening the clients, and for each measurement


class CountingClient(asyncio.Protocol):
    """A WebSocket client that only counts events, so that it costs almost nothing."""

    def __init__(self, path: str, key: str, on_events: Callable[[], None]) -> None:
        self.count = 0
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._on_events, self._rest = on_events, b""
        nonce = base64.b64encode(os.urandom(16)).decode()
        self._handshake = (
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {nonce}\r\nSec-WebSocket-Version: 13\r\nAuthorization: Bearer {key}\r\n\r\n"
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the handshake."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self._handshake.encode())

    def data_received(self, data: bytes) -> None:
        """Count events."""
        data = self._rest + data
        if not self.opened.done() and b"ready" in data:
            self.opened.set_result(None)
        elif not self.opened.done() and data.startswith(b"HTTP/1.1 ") and not data.startswith(b"HTTP/1.1 101"):
            self.opened.set_exception(ConnectionRefusedError(data.decode(errors="replace")))
        if found := data.count(MARK):
            self.count += found
            self._on_events()
        self._rest = data[-len(MARK) + 1 :] if not data.endswith(MARK) else b""


class ClientGroup:
    """Many clients, and when the clients last received an event."""

    def __init__(self, *, quiet_seconds: float = QUIET_SECONDS) -> None:
        self.sockets: list[CountingClient] = []
        self.last_receipt = 0.0
        self._quiet_seconds = quiet_seconds
        self._expected, self._done = 0, asyncio.Event()

    @property
    def received(self) -> int:
        """The number of receipts by all clients since the last `wait`."""
        return sum(socket.count for socket in self.sockets)

    def on_events(self) -> None:
        """Record a receipt."""
        self.last_receipt = time.perf_counter()
        if self.received >= self._expected:
            self._done.set()

    async def wait(self, events: int) -> int:
        """Wait until all clients have received this many events, or until no client receives any more. Return the receipts."""
        self._expected = events * len(self.sockets)
        self._done.clear()
        before = -1
        while self.received < self._expected and self.received > before:
            before = self.received
            with suppress(TimeoutError):
                async with asyncio.timeout(self._quiet_seconds):
                    await self._done.wait()
        received = self.received
        for socket in self.sockets:
            socket.count = 0
        return received


@asynccontextmanager
async def open_clients(server: Server, count: int, *, path: str = "/api/ws/events", key: str = "") -> AsyncIterator[ClientGroup]:
    """Open `count` clients."""
    many, loop = ClientGroup(), asyncio.get_running_loop()
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            for _ in range(count):
                client = CountingClient(path, key, many.on_events)
                await loop.create_connection(lambda client=client: client, "127.0.0.1", server.port)  # type: ignore[misc]
                many.sockets.append(client)
                await client.opened
        yield many
    finally:
        for socket in many.sockets:
            socket.transport.abort()
