"""A real SMTP server to send to (RFC 5321): it keeps what it takes, and misbehaves as it is told to, while it runs."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.processes import PATIENCE, free_port

TAKE = "250 OK"
NO_SUCH_USER = "550 5.1.1 No such user"
# No answers, but what becomes of the conversation after the last byte of DATA.
DROP = "drop"
TAKE_AND_DROP = "take and drop"
STALL = "stall"

Answer = Callable[[str, int], str]  # to a recipient's address, and how often that was given so far, this time included


def take(_address: str, _try: int) -> str:
    """Refuse nothing."""
    return TAKE


@dataclass
class Sink:
    """What came in, in order, and how the next is met. Each setting may be changed while it runs.

    `delay` in seconds, for each message; none is taken between `hold` and `release`. `at_data` hears the first recipient.
    """

    port: int
    delay: float = 0.0
    at_rcpt: Answer = take
    at_data: Answer = take
    mails_per_connection: int | None = None  # the next one is answered with 421
    most_connections: int | None = None  # at the same time; a further one is answered with 421
    max_size: int | None = None  # bytes, for connections yet to come

    mails: list[EmailMessage] = field(default_factory=list)
    message_ids: list[str] = field(default_factory=list)
    recipients: list[list[str]] = field(default_factory=list)
    tries: Counter[str] = field(default_factory=Counter)  # how often each recipient was given
    in_flight: int = 0
    most_in_hand: int = 0
    connections: int = 0  # so far
    most_open: int = 0
    open: "dict[_Connection, asyncio.Task[None]]" = field(default_factory=dict)
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _listener: asyncio.Server | None = None
    _released: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._released.set()

    @property
    def url(self) -> str:
        """For EMAIL_URL."""
        return f"smtp://127.0.0.1:{self.port}"

    @property
    def doubles(self) -> int:
        """How many mails came more than they should, by their Message-ID."""
        return len(self.message_ids) - len(set(self.message_ids))

    def hold(self) -> None:
        """Take no mail until `release`."""
        self.loop.call_soon_threadsafe(self._released.clear)

    def release(self) -> None:
        """Take what was held, and what comes."""
        self.loop.call_soon_threadsafe(self._released.set)

    def listen(self) -> None:
        """Begin, or begin again after `die`."""
        self._run(self._listen())

    def die(self) -> None:
        """As if its process was killed: it listens no more, and every connection breaks off at once."""
        self._run(self._die())

    async def handle_MAIL(  # noqa: N802  # aiosmtpd's name
        self, server: "_Connection", _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Begin a mail, or end a connection that had enough of them."""
        server.mails += 1
        if self.mails_per_connection is not None and server.mails > self.mails_per_connection:
            self.loop.call_soon(server.transport.close)  # once the answer is written
            return "421 4.7.0 Enough mails for one connection"
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return TAKE

    async def handle_RCPT(  # noqa: N802  # aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        """Take a recipient, or refuse it."""
        self.tries[address] += 1
        answer = self.at_rcpt(address, self.tries[address])
        if answer == TAKE:
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(  # noqa: N802  # aiosmtpd's name
        self, server: "_Connection", _session: Session, envelope: Envelope
    ) -> str:
        """Take a message, or do what `at_data` says."""
        with self._in_hand():
            await asyncio.sleep(self.delay)
            await self._released.wait()
            first = envelope.rcpt_tos[0]
            answer = self.at_data(first, self.tries[first])
            if answer in (TAKE, TAKE_AND_DROP):
                self._keep(envelope)
            if answer in (DROP, TAKE_AND_DROP):
                server.transport.abort()
            if answer in (DROP, TAKE_AND_DROP, STALL):
                await self.loop.create_future()  # the end of the connection cancels this
        return answer

    @contextmanager
    def _in_hand(self) -> Iterator[None]:
        self.in_flight += 1
        self.most_in_hand = max(self.most_in_hand, self.in_flight)
        try:
            yield
        finally:
            self.in_flight -= 1

    def _keep(self, envelope: Envelope) -> None:
        assert isinstance(envelope.content, bytes)
        mail = message_from_bytes(envelope.content, policy=policy.default)
        self.recipients.append(envelope.rcpt_tos)
        self.message_ids.append(str(mail["Message-ID"]))
        self.mails.append(mail)

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(PATIENCE)

    async def _listen(self) -> None:
        self._listener = await self.loop.create_server(lambda: _Connection(self), "127.0.0.1", self.port)

    async def _die(self) -> None:
        if self._listener is not None:
            self._listener.close()
        for connection in self.open:
            connection.transport.abort()
        await asyncio.gather(*self.open.values(), return_exceptions=True)


class _Connection(SMTP):  # type: ignore[misc]  # aiosmtpd has no types
    """One conversation, of as many mails as its client likes."""

    def __init__(self, sink: Sink) -> None:
        super().__init__(sink, data_size_limit=sink.max_size, loop=sink.loop)
        self.mails = 0
        self._sink = sink

    async def _handle_client(self) -> None:
        sink = self._sink
        if sink.most_connections is not None and len(sink.open) >= sink.most_connections:
            await self.push("421 4.7.0 Too many connections")
            self.transport.close()
            return
        sink.open[self] = self._handler_coroutine
        sink.connections += 1
        sink.most_open = max(sink.most_open, len(sink.open))
        await super()._handle_client()

    def connection_lost(self, error: Exception | None) -> None:
        self._sink.open.pop(self, None)
        super().connection_lost(error)


@contextmanager
def smtp_sink(*, delay: float = 0.0, port: int | None = None) -> Iterator[Sink]:
    """A sink that listens on `port`, or a free one, in a thread of its own."""
    sink = Sink(port=port or free_port(), delay=delay)
    thread = threading.Thread(target=sink.loop.run_forever, daemon=True)
    thread.start()
    sink.listen()
    try:
        yield sink
    finally:
        sink.die()
        sink.loop.call_soon_threadsafe(sink.loop.stop)
        thread.join(PATIENCE)
        sink.loop.close()
