"""Limits on what one connection may send and how long it may take, with backpressure in both directions.

Stock Daphne reads everything a client sends, and buffers in memory everything a client does not read.
"""

import asyncio
from dataclasses import dataclass
from time import monotonic
from typing import Any

from starlette.types import Message

MAX_QUEUED_BYTES = 64 * 1024  # of one WebSocket's messages that wait for the application
BURST_SECONDS = 1.0  # the messages of this many seconds may arrive at once
MESSAGE_OVERHEAD_BYTES = 256  # of memory per message; counted, so that one-byte messages cannot bypass the limit


@dataclass(frozen=True)
class ConnectionLimits:
    """Limits of one connection. Sizes are in bytes, timeouts in seconds."""

    max_body_bytes: int = 15 * 1024 * 1024
    messages_per_second: int = 10_000  # read from one WebSocket; 0 means unlimited
    header_timeout: float = 20.0  # for all headers of a request, from the first byte
    body_timeout: float = 120.0  # for the whole body, from the end of the headers
    write_timeout: float = 60.0  # for a slow client to read what was sent last
    linger_timeout: float = 10.0  # for a rejected client to read the error response before it is disconnected


DEFAULT_LIMITS = ConnectionLimits()


class WriteBackpressure:
    """Push producer for Twisted: tracks whether one client reads, and disconnects a client that stops reading for too long."""

    def __init__(self, transport: Any, timeout: float) -> None:
        self.is_writable = True
        self._writable = asyncio.Event()
        self._transport = transport
        self._timeout = timeout
        self._deadline: asyncio.TimerHandle | None = None

    async def wait_until_writable(self) -> None:
        """Return when the client can be sent more data, or is gone."""
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
        """Resume for good: the client is gone, and the server drops what is sent to it."""
        self.resumeProducing()


class TokenBucket:
    """Token bucket for `BURST_SECONDS` of tokens, stored as the time when the bucket is full again.

    0 per second means unlimited.
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
    """Messages of one WebSocket that the application has not received yet. While the queue is full, the client is not read.

    So a client that sends more than `messages_per_second` is slowed down, and no message is lost.
    """

    def __init__(self, transport: Any, *, messages_per_second: int) -> None:
        super().__init__()
        self._transport = transport
        self._bucket = TokenBucket(messages_per_second)
        self._queued_bytes = 0
        self._is_disconnected = False
        self.is_full = False

    def put_nowait(self, item: Message) -> None:
        """Add any message, and stop reading the client if the queue is now full."""
        self._is_disconnected = self._is_disconnected or item["type"] == "websocket.disconnect"
        super().put_nowait(item)
        self._queued_bytes += _size_of(item)
        if self._queued_bytes > MAX_QUEUED_BYTES and not self.is_full:
            self.is_full = True
            self._transport.pauseProducing()

    async def get(self) -> Message:
        """Return the next message, not faster than the rate limit. After a disconnect there is no limit."""
        if (wait := self._bucket.take()) > 0 and not self._is_disconnected:
            await asyncio.sleep(wait)
        item = await super().get()
        self._queued_bytes -= _size_of(item)
        if self.is_full and self._queued_bytes <= MAX_QUEUED_BYTES // 2:
            self.is_full = False
            self._transport.resumeProducing()
        return item


def _size_of(message: Message) -> int:
    return MESSAGE_OVERHEAD_BYTES + len(message.get("bytes") or message.get("text") or "")
