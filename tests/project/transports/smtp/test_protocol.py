"""Sending to a relay with command pipelining (RFC 2920)."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from project.config.email_url import Relay
from project.transports.result import SendResult
from project.transports.smtp.error_classification import FailureKind
from project.transports.smtp.transport import SmtpTransport
from tests.processes import WAIT_TIMEOUT_SECONDS
from tests.project.transports.fake_relay import unsaved_email, until

pytestmark = pytest.mark.anyio

NO_USER = b"550 5.1.1 No such user\r\n"
OK, GO_ON, ACCEPTED = b"250 2.0.0 OK\r\n", b"354 Go on\r\n", b"250 2.0.0 Accepted\r\n"


class PipeliningRelay:
    """A relay that replies only after a whole envelope, so that a client without pipelining waits forever."""

    def __init__(self, *replies: bytes) -> None:
        self.replies = replies or (OK, OK, GO_ON)
        self.commands: list[str] = []
        self.contents: list[bytes] = []
        self.ended = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Reply on one connection until the client closes it."""
        writer.write(b"220 relay\r\n")
        while line := (await reader.readline()).decode().strip():
            self.commands.append(line)
            if line.startswith("EHLO"):
                writer.write(b"250-relay\r\n250-SIZE 1000000\r\n250 PIPELINING\r\n")
            elif line.startswith("MAIL"):
                await self._envelope(reader, writer)
            else:
                writer.write(OK)
        writer.close()
        self.ended.set()

    async def _envelope(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.commands += [(await reader.readline()).decode().strip() for _ in self.replies[1:]]
        writer.write(b"".join(self.replies))
        if self.replies[-1] == GO_ON:
            self.contents.append(await reader.readuntil(b"\r\n.\r\n") if OK in self.replies[1:] else await reader.readline())
            writer.write(ACCEPTED if OK in self.replies[1:] else b"554 5.5.1 No valid recipients\r\n")


@asynccontextmanager
async def transport_to(relay: PipeliningRelay) -> AsyncIterator[Callable[..., SmtpTransport]]:
    """Run the relay, and return a function that creates a transport to it."""
    server = await asyncio.start_server(relay.serve, "127.0.0.1")
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield lambda: SmtpTransport(Relay("127.0.0.1", port, timeout=5.0))


async def send_all(relay: PipeliningRelay, *to: str, times: int = 1) -> list[SendResult]:
    """Send emails over one connection, and return their results."""
    async with transport_to(relay) as create_transport:
        connection = create_transport().create_connection()
        results = [await connection.send(unsaved_email(*to)) for _ in range(times)]
        await connection.close()
        await relay.ended.wait()
    return results


async def test_sends_the_whole_envelope_at_once() -> None:
    relay = PipeliningRelay()

    results = await send_all(relay, times=2)

    assert [result.error for result in results] == ["", ""]
    assert len(relay.contents) == 2
    assert relay.commands[0].startswith("EHLO")
    assert [line.split()[0] for line in relay.commands[1:]] == ["MAIL", "RCPT", "DATA", "MAIL", "RCPT", "DATA", "QUIT"]


async def test_announces_the_size_of_the_message() -> None:
    relay = PipeliningRelay()

    await send_all(relay)

    size = int(relay.commands[1].partition("SIZE=")[2])
    assert size == len(relay.contents[0].removesuffix(b".\r\n"))


async def test_sends_to_the_other_recipients_if_some_are_rejected() -> None:
    (result,) = await send_all(PipeliningRelay(OK, NO_USER, OK, GO_ON), "bad@example.com", "ada@example.com")

    assert result.error == ""
    assert {address: reply.code for address, reply in result.rejections.items()} == {"bad@example.com": 550}


@pytest.mark.parametrize("data", [b"554 5.5.1 No valid recipients\r\n", GO_ON])
async def test_sends_no_content_if_all_recipients_are_rejected(data: bytes) -> None:
    relay = PipeliningRelay(OK, NO_USER, data)

    first, second = await send_all(relay, times=2)

    assert [(each.failure_kind, list(each.rejections)) for each in (first, second)] == [
        (FailureKind.PERMANENT, ["ada@example.com"])
    ] * 2
    assert relay.contents == ([b".\r\n"] * 2 if data == GO_ON else [])
    assert [line for line in relay.commands if line == "RSET"] == ["RSET"] * 2


async def test_a_rejected_sender_fails_the_email() -> None:
    no = b"550 5.7.1 Not you\r\n"
    (result,) = await send_all(PipeliningRelay(no, b"503 5.5.1 Send MAIL first\r\n", b"503 5.5.1 Send MAIL first\r\n"))

    assert (result.error, result.failure_kind) == ("550 5.7.1 Not you", FailureKind.PERMANENT)
    assert result.reply is not None
    assert result.reply.code == 550


async def test_disconnects_from_a_relay_whose_reply_never_ends() -> None:
    disconnected = asyncio.Event()

    async def reply_without_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 relay\r\n")
        await reader.readline()
        writer.write(b"250 relay\r\n")
        await reader.readline()
        with suppress(ConnectionError):
            while True:
                writer.write(b"250-and another thing\r\n" * 100)
                await writer.drain()
        writer.close()
        disconnected.set()

    async with await asyncio.start_server(reply_without_end, "127.0.0.1") as server:
        port = server.sockets[0].getsockname()[1]
        result = await SmtpTransport(Relay("127.0.0.1", port, timeout=5.0)).create_connection().send(unsaved_email())
        await disconnected.wait()

    assert (result.error.partition(":")[0], result.failure_kind) == ("SMTPServerDisconnected", FailureKind.TEMPORARY)


async def test_disconnects_from_a_relay_that_stops_reading() -> None:
    ended = asyncio.Event()

    async def stop_reading(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for reply in (b"220 relay\r\n", b"250 relay\r\n", OK, OK, GO_ON):
            writer.write(reply)
            await reader.readline()
        await ended.wait()
        writer.close()

    async with await asyncio.start_server(stop_reading, "127.0.0.1") as server:
        port, before = server.sockets[0].getsockname()[1], _open_files()
        connection = SmtpTransport(Relay("127.0.0.1", port, timeout=0.1)).create_connection()
        result = await connection.send(unsaved_email(text="a long text " * 1_000_000))

        await until(lambda: _open_files() == before + 1)  # only the relay's socket is still open
        ended.set()

    assert result.error.startswith("SMTPReadTimeoutError: ")


async def test_a_relay_that_replies_instead_of_reading_gets_no_more_time() -> None:
    ended = asyncio.Event()

    async def reply_only(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for reply in (b"220 relay\r\n", b"250 relay\r\n", OK, OK, GO_ON):
            writer.write(reply)
            await reader.readline()
        with suppress(ConnectionError):
            while not writer.is_closing():
                writer.write(b"2")  # the beginning of a reply
                await writer.drain()
                await asyncio.sleep(0.01)
        writer.close()
        ended.set()

    async with await asyncio.start_server(reply_only, "127.0.0.1") as server:
        port = server.sockets[0].getsockname()[1]
        connection = SmtpTransport(Relay("127.0.0.1", port, timeout=0.2)).create_connection()
        async with asyncio.timeout(WAIT_TIMEOUT_SECONDS):
            result = await connection.send(unsaved_email(text="a long text " * 1_000_000))
            await ended.wait()

    assert result.error.startswith("SMTPReadTimeoutError: ")


def _open_files() -> int:
    """Return how many file descriptors this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))
