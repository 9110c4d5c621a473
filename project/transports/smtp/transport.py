"""SMTP transport: sends stored messages to one relay, many messages over each open connection."""

import asyncio
import ssl
import time
from functools import partial
from typing import cast
from uuid import UUID

import aiosmtplib

from project.config.email_url import Relay
from project.config.relay_options import TokenSource
from project.emails.mime.headers import addr_spec
from project.emails.models import Email
from project.metrics.smtp import connect_failures_total, connect_seconds, reply_seconds
from project.transports.base import failed_result
from project.transports.result import SendResult
from project.transports.smtp.access_token import read_access_token
from project.transports.smtp.error_classification import FailureKind, classify_error
from project.transports.smtp.login_secrets import remove_secret
from project.transports.smtp.protocol import SmtpConnection
from project.transports.smtp.replies import LOGIN_REQUIRED_CODES, Reply, rejections_from, reply_from_error


def create_tls_context(relay: Relay) -> ssl.SSLContext:
    """Return the context that verifies the relay's certificate as EMAIL_URL says. Raises `OSError` if `ca_file` is unusable."""
    context = ssl.create_default_context(cafile=relay.ca_file or None)
    if not relay.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class SmtpTransport:
    """Sends to one relay, over up to `relay.connections` connections at the same time."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.name = relay.name
        self.max_connections = relay.connections
        self.sending_ids = frozenset[UUID]()  # always empty: canceling `send` closes the connection
        self._tls = create_tls_context(relay) if relay.uses_tls else None

    def create_connection(self) -> "SmtpRelayConnection":
        """Return a new connection, which is not open yet."""
        return SmtpRelayConnection(self.relay, self._tls)

    def close(self) -> None:
        """Do nothing: the connections share no resources that must be released."""


class SmtpRelayConnection:
    """One connection to the relay. `send` opens it if it is not open: at first, and after the relay closed it."""

    def __init__(self, relay: Relay, tls: ssl.SSLContext | None) -> None:
        self._relay = relay
        self._tls = tls
        self._reply_seconds = reply_seconds.labels(relay.name)
        self._smtp: SmtpConnection | None = None
        self.is_connecting = False

    @property
    def is_open(self) -> bool:
        """Return whether the connection is open."""
        return self._smtp is not None and self._smtp.is_open

    async def send(self, email: Email) -> SendResult:
        """Send one email.

        A relay may close an idle connection between two emails, with a 421 or without a reply. The second email did
        not cause this, so it is sent again at once over a new connection, unless sending its content has started.
        """
        was_open = self.is_open
        result = await self._send_once(email)
        if was_open and result.error and not self.is_open and self._smtp and not self._smtp.content_started:
            result = await self._send_once(email)
        return result

    async def close(self) -> None:
        """Send QUIT if the connection is open, and close it."""
        smtp, self._smtp = self._smtp, None
        if smtp is not None and smtp.is_open:
            await smtp.quit()

    async def _send_once(self, email: Email) -> SendResult:
        try:
            smtp = await self._connected()
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            connect_failures_total.labels(self._relay.name).inc()
            return failed_result(error, FailureKind.RELAY_UNAVAILABLE)
        try:
            rejected, reply = await smtp.send(addr_spec(email.sender), email.pending_recipients, bytes(email.raw_message.content))
        except BaseException as error:
            if not _is_rejection(error) or _is_about_login(error):
                smtp.close()  # client and relay may disagree about the protocol state, or the login of the connection has ended
            if not isinstance(error, Exception):
                raise
            return failed_result(error, classify_error(error), smtp_transcript=smtp.transcript)
        finally:
            if smtp.reply_seconds is not None:
                self._reply_seconds.observe(smtp.reply_seconds)
        return SendResult(reply=Reply(*reply), rejections=rejections_from(rejected), smtp_transcript=smtp.transcript)

    async def _connected(self) -> SmtpConnection:
        if self._smtp is None or not self.is_open:
            self._smtp, self.is_connecting = None, True
            started_at = time.perf_counter()
            try:
                self._smtp = await _connect(self._relay, self._tls)
                connect_seconds.labels(self._relay.name).observe(time.perf_counter() - started_at)
            finally:
                self.is_connecting = False
        return self._smtp


async def _connect(relay: Relay, tls: ssl.SSLContext | None) -> SmtpConnection:
    secrets = [relay.password]
    client = aiosmtplib.SMTP(
        hostname=relay.host,
        port=relay.port,
        username=relay.username or None,
        password=relay.password or None,
        timeout=relay.timeout,
        use_tls=relay.implicit_tls,
        start_tls=relay.starttls,
        tls_context=tls,
        local_hostname=relay.ehlo_name or None,
        oauth_token_generator=partial(_read_token, relay.token_source, secrets) if relay.token_source else None,
    )
    try:
        await client.connect()  # closes the connection if it fails
    except aiosmtplib.SMTPAuthenticationError as error:
        raise aiosmtplib.SMTPAuthenticationError(error.code, remove_secret(error.message, relay.username, secrets[-1])) from None
    if client.is_ehlo_or_helo_needed:  # STARTTLS resets the extensions
        try:
            await _send_ehlo(client)
        except BaseException:
            client.close()
            raise
    return SmtpConnection(
        cast("asyncio.Transport", client.transport),
        timeout=relay.timeout,
        data_done_timeout=relay.data_done_timeout,
        pipelining=client.supports_extension("pipelining"),
        size=client.supports_extension("size"),
    )


async def _read_token(source: TokenSource, secrets: list[str]) -> str:
    """Return the token, and append it to `secrets`."""
    secrets.append(await read_access_token(source))
    return secrets[-1]


async def _send_ehlo(client: aiosmtplib.SMTP) -> None:
    try:
        await client.ehlo()
    except aiosmtplib.SMTPHeloError:
        await client.helo()


def _is_about_login(error: BaseException) -> bool:
    reply = reply_from_error(error)
    return reply is not None and reply.code in LOGIN_REQUIRED_CODES


def _is_rejection(error: BaseException) -> bool:
    """Return whether the relay rejected the email with a 4xx or 5xx reply. Any other reply is unexpected or unreadable."""
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return 400 <= error.code < 600
    return isinstance(error, aiosmtplib.SMTPRecipientsRefused)
