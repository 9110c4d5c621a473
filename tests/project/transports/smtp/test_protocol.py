"""A conversation with a relay that reads commands together (RFC 2920)."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from project.config.email_url import Relay
from project.transports.result import SendResult
from project.transports.smtp.error_classes import FailureKind
from project.transports.smtp.transport import SmtpTransport
from tests.project.transports.fake_relay import unsaved_email, until

pytestmark = pytest.mark.anyio

ENVELOPE = 3  # commands: MAIL, RCPT, DATA
NO_USER = b"550 5.1.1 No such user\r\n"
OK, GO_ON, TAKEN = b"250 2.0.0 OK\r\n", b"354 Go on\r\n", b"250 2.0.0 Taken\r\n"


class Relay2920:
    """It answers a whole envelope at once, and so hears none whose commands wait for answers. `heard` is all it was told."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = answers or (OK, OK, GO_ON)
        self.heard: list[str] = []
        self.contents: list[bytes] = []
        self.ended = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        writer.write(b"220 relay\r\n")
        while line := (await reader.readline()).decode().strip():
            self.heard.append(line)
            if line.startswith("EHLO"):
                writer.write(b"250-relay\r\n250-SIZE 1000000\r\n250 PIPELINING\r\n")
            elif line.startswith("MAIL"):
                await self._envelope(reader, writer)
            else:
                writer.write(OK)
        writer.close()
        self.ended.set()

    async def _envelope(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heard += [(await reader.readline()).decode().strip() for _ in self.answers[1:]]
        writer.write(b"".join(self.answers))
        if self.answers[-1] == GO_ON:
            self.contents.append(await reader.readuntil(b"\r\n.\r\n") if OK in self.answers[1:] else await reader.readline())
            writer.write(TAKEN if OK in self.answers[1:] else b"554 5.5.1 No valid recipients\r\n")


@asynccontextmanager
async def listening(relay: Relay2920) -> AsyncIterator[Callable[..., SmtpTransport]]:
    """Gives what makes a transport to it."""
    server = await asyncio.start_server(relay.serve, "127.0.0.1")
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield lambda: SmtpTransport(Relay("127.0.0.1", port, timeout=5.0))


async def sent(relay: Relay2920, *to: str, times: int = 1) -> list[SendResult]:
    """What became of mails that went over one connection."""
    async with listening(relay) as transport:
        channel = transport().create_connection()
        results = [await channel.send(unsaved_email(*to)) for _ in range(times)]
        await channel.close()
        await relay.ended.wait()
    return results


async def test_says_a_whole_envelope_at_once() -> None:
    relay = Relay2920()

    results = await sent(relay, times=2)

    assert [result.error for result in results] == ["", ""]
    assert len(relay.contents) == 2
    assert relay.heard[0].startswith("EHLO")
    assert [line.split()[0] for line in relay.heard[1:]] == ["MAIL", "RCPT", "DATA", "MAIL", "RCPT", "DATA", "QUIT"]


async def test_tells_the_size_beforehand() -> None:
    relay = Relay2920()

    await sent(relay)

    size = int(relay.heard[1].partition("SIZE=")[2])
    assert size == len(relay.contents[0].removesuffix(b".\r\n"))


async def test_some_recipients_may_be_refused() -> None:
    (result,) = await sent(Relay2920(OK, NO_USER, OK, GO_ON), "bad@example.com", "ada@example.com")

    assert result.error == ""
    assert {address: reply.code for address, reply in result.rejections.items()} == {"bad@example.com": 550}


@pytest.mark.parametrize("data", [b"554 5.5.1 No valid recipients\r\n", GO_ON])
async def test_content_that_nobody_wants_is_not_sent(data: bytes) -> None:
    relay = Relay2920(OK, NO_USER, data)

    first, second = await sent(relay, times=2)

    assert [(each.failure_kind, list(each.rejections)) for each in (first, second)] == [
        (FailureKind.PERMANENT, ["ada@example.com"])
    ] * 2
    assert relay.contents == ([b".\r\n"] * 2 if data == GO_ON else [])
    assert [line for line in relay.heard if line == "RSET"] == ["RSET"] * 2


async def test_a_refused_sender_fails_the_mail() -> None:
    no = b"550 5.7.1 Not you\r\n"
    (result,) = await sent(Relay2920(no, b"503 5.5.1 Send MAIL first\r\n", b"503 5.5.1 Send MAIL first\r\n"))

    assert (result.error, result.failure_kind) == ("550 5.7.1 Not you", FailureKind.PERMANENT)
    assert result.reply is not None
    assert result.reply.code == 550


async def test_a_relay_that_never_stops_talking_is_hung_up_on() -> None:
    silenced = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 relay\r\n")
        await reader.readline()
        writer.write(b"250 relay\r\n")
        await reader.readline()
        with suppress(ConnectionError):
            while True:
                writer.write(b"250-and another thing\r\n" * 100)
                await writer.drain()
        writer.close()
        silenced.set()

    async with await asyncio.start_server(talk, "127.0.0.1") as server:
        port = server.sockets[0].getsockname()[1]
        result = await SmtpTransport(Relay("127.0.0.1", port, timeout=5.0)).create_connection().send(unsaved_email())
        await silenced.wait()

    assert (result.error.partition(":")[0], result.failure_kind) == ("SMTPServerDisconnected", FailureKind.TEMPORARY)


async def test_a_relay_that_stops_reading_is_hung_up_on() -> None:
    ended = asyncio.Event()

    async def stop_reading(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in (b"220 relay\r\n", b"250 relay\r\n", OK, OK, GO_ON):
            writer.write(answer)
            await reader.readline()
        await ended.wait()
        writer.close()

    async with await asyncio.start_server(stop_reading, "127.0.0.1") as server:
        port, before = server.sockets[0].getsockname()[1], _descriptors()
        channel = SmtpTransport(Relay("127.0.0.1", port, timeout=0.1)).create_connection()
        result = await channel.send(unsaved_email(text="a long text " * 1_000_000))

        await until(lambda: _descriptors() == before + 1)  # the relay's own end
        ended.set()

    assert result.error.startswith("SMTPReadTimeoutError: ")


def _descriptors() -> int:
    """How many this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))
