"""A real SMTP server to send to (RFC 5321): it keeps what it takes, and can take its time, or hold a mail until told."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.processes import free_port


@dataclass
class Sink:
    """What came in, in order. `delay` in seconds, for each message; none is taken between `hold` and `release`."""

    port: int
    delay: float = 0.0
    refuse: str = ""  # this recipient
    mails: list[EmailMessage] = field(default_factory=list)
    recipients: list[list[str]] = field(default_factory=list)
    in_hand: int = 0
    most_in_hand: int = 0
    loop: asyncio.AbstractEventLoop | None = None
    _released: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._released.set()

    def hold(self) -> None:
        """Take no mail until `release`. Before the first mail, since this is not the sink's thread."""
        self._released.clear()

    def release(self) -> None:
        """Take what was held, and what comes."""
        assert self.loop is not None
        self.loop.call_soon_threadsafe(self._released.set)

    async def handle_RCPT(  # noqa: N802  # aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        """Take a recipient, or refuse it."""
        if address == self.refuse:
            return "550 5.1.1 No such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802  # aiosmtpd's name
        """Take a message."""
        self.in_hand += 1
        self.most_in_hand = max(self.most_in_hand, self.in_hand)
        await asyncio.sleep(self.delay)
        await self._released.wait()
        self.in_hand -= 1
        assert isinstance(envelope.content, bytes)
        self.mails.append(message_from_bytes(envelope.content, policy=policy.default))
        self.recipients.append(envelope.rcpt_tos)
        return "250 OK"

    @property
    def url(self) -> str:
        """For EMAIL_URL."""
        return f"smtp://127.0.0.1:{self.port}"


@contextmanager
def smtp_sink(*, delay: float = 0.0, port: int | None = None) -> Iterator[Sink]:
    """A sink that listens on `port`, or a free one, in a thread of its own."""
    sink = Sink(port=port or free_port(), delay=delay)
    controller = Controller(sink, hostname="127.0.0.1", port=sink.port)
    controller.start()
    sink.loop = controller.loop
    try:
        yield sink
    finally:
        sink.release()
        controller.stop()
