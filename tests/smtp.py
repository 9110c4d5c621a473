"""A real SMTP server for tests (RFC 5321). It stores accepted emails, and a test can make it misbehave while it runs."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.processes import WAIT_TIMEOUT_SECONDS, free_port

ACCEPT = "250 OK"
NO_SUCH_USER = "550 5.1.1 No such user"
# These values are not SMTP replies. They are actions on the connection after the last byte of DATA.
DROP = "drop"
ACCEPT_AND_DROP = "accept and drop"
STALL = "stall"

# A function that returns the reply to a recipient's address. The number says how often the server has received the address.
ReplyFor = Callable[[str, int], str]


def accept_all(_address: str, _attempt: int) -> str:
    """Accept every recipient and message."""
    return ACCEPT


@dataclass
class Sink:
    """An SMTP server with the emails that it received, in order. Tests may change every setting while it runs.

    `delay` is the number of seconds that each message takes. Between `hold` and `release`, the server accepts no message.
    `at_data` is called with the first recipient. Other hosts reach the server at `addresses` of this host.
    """

    port: int
    delay: float = 0.0
    at_rcpt: ReplyFor = accept_all
    at_data: ReplyFor = accept_all
    emails_per_connection: int | None = None  # the server rejects a further email with 421
    max_connections: int | None = None  # open at the same time; the server rejects a further connection with 421
    max_size: int | None = None  # bytes; applies to connections that are opened after it is set
    addresses: Sequence[str] = ()

    emails: list[EmailMessage] = field(default_factory=list)
    message_ids: list[str] = field(default_factory=list)
    recipients: list[list[str]] = field(default_factory=list)
    received_by_client: Counter[str] = field(default_factory=Counter)  # by the client's address
    attempts: Counter[str] = field(default_factory=Counter)  # how often each recipient's address was received
    in_flight: int = 0
    in_flight_by_client: Counter[str] = field(default_factory=Counter)  # by the client's address
    max_in_flight: int = 0
    connections: int = 0  # total number, closed connections included
    max_open: int = 0
    open: "dict[_Connection, asyncio.Task[None]]" = field(default_factory=dict)
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _listener: asyncio.Server | None = None
    _released: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._released.set()

    @property
    def url(self) -> str:
        """The value for EMAIL_URL."""
        return f"smtp://127.0.0.1:{self.port}"

    @property
    def duplicates(self) -> int:
        """Return how many surplus copies of emails were received. All copies of an email have the same Message-ID."""
        return len(self.message_ids) - len(set(self.message_ids))

    def hold(self) -> None:
        """Stop accepting messages until `release`."""
        self.loop.call_soon_threadsafe(self._released.clear)

    def release(self) -> None:
        """Accept the messages that are waiting, and later messages."""
        self.loop.call_soon_threadsafe(self._released.set)

    def listen(self) -> None:
        """Start listening, or start again after `crash`."""
        self._run(self._listen())

    def crash(self) -> None:
        """Stop listening and abort every connection, as if the process was killed."""
        self._run(self._crash())

    async def handle_MAIL(  # noqa: N802  # aiosmtpd's name
        self, server: "_Connection", _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Start an email, or close a connection that has reached `emails_per_connection`."""
        server.emails += 1
        if self.emails_per_connection is not None and server.emails > self.emails_per_connection:
            self.loop.call_soon(server.transport.close)  # after the reply is written
            return "421 4.7.0 Too many messages on one connection"
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return ACCEPT

    async def handle_RCPT(  # noqa: N802  # aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        """Accept or reject a recipient."""
        self.attempts[address] += 1
        reply = self.at_rcpt(address, self.attempts[address])
        if reply == ACCEPT:
            envelope.rcpt_tos.append(address)
        return reply

    async def handle_DATA(  # noqa: N802  # aiosmtpd's name
        self, server: "_Connection", session: Session, envelope: Envelope
    ) -> str:
        """Return the reply of `at_data`, or act on the connection if `at_data` returns an action."""
        with self._in_flight(session.peer[0]):
            await asyncio.sleep(self.delay)
            await self._released.wait()
            first = envelope.rcpt_tos[0]
            reply = self.at_data(first, self.attempts[first])
            if reply in (ACCEPT, ACCEPT_AND_DROP):
                self._store(envelope)
                self.received_by_client[session.peer[0]] += 1
            if reply in (DROP, ACCEPT_AND_DROP):
                server.transport.abort()
            if reply in (DROP, ACCEPT_AND_DROP, STALL):
                await self.loop.create_future()  # canceled when the connection is closed
        return reply

    @contextmanager
    def _in_flight(self, client: str) -> Iterator[None]:
        self.in_flight += 1
        self.in_flight_by_client[client] += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            yield
        finally:
            self.in_flight -= 1
            self.in_flight_by_client[client] -= 1

    def _store(self, envelope: Envelope) -> None:
        assert isinstance(envelope.content, bytes)
        message = message_from_bytes(envelope.content, policy=policy.default)
        self.recipients.append(envelope.rcpt_tos)
        self.message_ids.append(str(message["Message-ID"]))
        self.emails.append(message)

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(WAIT_TIMEOUT_SECONDS)

    async def _listen(self) -> None:
        self._listener = await self.loop.create_server(lambda: _Connection(self), ["127.0.0.1", *self.addresses], self.port)

    async def _crash(self) -> None:
        if self._listener is not None:
            self._listener.close()
        for connection in self.open:
            connection.transport.abort()
        await asyncio.gather(*self.open.values(), return_exceptions=True)


class _Connection(SMTP):  # type: ignore[misc]  # aiosmtpd has no types
    """One SMTP connection, with any number of emails."""

    def __init__(self, sink: Sink) -> None:
        super().__init__(sink, data_size_limit=sink.max_size, loop=sink.loop)
        self.emails = 0
        self._sink = sink

    async def _handle_client(self) -> None:
        sink = self._sink
        if sink.max_connections is not None and len(sink.open) >= sink.max_connections:
            await self.push("421 4.7.0 Too many connections")
            self.transport.close()
            return
        sink.open[self] = self._handler_coroutine
        sink.connections += 1
        sink.max_open = max(sink.max_open, len(sink.open))
        await super()._handle_client()

    def connection_lost(self, error: Exception | None) -> None:
        self._sink.open.pop(self, None)
        super().connection_lost(error)


@contextmanager
def smtp_sink(*, delay: float = 0.0, port: int | None = None, addresses: Sequence[str] = ()) -> Iterator[Sink]:
    """Run a sink in its own thread. It listens on `port`, or on a free port. Other hosts reach it at `addresses`."""
    sink = Sink(port=port or free_port(), delay=delay, addresses=addresses)
    thread = threading.Thread(target=sink.loop.run_forever, daemon=True)
    thread.start()
    sink.listen()
    try:
        yield sink
    finally:
        sink.crash()
        sink.loop.call_soon_threadsafe(sink.loop.stop)
        thread.join(WAIT_TIMEOUT_SECONDS)
        sink.loop.close()
