"""SMTP commands that send an email over an open connection: RFC 5321, with command pipelining (RFC 2920).

aiosmtplib opens the connection, including TLS and login. The commands of an email are sent here, because aiosmtplib waits for the
reply to each command before it sends the next command. That takes four round trips per email; pipelining takes two.
"""

import asyncio
import re
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

from aiosmtplib import (
    SMTPReadTimeoutError,
    SMTPRecipientRefused,
    SMTPRecipientsRefused,
    SMTPResponseException,
    SMTPSenderRefused,
    SMTPServerDisconnected,
)

from project.transports.smtp.replies import MessageRejected
from project.transports.smtp.wait_timer import WaitTimer

MAX_REPLY_LINE_BYTES = 8192  # RFC 5321 section 4.5.3.1.5 allows 512
MAX_REPLY_LINES = 100  # in one reply
MAX_UNREAD_REPLIES = 100  # replies received, but not read yet; the largest envelope of the API has 52 commands
WRITE_CHUNK_BYTES = 64 * 1024  # size of one write of a message; after each write, wait while the buffer is full
QUIT_TIMEOUT_SECONDS = 2.0  # for the relay's reply to QUIT
MAX_TRANSCRIPT_LENGTH = 16_000  # characters
OK, WILL_FORWARD, START_MAIL_INPUT, SERVICE_CLOSING = 250, 251, 354, 421

RawReply = tuple[int, str]  # the code, and the text of all lines

_REPLY_LINE = re.compile(r"([0-9]{3})(?:([ -])|\Z)(.*)", re.DOTALL)
_SAFE_COMMAND = re.compile("[ -~]+")  # no line breaks, so an address cannot inject a command
_CONTROLS = dict.fromkeys([*range(32), 127], " ") | {ord("\n"): "\n"}


