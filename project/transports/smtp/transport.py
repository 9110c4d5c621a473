"""SMTP over kept connections: the stored bytes, many mails per connection."""

import asyncio
import ssl
from typing import cast

import aiosmtplib

from project.config.email_url import Relay
from project.emails.mime.headers import addr_spec
from project.emails.models import Email
from project.transports.base import failed_result
from project.transports.result import SendResult
from project.transports.smtp.error_classes import FailureKind, classify_error
from project.transports.smtp.protocol import SmtpConnection
from project.transports.smtp.replies import Reply, rejections_from


class SmtpTransport:
    """Speaks to one relay, over up to `relay.connections` connections at the same time."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.max_connections = relay.connections
        self._tls = ssl.create_default_context() if relay.starttls or relay.implicit_tls else None

    def create_connection(self) -> "SmtpRelayConnection":
        """A new channel."""
        return SmtpRelayConnection(self.relay, self._tls)

    def close(self) -> None:
        """Channels share nothing."""


class SmtpRelayConnection:
    """One connection, opened when it is needed, and anew when the relay has closed it."""

    def __init__(self, relay: Relay, tls: ssl.SSLContext | None) -> None:
        self._relay = relay
        self._tls = tls
        self._conversation: SmtpConnection | None = None
        self.is_connecting = False

    @property
    def is_open(self) -> bool:
        """Whether it is connected."""
        return self._conversation is not None and self._conversation.is_open

    async def send(self, email: Email) -> SendResult:
        """Hand over one mail.

        A relay may close a connection between two mails, and says 421 or nothing: that is no fault of the second one, which gets
        a new connection at once, as long as its content has not begun.
        """
        was_open = self.is_open
        result = await self._send_once(email)
        if was_open and result.error and not self.is_open and self._conversation and not self._conversation.content_begun:
            result = await self._send_once(email)
        return result

    async def close(self) -> None:
        """Say goodbye."""
        conversation, self._conversation = self._conversation, None
        if conversation is not None and conversation.is_open:
            await conversation.quit()

    async def _send_once(self, email: Email) -> SendResult:
        try:
            conversation = await self._connected()
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            return failed_result(error, FailureKind.RELAY_UNAVAILABLE)
        try:
            refused, end = await conversation.send(
                addr_spec(email.sender), email.pending_recipients, bytes(email.raw_message.content)
            )
        except BaseException as error:
            failure_kind = classify_error(error)
            if not _is_rejection(error) or failure_kind == FailureKind.RELAY_UNAVAILABLE:
                conversation.close()  # who knows where the two are in their conversation; and this one leads nowhere
            if not isinstance(error, Exception):
                raise
            return failed_result(error, failure_kind, smtp_transcript=conversation.told)
        return SendResult(reply=Reply(*end), rejections=rejections_from(refused), smtp_transcript=conversation.told)

    async def _connected(self) -> SmtpConnection:
        if self._conversation is None or not self.is_open:
            self._conversation, self.is_connecting = None, True
            try:
                self._conversation = await _connect(self._relay, self._tls)
            finally:
                self.is_connecting = False
        return self._conversation


async def _connect(relay: Relay, tls: ssl.SSLContext | None) -> SmtpConnection:
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
        await _send_ehlo(client)
    return SmtpConnection(
        cast("asyncio.Transport", client.transport),
        timeout=relay.timeout,
        data_done_timeout=relay.data_done_timeout,
        pipelining=client.supports_extension("pipelining"),
        size=client.supports_extension("size"),
    )


async def _send_ehlo(client: aiosmtplib.SMTP) -> None:
    try:
        await client.ehlo()
    except aiosmtplib.SMTPHeloError:
        await client.helo()


def _is_rejection(error: BaseException) -> bool:
    """Whether the relay said no in so many words. An answer that is none, or fits no command, is not that."""
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return 400 <= error.code < 600
    return isinstance(error, aiosmtplib.SMTPRecipientsRefused)
