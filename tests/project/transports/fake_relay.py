"""A relay whose every answer a test can decide (RFC 5321), a channel to it, and mail that can be given to it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from project.config.email_url import Relay
from project.emails.mime.builder import Draft
from project.emails.models import Email, RawMessage
from project.emails.submit import NewEmail, prepare_email, submit_batch
from project.transports.smtp.replies import Reply
from project.transports.smtp.transport import SmtpRelayConnection, SmtpTransport
from tests.processes import PATIENCE
from tests.project.conftest import NOW

HANG_UP = ""
CLOSING = "421"
USUAL = {
    "GREETING": "220 relay ESMTP",
    "EHLO": "250-relay\r\n250 8BITMIME",
    "DATA": "354 Go on",
    "MESSAGE": "250 2.0.0 Taken",
    "QUIT": "221 2.0.0 Bye",
}
OTHERWISE = "250 2.0.0 OK"
TAKEN = Reply(250, "2.0.0 Taken")


@dataclass(frozen=True)
class Step:
    """What the relay is asked: a command, or GREETING or MESSAGE; on which connection, of how many that are open now."""

    verb: str
    text: str
    connection: int  # they are counted from 1, and so are the mails
    mail: int
    open: int


ReplyScript = Callable[[Step], str | None]  # None is the usual answer; HANG_UP is none at all


@dataclass
class TestRelay:
    """What came in, and over how many connections."""

    __test__ = False

    special: ReplyScript
    port: int = 0
    connections: int = 0
    open: int = 0
    most_open: int = 0
    commands: list[str] = field(default_factory=list)
    recipients: list[list[str]] = field(default_factory=list)  # of each mail that was taken
    texts: list[bytes] = field(default_factory=list)
    began: int = 0  # mails
    may_take: asyncio.Event = field(default_factory=asyncio.Event)  # clear it, and what was received is not answered
    conversations: set["asyncio.Task[None]"] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.may_take.set()

    def relay(self, *, connections: int = 1, timeout: float = PATIENCE, data_done_timeout: float = PATIENCE) -> Relay:
        """As the settings name it."""
        return Relay("127.0.0.1", self.port, timeout=timeout, data_done_timeout=data_done_timeout, connections=connections)

    def hang_up(self) -> None:
        """Close all connections without a word."""
        for conversation in self.conversations:
            conversation.cancel()

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer on one connection until one of the two has had enough."""
        if (task := asyncio.current_task()) is not None:
            self.conversations.add(task)
        self.connections += 1
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):  # the other side was quicker
                await _Session(self, self.connections, reader, writer).run()
        finally:
            self.open -= 1
            writer.close()


class _Session:
    def __init__(self, relay: TestRelay, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._relay, self._number, self._reader, self._writer = relay, number, reader, writer
        self._recipients: list[str] = []

    async def run(self) -> None:
        goes_on = await self._answer("GREETING", "")
        while goes_on and (line := await self._reader.readline()):
            command = line.decode().strip()
            self._relay.commands.append(command)
            verb, _, text = command.partition(" ")
            goes_on = await self._answer(verb, text) and verb != "QUIT"

    async def _answer(self, verb: str, text: str) -> bool:
        """Gives whether the conversation goes on."""
        self._relay.began += verb == "MAIL"
        relay = self._relay
        answer = relay.special(Step(verb, text, self._number, relay.began, relay.open))
        if answer is None:
            answer = USUAL.get(verb, OTHERWISE)
        if answer == HANG_UP:
            return False
        self._writer.write(f"{answer}\r\n".encode())
        await self._writer.drain()
        if answer.startswith(CLOSING):
            return False
        self._note(verb, text, taken=answer.startswith("250"))
        return await self._take() if answer.startswith("354") else True

    def _note(self, verb: str, text: str, *, taken: bool) -> None:
        if verb == "MAIL":
            self._recipients = []
        elif verb == "RCPT" and taken:
            self._recipients.append(text.removeprefix("TO:<").partition(">")[0])
        elif verb == "MESSAGE" and taken:
            self._relay.recipients.append(self._recipients)
            self._relay.texts.append(text.encode())

    async def _take(self) -> bool:
        message = await self._reader.readuntil(b"\r\n.\r\n")
        await self._relay.may_take.wait()
        return await self._answer("MESSAGE", message.decode())


def usual(_step: Step) -> str | None:
    """Answer as every relay does."""
    return None


@asynccontextmanager
async def fake_relay(special: ReplyScript = usual, *, port: int = 0) -> AsyncIterator[TestRelay]:
    """A relay that answers as usual, but for what is `special`, until the end of the block."""
    relay = TestRelay(special)
    server = await asyncio.start_server(relay.converse, "127.0.0.1", port)
    relay.port = server.sockets[0].getsockname()[1]
    try:
        yield relay
    finally:
        server.close()
        relay.hang_up()
        await asyncio.gather(*relay.conversations, return_exceptions=True)


def open_connection(relay: Relay) -> SmtpRelayConnection:
    """One that has not connected."""
    return SmtpTransport(relay).create_connection()


def reply_once(verb: str, answer: str, *, mail: int = 1) -> ReplyScript:
    """Answer one command of the n-th mail so, and no other."""
    waiting = [answer]

    def special(step: Step) -> str | None:
        return waiting.pop() if waiting and (step.verb, step.mail) == (verb, mail) else None

    return special


async def until(condition: Callable[[], bool]) -> None:
    """Return as soon as `condition()` holds; fail if it does not for `PATIENCE` seconds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110  # it has no one place that could set an event
            await asyncio.sleep(0.005)


def order(*to: str, text: str = "Hi") -> NewEmail:
    """A mail to these, or to Ada."""
    return NewEmail(Draft("Shop <shop@example.com>", to=to or ("ada@example.com",), subject=text[:20], text=text))


def unsaved_email(*to: str, text: str = "Hi") -> Email:
    """A mail as an engine has it in hand, though no database knows it."""
    mail = prepare_email(order(*to, text=text), now=NOW)
    mail.email.raw_message = RawMessage(email=mail.email, content=mail.content)
    return mail.email


def queue(*orders: NewEmail) -> None:
    """Accept mails."""
    submit_batch([prepare_email(each, now=NOW) for each in orders])