class SmtpConnection(asyncio.Protocol):
    """Sends emails over a connection on which the greeting, EHLO, TLS and login are done."""

    def __init__(
        self, transport: asyncio.Transport, *, timeout: float, data_done_timeout: float, pipelining: bool, size: bool
    ) -> None:
        self.content_started = False  # for the current email: if True, the relay may have accepted it
        self.reply_seconds: float | None = None  # how long the relay took to reply to the current email's content
        self._transport = transport
        self._timeout = timeout
        self._data_done_timeout = data_done_timeout
        self._pipelining = pipelining
        self._size = size
        self._lines: list[str] = []  # lines of a reply that is not complete yet
        self._transcript: list[str] = []
        self._unread = b""  # an incomplete line
        self._timed_out = False
        self._timer = WaitTimer(self._time_out)
        self._replies: deque[RawReply] = deque()
        self._is_writable = True
        self._waiter: asyncio.Future[None] | None = None  # done when the state of the connection has changed
        transport.set_protocol(self)

    @property
    def is_open(self) -> bool:
        """Return whether the connection is open."""
        return not self._transport.is_closing()

    @property
    def transcript(self) -> str:
        """Return the dialogue about the current email: our commands start with `C: `, the relay's replies with `S: `."""
        return "\n".join(self._transcript).translate(_CONTROLS)[:MAX_TRANSCRIPT_LENGTH]

    async def send(self, sender: str, recipients: Sequence[str], content: bytes) -> tuple[dict[str, RawReply], RawReply]:
        """Send one email. Return the rejected recipients with their replies, and the reply to the message.

        Raises `MessageRejected`, or an error of aiosmtplib: SMTPSenderRefused; SMTPRecipientsRefused if all recipients are
        rejected; SMTPResponseException for a 421; SMTPServerDisconnected; or SMTPReadTimeoutError.
        """
        self._transcript, self.content_started, self.reply_seconds = [], False, None
        size = f" SIZE={len(content)}" if self._size else ""
        envelope = [f"MAIL FROM:<{sender}>{size}", *(f"RCPT TO:<{address}>" for address in recipients), "DATA"]
        if unsafe := [command for command in envelope if not _SAFE_COMMAND.fullmatch(command)]:
            raise ValueError(f"{unsafe[0]!r} is not a valid SMTP command: it contains non-ASCII or control characters")
        send_envelope = self._send_envelope_pipelined if self._pipelining else self._send_envelope
        rejected = await send_envelope(sender, recipients, envelope)
        self.content_started = True
        self._transcript.append(f"C: ({len(content)} bytes)")
        await self._write(_dot_stuff(content))
        written_at = time.perf_counter()
        reply = await self._read_reply(self._data_done_timeout)
        self.reply_seconds = time.perf_counter() - written_at
        if not 200 <= reply[0] < 300:  # the first digit is decisive (RFC 5321 section 4.2.1)
            raise MessageRejected(*reply, rejected)
        return rejected, reply

    async def quit(self) -> None:
        """Send QUIT, and close the connection."""
        with suppress(SMTPResponseException, SMTPServerDisconnected, TimeoutError):  # the relay may have disconnected already
            async with asyncio.timeout(QUIT_TIMEOUT_SECONDS):
                await self._execute("QUIT")
        self.close()

    def close(self) -> None:
        """Close the connection without QUIT."""
        self._transport.close()

    async def _send_envelope_pipelined(
        self, sender: str, recipients: Sequence[str], envelope: Sequence[str]
    ) -> dict[str, RawReply]:
        """Send the whole envelope, then read the replies. Return the rejected recipients; the relay then expects the content."""
        from_, *to, data = await self._execute(*envelope)
        rejected = _rejected_recipients(recipients, to)
        if from_[0] == OK and data[0] == START_MAIL_INPUT and len(rejected) < len(recipients):
            return rejected
        if data[0] == START_MAIL_INPUT:
            await self._execute(".")  # a relay may accept DATA without any recipient: send it no content (RFC 2920 section 3.1)
        raise await self._after_reset(_rejection_error(sender, from_, rejected, len(recipients), data))

    async def _send_envelope(self, sender: str, recipients: Sequence[str], envelope: Sequence[str]) -> dict[str, RawReply]:
        """Send the envelope to a relay without pipelining: send each command after the reply to the previous command."""
        (from_,) = await self._execute(envelope[0])
        to = [(await self._execute(command))[0] for command in envelope[1:-1]] if from_[0] == OK else []
        rejected = _rejected_recipients(recipients, to)
        (data,) = await self._execute(envelope[-1]) if len(rejected) < len(to) else (from_,)
        if data[0] == START_MAIL_INPUT:
            return rejected
        raise await self._after_reset(_rejection_error(sender, from_, rejected, len(recipients), data))

    async def _after_reset(self, rejection: Exception) -> Exception:
        # The rejection stays valid even if RSET fails.
        with suppress(SMTPResponseException, SMTPServerDisconnected, SMTPReadTimeoutError):
            await self._execute("RSET")
        return rejection

    async def _execute(self, *commands: str) -> list[RawReply]:
        """Send all commands at once, and return their replies in the same order."""
        await self._write("".join(f"{command}\r\n" for command in commands).encode())
        replies = []
        for command in commands:
            self._transcript.append(f"C: {command}")
            replies.append(self._take_reply() if self._replies else await self._read_reply())
        return replies

    async def _read_reply(self, seconds: float | None = None) -> RawReply:
        while not self._replies:
            if not self.is_open:
                raise SMTPServerDisconnected("Connection lost")
            await self._wait(seconds or self._timeout)
        return self._take_reply()

    def _take_reply(self) -> RawReply:
        """Return the next reply, which was received already."""
        code, text = reply = self._replies.popleft()
        if "\n" in text:
            text = text.replace("\n", f"\nS: {code} ")
        self._transcript.append(f"S: {code} {text}")
        if code == SERVICE_CLOSING:
            self.close()
            raise SMTPResponseException(*reply)
        return reply

    async def _write(self, data: bytes) -> None:
        for start in range(0, len(data), WRITE_CHUNK_BYTES):
            if not self.is_open:
                raise SMTPServerDisconnected("Connection lost")
            self._transport.write(data[start : start + WRITE_CHUNK_BYTES])
            while not self._is_writable and self.is_open:
                await self._wait(self._timeout)

    async def _wait(self, seconds: float) -> None:
        """Wait until data was received, the relay reads again, or the connection is lost."""
        self._waiter = asyncio.get_running_loop().create_future()
        self._timer.start(seconds)
        try:
            await self._waiter
        finally:
            self._waiter = None
            self._timer.stop()
        if self._timed_out:
            raise SMTPReadTimeoutError("Timed out waiting for the relay")

    def _time_out(self) -> None:
        self._timed_out = True
        self._transport.abort()  # `close` would wait until the relay has read all written data, perhaps forever
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # Callbacks of the transport

    def data_received(self, data: bytes) -> None:
        """Parse the complete lines. Aborts the connection of a relay that exceeds the limits."""
        lines, separator, self._unread = (self._unread + data).rpartition(b"\n")
        if separator:
            for line in lines.decode(errors="replace").split("\n"):
                self._parse_line(line.strip())
        if (
            len(self._unread) > MAX_REPLY_LINE_BYTES
            or len(self._lines) > MAX_REPLY_LINES
            or len(self._replies) > MAX_UNREAD_REPLIES
        ):
            self._transport.abort()
        if self._is_writable:  # otherwise `_write` waits, and a relay that talks instead of reading must not extend its timeout
            self._wake()

    def _parse_line(self, line: str) -> None:
        match = _REPLY_LINE.match(line)
        code, separator, text = match.groups() if match else ("-1", "", line)  # a line that is no SMTP reply is shown as it came
        if separator != "-" and not self._lines:  # a reply of one line
            self._replies.append((int(code), text))
            return
        self._lines.append(text)
        if separator != "-":  # the last line of a reply
            self._replies.append((int(code), "\n".join(self._lines)))
            self._lines = []

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake the waiting coroutine, which then raises SMTPServerDisconnected."""
        self._timer.close()
        self._wake()

    def pause_writing(self) -> None:
        """Stop writing, because the relay does not read fast enough."""
        self._is_writable = False

    def resume_writing(self) -> None:
        """Continue writing."""
        self._is_writable = True
        self._wake()


def _rejected_recipients(recipients: Sequence[str], replies: Sequence[RawReply]) -> dict[str, RawReply]:
    return {address: reply for address, reply in zip(recipients, replies, strict=False) if reply[0] not in (OK, WILL_FORWARD)}


def _rejection_error(sender: str, from_: RawReply, rejected: dict[str, RawReply], recipients: int, data: RawReply) -> Exception:
    if from_[0] != OK:
        return SMTPSenderRefused(*from_, sender)
    if len(rejected) == recipients:
        return SMTPRecipientsRefused([SMTPRecipientRefused(code, text, address) for address, (code, text) in rejected.items()])
    return MessageRejected(*data, rejected)


def _dot_stuff(content: bytes) -> bytes:
    """Double the dot at the start of each line, and append the final line `.` (RFC 5321 section 4.5.2). Return the result."""
    stuffed = content.replace(b"\r\n.", b"\r\n..")
    return (b"." if stuffed.startswith(b".") else b"") + stuffed + (b".\r\n" if stuffed.endswith(b"\r\n") else b"\r\n.\r\n")
