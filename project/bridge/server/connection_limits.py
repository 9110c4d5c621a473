"""Limits on the size and duration of one connection's requests, with backpressure in both directions.

Stock Daphne reads everything that a client sends, and keeps in memory all data that the client has not read yet.
"""

import asyncio
from dataclasses import dataclass
from time import monotonic
from typing import Any

from starlette.types import Message

from ..middleware.proxy_headers import Network

MAX_QUEUED_BYTES = 64 * 1024  # messages of one WebSocket that wait for the application
BURST_SECONDS = 1.0  # messages for this many seconds may arrive at once
MESSAGE_OVERHEAD_BYTES = 256  # memory per message, counted so that tiny messages cannot bypass the limit


@dataclass(frozen=True)
class ConnectionLimits:
    """Limits of one connection. Sizes are in bytes, timeouts in seconds."""

    max_body_bytes: int = 15 * 1024 * 1024
    # Of a request with neither an Authorization header nor a cookie. A larger body is read only if the application asks for it.
    max_anonymous_body_bytes: int | None = None
    messages_per_second: int = 10_000  # read from one WebSocket; 0 means unlimited. Control frames and fragments count too
    max_connections_per_address: int = 2000  # from one IPv4 address or IPv6 /64 network; 0 means unlimited
    proxies: frozenset[Network | str] = frozenset()  # `proxy_headers.parse_proxies`; they may open more connections
    first_byte_timeout: float = 10.0  # from the start of the connection
    header_timeout: float = 20.0  # for all headers of a request, from the first byte
    keep_alive_timeout: float = 60.0  # for the first byte of the next request
    body_timeout: float = 120.0  # for the whole body, from the end of the headers
    write_timeout: float = 60.0  # for a slow client to read the data that was sent last
    linger_timeout: float = 10.0  # for a rejected client to read the error response before it is disconnected


DEFAULT_LIMITS = ConnectionLimits()


class WriteBackpressure:
    """Push producer for Twisted. Tracks whether one client reads, and disconnects a client that does not read for too long."""

    def __init__(self, transport: Any, timeout: float) -> None:
        self.is_writable = True
        self._writable = asyncio.Event()
        self._transport = transport
        self._timeout = timeout
        self._deadline: asyncio.TimerHandle | None = None

    async def wait_until_writable(self) -> None:
        """Wait until more data can be sent to the client, or the client has disconnected."""
        await self._writable.wait()

    def pauseProducing(self) -> None:  # noqa: N802  # Twisted's name
        """Pause, and start the timeout. Twisted calls this again for every write while the client does not read."""
        if self.is_writable:
            self.is_writable = False
            self._writable.clear()
            self._deadline = asyncio.get_running_loop().call_later(self._timeout, self._transport.abortConnection)

    def resumeProducing(self) -> None:  # noqa: N802  # Twisted's name
        """Resume, and cancel the timeout."""
        self.is_writable = True
        self._writable.set()
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def stopProducing(self) -> None:  # noqa: N802  # Twisted's name
        """Resume, and stay writable: the client has disconnected, and the server drops further data."""
        self.resumeProducing()


class ReadGate:
    """Pauses and resumes reading from one client for several parts of the server. Reading goes on when no part pauses it."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._pauses = 0

    @property
    def is_paused(self) -> bool:
        """Return whether any part pauses reading."""
        return self._pauses > 0

    def pauseProducing(self) -> None:  # noqa: N802  # Twisted's name
        """Pause reading. Each part that calls this method must later call `resumeProducing` once."""
        self._pauses += 1
        if self._pauses == 1:
            self._transport.pauseProducing()

    def resumeProducing(self) -> None:  # noqa: N802  # Twisted's name
        """End one pause."""
        self._pauses -= 1
        if not self._pauses:
            self._transport.resumeProducing()


class TokenBucket:
    """Token bucket that holds `BURST_SECONDS` worth of tokens. The only state is the time when the bucket will be full again.

    If `per_second` is 0, tokens are unlimited.
    """

    def __init__(self, per_second: int) -> None:
        self._step = 1 / per_second if per_second else 0.0
        self._full_at = 0.0

    def take(self) -> float:
        """Consume one token. Return the seconds until the token is available; zero or less means now."""
        now = monotonic()
        self._full_at = max(self._full_at, now) + self._step
        return self._full_at - now - BURST_SECONDS


class ReceiveQueue(asyncio.Queue[Message]):
    """Messages of one WebSocket that the application has not received yet.

    While the queue is full, the server does not read from the client. So a client that sends more than `messages_per_second` is
    slowed down, and no message is lost.
    """

    def __init__(self, transport: Any, *, messages_per_second: int) -> None:
        super().__init__()
        self._transport = transport
        self._bucket = TokenBucket(messages_per_second)
        self._queued_bytes = 0
        self._is_disconnected = False
        self.is_full = False

    def put_nowait(self, item: Message) -> None:
        """Add a message, even if the queue is full. If the queue is now full, stop reading from the client."""
        self._is_disconnected = self._is_disconnected or item["type"] == "websocket.disconnect"
        super().put_nowait(item)
        self._queued_bytes += _size_of(item)
        if self._queued_bytes > MAX_QUEUED_BYTES and not self.is_full:
            self.is_full = True
            self._transport.pauseProducing()

    def count_frame(self) -> float:
        """Count a control frame or a fragment like a message. Return the seconds for which to read nothing."""
        return self._bucket.take()

    async def get(self) -> Message:
        """Wait for the next message and return it. Keep to the rate limit until the client disconnects."""
        wait = 0.0 if self._is_disconnected else max(0.0, self._bucket.take())
        # Even without a wait, other connections are served between two messages. `asyncio.Queue.get` does not suspend the caller
        # while messages are waiting, so the application would handle hundreds of tiny messages at once.
        await asyncio.sleep(wait)
        item = await super().get()
        self._queued_bytes -= _size_of(item)
        if self.is_full and self._queued_bytes <= MAX_QUEUED_BYTES // 2:
            self.is_full = False
            self._transport.resumeProducing()
        return item


def _size_of(message: Message) -> int:
    return MESSAGE_OVERHEAD_BYTES + len(message.get("bytes") or message.get("text") or "")
