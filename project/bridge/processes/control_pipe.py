"""Control pipe between a server and its child process: a socket pair, over which both processes send messages as lines."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Self

logger = logging.getLogger(__name__)

HEARTBEAT_INTERVAL_SECONDS = 2.0
MAX_LINE_BYTES = 1024 * 1024
# The last line of a process that ends normally begins with the ASCII character EOT. The server adds the seconds that the child
# may take to exit.
END_OF_TRANSMISSION = "\x04"


class ControlPipe:
    """One end of the socket pair. Use the pipe only in the event loop that opened it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Whether END_OF_TRANSMISSION was received. If the lines end without it, the other process was killed.
        self.received_end = False
        self.received_grace: float | None = None  # seconds that this process may take to exit, if the other process said so
        self._is_finished = False  # whether this end has sent END_OF_TRANSMISSION
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, end: socket.socket) -> Self:
        """Return a pipe for one end of a socket pair."""
        return cls(*await asyncio.open_unix_connection(sock=end, limit=MAX_LINE_BYTES))

    def send(self, line: str = "") -> None:
        """Send a line. The line is dropped if it is too long, if the other end is closed, or after `finish`."""
        data = f"{line}\n".encode()
        if len(data) > MAX_LINE_BYTES:
            logger.error("Dropped a message of %d bytes; the maximum is %d", len(data), MAX_LINE_BYTES)
        elif not self._is_finished and not self._writer.is_closing():
            self._writer.write(data)

    def finish(self, *, grace: float | None = None) -> None:
        """Send END_OF_TRANSMISSION: this process will send no more lines. Lines of the other process are still received.

        `grace` are the seconds that the other process may take to exit.
        """
        self.send(END_OF_TRANSMISSION if grace is None else f"{END_OF_TRANSMISSION}{grace:.3f}")
        self._is_finished = True
        if not self._writer.is_closing():
            self._writer.write_eof()

    def close(self) -> None:
        """Close the pipe in both directions."""
        self._writer.close()

    @asynccontextmanager
    async def heartbeats(self, is_healthy: Callable[[], bool]) -> AsyncIterator[None]:
        """Send heartbeats, which are empty lines, while this context is open and `is_healthy()` is true."""
        task = asyncio.create_task(self._send_heartbeats(is_healthy))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _send_heartbeats(self, is_healthy: Callable[[], bool]) -> None:
        while True:
            if is_healthy():
                self.send()
            await asyncio.sleep(HEARTBEAT_INTERVAL_SECONDS)

    async def lines(self) -> AsyncIterator[str]:
        """Yield the lines of the other process, including heartbeats, until it calls `finish` or exits.

        A line that is too long or is not UTF-8 is dropped and logged.
        """
        with suppress(ConnectionError):
            while data := await self._read_line():
                line = data.decode(errors="replace").rstrip("\n")
                if line.startswith(END_OF_TRANSMISSION):
                    self.received_end = True
                    self.received_grace = _parse_seconds(line.removeprefix(END_OF_TRANSMISSION))
                else:
                    yield line

    async def _read_line(self) -> bytes:
        """Return the next line with its newline, or less at the end. Skip lines that are too long."""
        skipped = 0
        while True:
            try:
                line = await self._reader.readuntil(b"\n")
            except asyncio.IncompleteReadError as error:
                return b"" if skipped else error.partial
            except asyncio.LimitOverrunError as error:
                skipped += len(await self._reader.readexactly(error.consumed))
                continue
            if not skipped:
                return line
            logger.error("Dropped a message of %d bytes; the maximum is %d", skipped + len(line), MAX_LINE_BYTES)
            skipped = 0


def _parse_seconds(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
