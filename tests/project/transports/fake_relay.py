"""An SMTP server (RFC 5321) whose replies a test can choose, and helpers that connect to it and create emails."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from project.config.email_url import Relay
from project.emails.mime.builder import Draft
from project.emails.models import Email, RawMessage
from project.emails.priority import Priority
from project.emails.submit import NewEmail, prepare_email, submit_batch
from project.transports.smtp.replies import Reply
from project.transports.smtp.transport import SmtpRelayConnection, SmtpTransport
from tests.processes import WAIT_TIMEOUT_SECONDS
from tests.project.conftest import NOW

DISCONNECT = ""
SERVICE_CLOSING = "421"
DEFAULT_REPLIES = {
    "GREETING": "220 relay ESMTP",
    "EHLO": "250-relay\r\n250 8BITMIME",
    "DATA": "354 Go on",
    "MESSAGE": "250 2.0.0 Accepted",
    "QUIT": "221 2.0.0 Bye",
}
OTHERWISE = "250 2.0.0 OK"
ACCEPTED = Reply(250, "2.0.0 Accepted")


@dataclass(frozen=True)
class SmtpStep:
    """A point at which the relay replies: after the connection opens (GREETING), a command, or the content (MESSAGE)."""

    verb: str
    argument: str
    connection: int  # number of the connection, starting at 1
    email: int  # number of emails that were started so far
    open_connections: int


ReplyScript = Callable[[SmtpStep], str | None]  # None means the default reply; DISCONNECT means to close without a reply


@dataclass
class FakeRelay:
    """The relay. It counts its connections, and records the commands and messages that it received."""

    script: ReplyScript
    port: int = 0
    connections: int = 0
    open: int = 0
    max_open: int = 0
    commands: list[str] = field(default_factory=list)
    recipients: list[list[str]] = field(default_factory=list)  # recipients of each accepted email
    messages: list[bytes] = field(default_factory=list)  # accepted messages
    emails_started: int = 0
    may_reply: asyncio.Event = field(default_factory=asyncio.Event)  # while this is not set, a received message gets no reply
    sessions: set["asyncio.Task[None]"] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.may_reply.set()

    def relay(
        self,
        *,
        connections: int = 1,
        timeout: float = WAIT_TIMEOUT_SECONDS,
        data_done_timeout: float = WAIT_TIMEOUT_SECONDS,
    ) -> Relay:
        """Return the relay's settings, as parsed from EMAIL_URL."""
        return Relay("127.0.0.1", self.port, timeout=timeout, data_done_timeout=data_done_timeout, connections=connections)

    def disconnect_all(self) -> None:
        """Close all connections without a reply."""
        for session in self.sessions:
            session.cancel()

    async def serve_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Reply on one connection until the client or the relay closes it."""
        if (task := asyncio.current_task()) is not None:
            self.sessions.add(task)
        self.connections += 1
        self.open += 1
        self.max_open = max(self.max_open, self.open)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):  # the client disconnected
                await _Session(self, self.connections, reader, writer).run()
        finally:
            self.open -= 1
            writer.close()


class _Session:
    def __init__(self, relay: FakeRelay, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._relay, self._number, self._reader, self._writer = relay, number, reader, writer
        self._recipients: list[str] = []

    async def run(self) -> None:
        is_open = await self._reply("GREETING", "")
        while is_open and (line := await self._reader.readline()):
            command = line.decode().strip()
            self._relay.commands.append(command)
            verb, _, argument = command.partition(" ")
            is_open = await self._reply(verb, argument) and verb != "QUIT"

    async def _reply(self, verb: str, argument: str) -> bool:
        """Send the reply that the script chooses, and return whether the connection stays open."""
        relay = self._relay
        relay.emails_started += verb == "MAIL"
        reply = relay.script(SmtpStep(verb, argument, self._number, relay.emails_started, relay.open))
        if reply is None:
            reply = DEFAULT_REPLIES.get(verb, OTHERWISE)
        if reply == DISCONNECT:
            return False
        self._writer.write(f"{reply}\r\n".encode())
        await self._writer.drain()
        if reply.startswith(SERVICE_CLOSING):
            return False
        self._record(verb, argument, accepted=reply.startswith("250"))
        return await self._read_message() if reply.startswith("354") else True

    def _record(self, verb: str, argument: str, *, accepted: bool) -> None:
        if verb == "MAIL":
            self._recipients = []
        elif verb == "RCPT" and accepted:
            self._recipients.append(argument.removeprefix("TO:<").partition(">")[0])
        elif verb == "MESSAGE" and accepted:
            self._relay.recipients.append(self._recipients)
            self._relay.messages.append(argument.encode())

    async def _read_message(self) -> bool:
        message = await self._reader.readuntil(b"\r\n.\r\n")
        await self._relay.may_reply.wait()
        return await self._reply("MESSAGE", message.decode())


def default_replies(_step: SmtpStep) -> str | None:
    """Choose the default reply for every step, so that the relay accepts everything."""
    return None


@asynccontextmanager
async def fake_relay(script: ReplyScript = default_replies, *, port: int = 0) -> AsyncIterator[FakeRelay]:
    """Run a relay until the end of the block. It accepts every email, unless `script` returns another reply."""
    relay = FakeRelay(script)
    server = await asyncio.start_server(relay.serve_client, "127.0.0.1", port)
    relay.port = server.sockets[0].getsockname()[1]
    try:
        yield relay
    finally:
        server.close()
        relay.disconnect_all()
        await asyncio.gather(*relay.sessions, return_exceptions=True)


def open_connection(relay: Relay) -> SmtpRelayConnection:
    """Return a connection that opens when the first email is sent."""
    return SmtpTransport(relay).create_connection()


def reply_once(verb: str, reply: str, *, email: int = 1) -> ReplyScript:
    """Return a script that sends `reply` once, to the command `verb` of email number `email`."""
    replies = [reply]

    def script(step: SmtpStep) -> str | None:
        return replies.pop() if replies and (step.verb, step.email) == (verb, email) else None

    return script


async def until(condition: Callable[[], bool]) -> None:
    """Wait until `condition()` is true. Raise TimeoutError after `WAIT_TIMEOUT_SECONDS`."""
    async with asyncio.timeout(WAIT_TIMEOUT_SECONDS):
        while not condition():  # noqa: ASYNC110  # no single place could set an event
            await asyncio.sleep(0.005)


def new_email(*to: str, text: str = "Hi", priority: Priority = Priority.NORMAL) -> NewEmail:
    """Return a new email to these recipients, or to Ada if there are none."""
    draft = Draft("Shop <shop@example.com>", to=to or ("ada@example.com",), subject=text[:20], text=text)
    return NewEmail(draft, priority=priority)


def unsaved_email(*to: str, text: str = "Hi", priority: Priority = Priority.NORMAL) -> Email:
    """Return an email in the form in which the delivery worker claims it, but without storing it in the database."""
    prepared = prepare_email(new_email(*to, text=text, priority=priority), now=NOW)
    email = Email(**prepared.email.columns())
    email.raw_message = RawMessage(email=email, content=prepared.content)
    return email


def queue(*emails: NewEmail) -> None:
    """Submit emails, so that they are in the queue."""
    submit_batch([prepare_email(each, now=NOW) for each in emails])
