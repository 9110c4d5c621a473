"""The conversation about mails on an SMTP connection: RFC 5321, with the commands of a mail sent together (RFC 2920).

aiosmtplib opens the connection, with TLS and login. What follows is said here, since it waits for the answer to each command
before it sends the next: four times the way to the relay and back for each mail, where two are enough.
"""

import asyncio
import re
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

MAX_REPLY_LINE_BYTES = 8192  # bytes of a reply's line; RFC 5321 section 4.5.3.1.5 has 512
MAX_REPLY_LINES = 100  # of a reply
MAX_UNREAD_REPLIES = 100  # that nobody has read yet; the longest envelope of the API asks for 52
WRITE_CHUNK_BYTES = 64 * 1024  # bytes of a mail that are written before the relay must have taken some
QUIT_TIMEOUT_SECONDS = 2.0  # seconds that a relay has to answer QUIT
MAX_TRANSCRIPT_LENGTH = 16_000  # characters of a conversation that are kept
OK, WILL_FORWARD, START_MAIL_INPUT, SERVICE_CLOSING = 250, 251, 354, 421

RawReply = tuple[int, str]  # the code, and the text of all lines

_SAFE_COMMAND = re.compile("[ -~]+")  # what no address can smuggle a command into
_CONTROLS = dict.fromkeys([*range(32), 127], " ") | {ord("\n"): "\n"}


