"""SMTP over kept connections (RFC 5321): the stored bytes, many mails per connection."""

import asyncio
import ssl
from typing import Any

import aiosmtplib
from aiosmtplib import SMTPRecipientsRefused, SMTPResponse, SMTPResponseException

from project.outbox.mime import bare
from project.outbox.models import Email
from project.outbox.outcomes import Outcome
from project.outbox.replies import Reply, refusals_of
from project.outbox.retry import SHUTTING_DOWN, Fault, fault_of
from project.outbox.transports.base import failed
from project.relay import Relay

TOLD = 16_000  # characters of a conversation that are kept
GOODBYE = 2.0  # seconds for the relay's answer to ours
ABOUT_MAIL = {b"MAIL", b"RCPT", b"RSET"}


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

    @property
    def is_open(self) -> bool:
        """Whether it is connected."""
        return self._conversation is not None and self._conversation.is_connected

    async def send(self, email: Email) -> Outcome:
        """Hand over one mail.

        A relay may close a connection between two mails, and says 421 or nothing: that is no fault of the second one, which gets
        a new connection at once, as long as its DATA has not begun.
        """
        was_open = self.is_open
        outcome = await self._send_once(email)
        if was_open and outcome.error and self._conversation is not None and self._conversation.ended_before_data:
            outcome = await self._send_once(email)
        return outcome

    async def close(self) -> None:
        """Say goodbye."""
        conversation, self._conversation = self._conversation, None
        if conversation is not None and conversation.is_connected:
            try:
                await conversation.quit(timeout=GOODBYE)
            except (aiosmtplib.SMTPException, OSError):
                conversation.close()  # it is gone already, or too slow for manners

    async def _send_once(self, email: Email) -> Outcome:
        try:
            conversation = await self._connected()
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            return failed(error, Fault.RELAY)
        conversation.begin()
        try:
            refused, said = await conversation.sendmail(bare(email.sender), email.pending, bytes(email.source.content))
        except asyncio.CancelledError:
            conversation.close()  # cut off in the middle: a goodbye would wait for the answer to what was said before
            raise
        except Exception as error:  # noqa: BLE001  # whatever it is, it fails this mail alone
            if not isinstance(error, SMTPResponseException | SMTPRecipientsRefused):
                conversation.close()  # who knows where the two are in their conversation
            return failed(error, fault_of(error), dialogue=conversation.told)
        return Outcome(reply=Reply(250, said), refusals=refusals_of(refused), dialogue=conversation.told)

    async def _connected(self) -> "Conversation":
        if self._conversation is None or not self.is_open:
            self._conversation = Conversation(self._relay, self._tls)
            await self._conversation.connect()
        return self._conversation


class Conversation(aiosmtplib.SMTP):
    """A connection that remembers what was said of the mail that is being sent."""

    def __init__(self, relay: Relay, tls: ssl.SSLContext | None) -> None:
        super().__init__(
            hostname=relay.host,
            port=relay.port,
            username=relay.username or None,
            password=relay.password or None,
            timeout=relay.timeout,
            use_tls=relay.implicit_tls,
            start_tls=relay.starttls,
            tls_context=tls,
        )
        self._lines: list[str] = []
        self._data_begun = self._hung_up = False

    @property
    def told(self) -> str:
        """The conversation about the mail so far: `C: ` before what we said, `S: ` before what the relay did."""
        return "\n".join(self._lines)[:TOLD]

    @property
    def ended_before_data(self) -> bool:
        """Whether it is over, and no mail can have been taken."""
        return not self._data_begun and (self._hung_up or not self.is_connected)

    def begin(self) -> None:
        """The next mail."""
        self._lines, self._data_begun, self._hung_up = [], False, False

    async def execute_command(self, *args: bytes, **options: Any) -> SMTPResponse:
        """Speak, and keep what is said of a mail. Of a login, nothing is kept."""
        about_mail = args[0] in ABOUT_MAIL
        if about_mail:
            self._lines.append(f"C: {b' '.join(args).decode()}")
        response = await super().execute_command(*args, **options)
        self._hung_up = response.code == SHUTTING_DOWN
        if about_mail:
            self._lines.append(_line(response.code, response.message))
        return response

    async def data(self, message: str | bytes, /, **options: Any) -> SMTPResponse:
        """Send the mail itself."""
        self._data_begun = self.is_connected  # if the relay hung up at the last recipient, nothing goes out
        self._lines.append(f"C: DATA ({len(message)} bytes)")
        try:
            response = await super().data(message, **options)
        except SMTPResponseException as error:
            self._lines.append(_line(error.code, error.message))
            raise
        self._lines.append(_line(response.code, response.message))
        return response


def _line(code: int, text: str) -> str:
    return f"S: {code} {Reply(code, text).text}"
