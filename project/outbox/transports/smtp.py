"""SMTP over kept connections: the stored bytes, many mails per connection."""

import asyncio
import ssl
from typing import cast

import aiosmtplib

from project.outbox.mime import bare
from project.outbox.models import Email
from project.outbox.outcomes import Outcome
from project.outbox.replies import Reply, refusals_of
from project.outbox.retry import Fault, fault_of
from project.outbox.transports.base import failed
from project.outbox.transports.conversation import Conversation
from project.relay import Relay


class SmtpTransport:
    """Speaks to one relay, over up to `relay.connections` connections at the same time."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.channels = relay.connections
        self._tls = ssl.create_default_context() if relay.starttls or relay.implicit_tls else None

    def channel(self) -> "SmtpChannel":
        """A new channel."""
        return SmtpChannel(self.relay, self._tls)

    def close(self) -> None:
        """Channels share nothing."""


class SmtpChannel:
    """One connection, opened when it is needed, and anew when the relay has closed it."""

    def __init__(self, relay: Relay, tls: ssl.SSLContext | None) -> None:
        self._relay = relay
        self._tls = tls
        self._conversation: Conversation | None = None
        self.is_connecting = False

    @property
    def is_open(self) -> bool:
        """Whether it is connected."""
        return self._conversation is not None and self._conversation.is_open

    async def send(self, email: Email) -> Outcome:
        """Hand over one mail.

        A relay may close a connection between two mails, and says 421 or nothing: that is no fault of the second one, which gets
        a new connection at once, as long as its content has not begun.
        """
        was_open = self.is_open
        outcome = await self._send_once(email)
        if was_open and outcome.error and not self.is_open and self._conversation and not self._conversation.content_begun:
            outcome = await self._send_once(email)
        return outcome

    async def close(self) -> None:
        """Say goodbye."""
        conversation, self._conversation = self._conversation, None
        if conversation is not None and conversation.is_open:
            await conversation.quit()

    async def _send_once(self, email: Email) -> Outcome:
        try:
            conversation = await self._connected()
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            return failed(error, Fault.RELAY)
        try:
            refused, end = await conversation.send(bare(email.sender), email.pending, bytes(email.source.content))
        except BaseException as error:
            fault = fault_of(error)
            if not _is_refusal(error) or fault == Fault.RELAY:
                conversation.close()  # who knows where the two are in their conversation; and this one leads nowhere
            if not isinstance(error, Exception):
                raise
            return failed(error, fault, dialogue=conversation.told)
        return Outcome(reply=Reply(*end), refusals=refusals_of(refused), dialogue=conversation.told)

    async def _connected(self) -> Conversation:
        if self._conversation is None or not self.is_open:
            self._conversation, self.is_connecting = None, True
            try:
                self._conversation = await _connect(self._relay, self._tls)
            finally:
                self.is_connecting = False
        return self._conversation


async def _connect(relay: Relay, tls: ssl.SSLContext | None) -> Conversation:
    client = aiosmtplib.SMTP(
        hostname=relay.host,
        port=relay.port,
        username=relay.username or None,
        password=relay.password or None,
        timeout=relay.timeout,
        use_tls=relay.implicit_tls,
        start_tls=relay.starttls,
        tls_context=tls,
    )
    await client.connect()
    if client.is_ehlo_or_helo_needed:  # after STARTTLS, the relay has to be asked again
        await _say_hello(client)
    return Conversation(
        cast("asyncio.Transport", client.transport),
        timeout=relay.timeout,
        data_done_timeout=relay.data_done_timeout,
        pipelining=client.supports_extension("pipelining"),
        size=client.supports_extension("size"),
    )


async def _say_hello(client: aiosmtplib.SMTP) -> None:
    try:
        await client.ehlo()
    except aiosmtplib.SMTPHeloError:
        await client.helo()


def _is_refusal(error: BaseException) -> bool:
    """Whether the relay said no in so many words. An answer that is none, or fits no command, is not that."""
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return 400 <= error.code < 600
    return isinstance(error, aiosmtplib.SMTPRecipientsRefused)