class SmtpConnection(asyncio.Protocol):
    """What is said on a connection on which the relay has greeted us, and knows who we are."""

    def __init__(
        self, transport: asyncio.Transport, *, timeout: float, data_done_timeout: float, pipelining: bool, size: bool
    ) -> None:
        self.content_begun = False  # of the mail that is being sent: from here on, the relay may have taken it
        self._transport = transport
        self._timeout = timeout
        self._data_done_timeout = data_done_timeout
        self._pipelining = pipelining
        self._size = size
        self._lines: list[str] = []
        self._told: list[str] = []
        self._unread = b""
        self._is_late = False  # the relay did not answer in time
        self._replies: deque[RawReply] = deque()
        self._something = asyncio.Event()  # was read, or the connection is lost
        self._writable = asyncio.Event()
        self._writable.set()
        transport.set_protocol(self)

    @property
    def is_open(self) -> bool:
        """Whether it goes on."""
        return not self._transport.is_closing()

    @property
    def told(self) -> str:
        """What was said about the mail: `C: ` before what we said, `S: ` before what the relay did."""
        return "\n".join(self._told).translate(_CONTROLS)[:MAX_TRANSCRIPT_LENGTH]

    async def send(self, sender: str, recipients: Sequence[str], content: bytes) -> tuple[dict[str, RawReply], RawReply]:
        """Hand over one mail: its recipients that were refused while others were taken, and what the relay said at the end.

        Raises aiosmtplib's SMTPSenderRefused and SMTPRecipientsRefused, and ContentRefused, for what the relay refuses,
        SMTPResponseException for a 421, SMTPServerDisconnected and SMTPReadTimeoutError.
        """
        self._told, self.content_begun = [], False
        size = f" SIZE={len(content)}" if self._size else ""
        envelope = [f"MAIL FROM:<{sender}>{size}", *(f"RCPT TO:<{address}>" for address in recipients), "DATA"]
        if unspeakable := [command for command in envelope if not _SAFE_COMMAND.fullmatch(command)]:
            raise ValueError(f"{unspeakable[0]!r} cannot be said to a relay")
        refused = await (self._offer_at_once if self._pipelining else self._offer)(sender, recipients, envelope)
        self.content_begun = True
        self._told.append(f"C: ({len(content)} bytes)")
        await self._write(_dot_stuff(content))
        end = await self._answer(self._data_done_timeout)
        if not 200 <= end[0] < 300:  # the first digit says it (section 4.2.1)
            raise MessageRejected(*end, refused)
        return refused, end

    async def quit(self) -> None:
        """Say goodbye, and hang up."""
        with suppress(SMTPResponseException, SMTPServerDisconnected, TimeoutError):  # it may be gone already
            async with asyncio.timeout(QUIT_TIMEOUT_SECONDS):
                await self._ask("QUIT")
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._transport.close()

    async def _offer_at_once(self, sender: str, recipients: Sequence[str], envelope: Sequence[str]) -> dict[str, RawReply]:
        """Say the whole envelope, then hear the answers. Gives the recipients that were refused; the content is wanted."""
        from_, *to, data = await self._ask(*envelope)
        refused = _rejected_recipients(recipients, to)
        if from_[0] == OK and data[0] == START_MAIL_INPUT and len(refused) < len(recipients):
            return refused
        if data[0] == START_MAIL_INPUT:
            await self._ask(".")  # a relay may ask for the content of what nobody wants: it gets none (section 3.1)
        raise await self._taken_back(_rejection_error(sender, from_, refused, len(recipients), data))

    async def _offer(self, sender: str, recipients: Sequence[str], envelope: Sequence[str]) -> dict[str, RawReply]:
        """The same for a relay that wants each command after its answer to the one before."""
        (from_,) = await self._ask(envelope[0])
        to = [(await self._ask(command))[0] for command in envelope[1:-1]] if from_[0] == OK else []
        refused = _rejected_recipients(recipients, to)
        (data,) = await self._ask(envelope[-1]) if len(refused) < len(to) else (from_,)
        if data[0] == START_MAIL_INPUT:
            return refused
        raise await self._taken_back(_rejection_error(sender, from_, refused, len(recipients), data))

    async def _taken_back(self, refusal: Exception) -> Exception:
        with suppress(SMTPResponseException, SMTPServerDisconnected, SMTPReadTimeoutError):  # what it said of the mail stands
            await self._ask("RSET")
        return refusal

    async def _ask(self, *commands: str) -> list[RawReply]:
        """Say these at once, and hear the answer to each."""
        await self._write("".join(f"{command}\r\n" for command in commands).encode())
        answers = []
        for command in commands:
            self._told.append(f"C: {command}")
            answers.append(await self._answer())
        return answers

    async def _answer(self, patience: float | None = None) -> RawReply:
        while not self._replies:
            if not self.is_open:
                raise SMTPServerDisconnected("Connection lost")
            self._something.clear()
            await self._until(self._something, patience)
        answer = self._replies.popleft()
        self._told.append("S: {} {}".format(answer[0], answer[1].replace("\n", f"\nS: {answer[0]} ")))
        if answer[0] == SERVICE_CLOSING:
            self.close()
            raise SMTPResponseException(*answer)
        return answer

    async def _write(self, data: bytes) -> None:
        for start in range(0, len(data), WRITE_CHUNK_BYTES):
            if not self.is_open:
                raise SMTPServerDisconnected("Connection lost")
            self._transport.write(data[start : start + WRITE_CHUNK_BYTES])
            if not self._writable.is_set():
                await self._until(self._writable)

    async def _until(self, event: asyncio.Event, patience: float | None = None) -> None:
        # A timer, which costs less than asyncio.timeout: this is done for each answer of a thousand mails a second.
        deadline = asyncio.get_running_loop().call_later(patience or self._timeout, self._lose_patience)
        try:
            await event.wait()
        finally:
            deadline.cancel()
        if self._is_late:
            raise SMTPReadTimeoutError("Timed out waiting for the relay")

    def _lose_patience(self) -> None:
        self._is_late = True
        self._transport.abort()  # `close` waits until a relay that reads nothing has read what we said
        self._wake()

    def _wake(self) -> None:
        self._something.set()
        self._writable.set()

    # What the transport says

    def data_received(self, data: bytes) -> None:
        """Read the answers that are whole."""
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            self._read(line.decode(errors="replace").strip())
        if (
            len(self._unread) > MAX_REPLY_LINE_BYTES
            or len(self._lines) > MAX_REPLY_LINES
            or len(self._replies) > MAX_UNREAD_REPLIES
        ):
            self._transport.abort()  # no relay, or none that means well
        self._something.set()

    def _read(self, line: str) -> None:
        self._lines.append(line[4:])
        if line[3:4] != "-":
            code = int(line[:3]) if line[:3].isdecimal() and line[:3].isascii() else -1
            self._replies.append((code, "\n".join(self._lines)))
            self._lines = []

    def connection_lost(self, exc: Exception | None) -> None:
        """Whoever waits is told."""
        self._wake()

    def pause_writing(self) -> None:
        """The relay takes no more for now."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """It does again."""
        self._writable.set()


def _rejected_recipients(recipients: Sequence[str], answers: Sequence[RawReply]) -> dict[str, RawReply]:
    return {address: answer for address, answer in zip(recipients, answers, strict=False) if answer[0] not in (OK, WILL_FORWARD)}


def _rejection_error(sender: str, from_: RawReply, refused: dict[str, RawReply], recipients: int, data: RawReply) -> Exception:
    if from_[0] != OK:
        return SMTPSenderRefused(*from_, sender)
    if len(refused) == recipients:
        return SMTPRecipientsRefused([SMTPRecipientRefused(code, text, address) for address, (code, text) in refused.items()])
    return MessageRejected(*data, refused)


def _dot_stuff(content: bytes) -> bytes:
    """The content as it is sent: with a dot before each that begins a line, and a line of one at its end (section 4.5.2)."""
    stuffed = content.replace(b"\r\n.", b"\r\n..")
    return (b"." if stuffed.startswith(b".") else b"") + stuffed + (b".\r\n" if stuffed.endswith(b"\r\n") else b"\r\n.\r\n")
