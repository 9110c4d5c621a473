"""How much a client may bring, how long it may take, and what waits while it does not listen.

Stock Daphne reads whatever is sent, and keeps in memory whatever is not read.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

from starlette.types import Message

INBOX = 64 * 1024  # bytes of a socket's messages that may wait for the application
OVERHEAD = 256  # of a message in memory, in bytes: one byte a message is no way around the limit


@dataclass(frozen=True)
class Limits:
    """Of one connection, in bytes and seconds."""

    body: int = 15 * 1024 * 1024
    header_timeout: float = 20.0  # for a whole header, from its first byte
    body_timeout: float = 120.0  # for a whole body, from the end of its header
    send_timeout: float = 60.0  # for what was sent last to be taken
    linger: float = 10.0  # for a refused client to read why


DEFAULTS = Limits()


class Outlet:
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


class Inbox(asyncio.Queue[Message]):
    """What came over a socket and the application has not taken. While it is full, the client is not read."""

    def __init__(self, transport: Any) -> None:
        super().__init__()
        self._transport = transport
        self._held = 0
        self._full = False

    def put_nowait(self, item: Message) -> None:
        """Take any message: it is the next that waits."""
        super().put_nowait(item)
        self._held += _weight(item)
        if self._held > INBOX and not self._full:
            self._full = True
            self._transport.pauseProducing()

    async def get(self) -> Message:
        """The next message."""
        item = await super().get()
        self._held -= _weight(item)
        if self._full and self._held <= INBOX // 2:
            self._full = False
            self._transport.resumeProducing()
        return item


def _weight(message: Message) -> int:
    return OVERHEAD + len(message.get("bytes") or message.get("text") or "")
