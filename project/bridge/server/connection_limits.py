"""How much a client may bring, how long it may take, and what waits while it does not listen.

Stock Daphne reads whatever is sent, and keeps in memory whatever is not read.
"""

import asyncio
from dataclasses import dataclass
from time import monotonic
from typing import Any

from starlette.types import Message

MAX_QUEUED_BYTES = 64 * 1024  # bytes of a socket's messages that may wait for the application
BURST_SECONDS = 1.0  # seconds whose messages may come at once
MESSAGE_OVERHEAD_BYTES = 256  # of a message in memory, in bytes: one byte a message is no way around the limit


@dataclass(frozen=True)
class ConnectionLimits:
    """Of one connection, in bytes and seconds."""

    body: int = 15 * 1024 * 1024
    messages: int = 10_000  # of a socket, a second; 0 for any number
    header_timeout: float = 20.0  # for a whole header, from its first byte
    body_timeout: float = 120.0  # for a whole body, from the end of its header
    send_timeout: float = 60.0  # for what was sent last to be taken
    linger: float = 10.0  # for a refused client to read why


DEFAULT_LIMITS = ConnectionLimits()


class WriteBackpressure:
    """The way to one client, a push producer to Twisted: shut while it does not read, cut off when it does not for too long."""

    def __init__(self, transport: Any, timeout: float) -> None:
        self.is_open = True
        self._opens = asyncio.Event()
        self._transport = transport
        self._timeout = timeout
        self._deadline: asyncio.TimerHandle | None = None

    async def wait(self) -> None:
        """Return when the client can be sent more, or has gone."""
        await self._opens.wait()

    def pauseProducing(self) -> None:  # noqa: N802  # Twisted's name
        """Shut it. Called again for all that is written meanwhile."""
        if self.is_open:
            self.is_open = False
            self._opens.clear()
            self._deadline = asyncio.get_running_loop().call_later(self._timeout, self._transport.abortConnection)

    def resumeProducing(self) -> None:  # noqa: N802  # Twisted's name
        """Open it."""
        self.is_open = True
        self._opens.set()
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def stopProducing(self) -> None:  # noqa: N802  # Twisted's name
        """Open it for good: what is sent to a client that has gone is dropped elsewhere."""
        self.resumeProducing()


class TokenBucket:
    """So many a second, 0 for any number: a token bucket with room for those of one `SPELL`, kept as the time when it is full."""

    def __init__(self, per_second: int) -> None:
        self._step = 1 / per_second if per_second else 0.0
        self._full_at = 0.0

    def take(self) -> float:
        """Take one. Gives the seconds until it is there: none or less, if it is."""
        now = monotonic()
        self._full_at = max(self._full_at, now) + self._step
        return self._full_at - now - BURST_SECONDS


class ReceiveQueue(asyncio.Queue[Message]):
    """What came over a socket and the application has not taken. While it is full, the client is not read.

    So who says more than `messages` a second is slowed, and nothing of it is lost.
    """

    def __init__(self, transport: Any, *, messages: int) -> None:
        super().__init__()
        self._transport = transport
        self._pace = TokenBucket(messages)
        self._held = 0
        self._has_ended = False
        self.is_full = False

    def put_nowait(self, item: Message) -> None:
        """Take any message: it is the next that waits."""
        self._has_ended = self._has_ended or item["type"] == "websocket.disconnect"
        super().put_nowait(item)
        self._held += _size_of(item)
        if self._held > MAX_QUEUED_BYTES and not self.is_full:
            self.is_full = True
            self._transport.pauseProducing()

    async def get(self) -> Message:
        """The next message, in its time. What a client said that has gone holds up nobody."""
        if (wait := self._pace.take()) > 0 and not self._has_ended:
            await asyncio.sleep(wait)
        item = await super().get()
        self._held -= _size_of(item)
        if self.is_full and self._held <= MAX_QUEUED_BYTES // 2:
            self.is_full = False
            self._transport.resumeProducing()
        return item


def _size_of(message: Message) -> int:
    return MESSAGE_OVERHEAD_BYTES + len(message.get("bytes") or message.get("text") or "")
