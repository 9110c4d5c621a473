"""A process beside the server's: it begins and ends with the server, and begins again when it dies.

For work that would keep the server from answering: one thread of a process runs Python at a time. A socket pair joins the two,
over which each tells the other something in lines. The operating system closes it however a process ends, so the companion of
a server that was killed knows.
"""

import asyncio
import logging
import math
import os
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Self

logger = logging.getLogger(__name__)

HEARTBEAT_INTERVAL_SECONDS = 2.0  # seconds between signs of life
HEARTBEAT_TIMEOUT_SECONDS = 15.0  # seconds without one until it is taken not to work
RESTART_DELAYS_SECONDS = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)  # seconds until one that died begins again, longer each time
STABLE_AFTER_SECONDS = 60.0  # seconds that one must live for the waits to begin anew
KILL_MARGIN_SECONDS = 5.0  # seconds beyond its grace, for the end of the process
MAX_LINE_BYTES = 1024 * 1024  # bytes
END_OF_TRANSMISSION = "\x04"  # the last line of one that ends as it should: ASCII's end of transmission
NICENESS = 10  # of a companion: the server goes first where both want the same core


class ControlPipe:
    """One end of the socket pair. Only for its loop."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.received_end = False  # the other end did: else it was killed
        self._is_over = False  # this end said so
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, end: socket.socket) -> Self:
        """Speak and hear over this end."""
        return cls(*await asyncio.open_unix_connection(sock=end, limit=MAX_LINE_BYTES))

    def send(self, line: str = "") -> None:
        """Say something to the other end. It is lost if that is gone, or after `end`."""
        if not self._is_over and not self._writer.is_closing():
            self._writer.write(f"{line}\n".encode())

    def finish(self) -> None:
        """Say that this is all, and go on hearing."""
        self.send(END_OF_TRANSMISSION)
        self._is_over = True
        if not self._writer.is_closing():
            self._writer.write_eof()

    def close(self) -> None:
        """Hear nothing more."""
        self._writer.close()

    @asynccontextmanager
    async def heartbeats(self, is_healthy: Callable[[], bool]) -> AsyncIterator[None]:
        """Give signs of life, which are empty lines, while this is open and what it is about is `healthy`."""
        beating = asyncio.create_task(self._beat(is_healthy))
        try:
            yield
        finally:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)

    async def _beat(self, is_healthy: Callable[[], bool]) -> None:
        while True:
            if is_healthy():
                self.send()
            await asyncio.sleep(HEARTBEAT_INTERVAL_SECONDS)

    async def lines(self) -> AsyncIterator[str]:
        """What the other end says, until it has said all or is gone."""
        with suppress(ConnectionError):
            while read := await self._reader.readline():
                if (line := read.decode().rstrip("\n")) != END_OF_TRANSMISSION:
                    yield line
                else:
                    self.received_end = True


class ProcessDidNotStart(RuntimeError):
    """A companion ended before its first sign of life. What it wrote to standard error says why."""


class SupervisedProcess:
    """For the server's side. One per application; `running` is for the lifespan."""

    def __init__(self, command: Sequence[str], hear: Callable[[str], object]) -> None:
        """What to run, with the link as its standard input; `hear` is called in the loop with each line that is no beat."""
        self._command = command
        self._hear = hear
        self._link: ControlPipe | None = None  # while there is one
        self._process: subprocess.Popen[bytes] | None = None
        self._heard_at = -math.inf
        self.is_supervised = False  # whether `running` sees to it
        self._ending = asyncio.Event()
        self._began = asyncio.Event()  # the first of them gave a sign of life

    @property
    def is_alive(self) -> bool:
        """Whether it gave a sign of life lately."""
        return self._link is not None and time.monotonic() < self._heard_at + HEARTBEAT_TIMEOUT_SECONDS

    def send(self, line: str = "") -> None:
        """Say something to it. Lost while there is none: it looks for itself when it begins."""
        if self._link is not None:
            self._link.send(line)

    @asynccontextmanager
    async def running(self, *, grace: float) -> AsyncIterator[None]:
        """It runs while this is open. At the end it is told so, and has `grace` seconds.

        Raises `DidNotBegin` if it ends before its first sign of life. Waits for that no longer than `SILENCE`.
        """
        self._ending, self._began, self.is_supervised = asyncio.Event(), asyncio.Event(), True
        keeping = asyncio.create_task(self._keep())
        try:
            await self._first_sign_of(keeping)
            yield
        finally:
            self.is_supervised = False
            self._ending.set()
            if self._link is not None:
                self._link.finish()
            await asyncio.wait({keeping}, timeout=grace + KILL_MARGIN_SECONDS)
            if not keeping.done() and self._process is not None:
                logger.error("%s did not end within %g s, and is killed", self._name, grace + KILL_MARGIN_SECONDS)
                self._process.kill()
            await keeping

    async def _first_sign_of(self, keeping: "asyncio.Task[None]") -> None:
        beginning = asyncio.create_task(self._began.wait())
        try:
            done, _ = await asyncio.wait(
                {beginning, keeping}, timeout=HEARTBEAT_TIMEOUT_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            beginning.cancel()
        if keeping in done:
            keeping.result()
        if not done:
            logger.error("%s gave no sign of life in %g s", self._name, HEARTBEAT_TIMEOUT_SECONDS)
            self._began.set()  # it is waited for no longer, and begins again if it ends

    async def _keep(self) -> None:
        died = 0
        while not self._ending.is_set():
            began = time.monotonic()
            try:
                how = f"ended with {await self._run()}"
            except OSError as error:  # no memory, no more processes
                how = f"did not begin ({type(error).__name__})"
            if self._ending.is_set():
                return
            if not self._began.is_set():
                raise ProcessDidNotStart(f"{self._name} {how}: what it said before that tells why")
            died = 0 if time.monotonic() > began + STABLE_AFTER_SECONDS else died
            wait = RESTART_DELAYS_SECONDS[min(died, len(RESTART_DELAYS_SECONDS) - 1)]
            died += 1
            logger.error("%s %s, and begins again in %g s", self._name, how, wait)
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._ending.wait()

    async def _run(self) -> int:
        """From its beginning to its end. Gives its exit code."""
        process, ours = _spawn(self._command)
        self._process, self._heard_at = process, -math.inf
        self._link = await ControlPipe.open(ours)
        watching = asyncio.create_task(self._watch(process))
        try:
            if self._ending.is_set():
                self._link.finish()
            async for line in self._link.lines():
                self._heard_at = time.monotonic()
                self._began.set()
                if line:
                    self._hear_one(line)
        finally:
            watching.cancel()
            self._link.close()
            self._link = None
        return await asyncio.to_thread(process.wait)

    async def _watch(self, process: "subprocess.Popen[bytes]") -> None:
        """End it if it stands still: it may have what others wait for, such as the turn to write to a database."""
        looks = 0  # that found nothing new. Looks are counted, not seconds: all may have stood still together
        while not self._ending.is_set():
            heard_at = self._heard_at
            await asyncio.sleep(HEARTBEAT_INTERVAL_SECONDS)
            looks = looks + 1 if heard_at == self._heard_at else 0
            if heard_at > -math.inf and looks * HEARTBEAT_INTERVAL_SECONDS > HEARTBEAT_TIMEOUT_SECONDS:
                logger.error("%s gave no sign of life in %g s, and is killed", self._name, HEARTBEAT_TIMEOUT_SECONDS)
                process.kill()
                return

    def _hear_one(self, line: str) -> None:
        try:
            self._hear(line)
        except Exception:
            logger.exception("What %s said is not understood", self._name)

    @property
    def _name(self) -> str:
        return " ".join(Path(part).name for part in self._command)


@asynccontextmanager
async def connect_to_supervisor() -> AsyncIterator[ControlPipe]:
    """For the companion's side: its link. It is to end when the lines do; unless the link `said_end`, the server was killed."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # who signals all processes of a service means the server, which ends this one
    link = await ControlPipe.open(socket.socket(fileno=os.dup(0)))
    try:
        yield link
    finally:
        link.close()


def _spawn(command: Sequence[str]) -> "tuple[subprocess.Popen[bytes], socket.socket]":
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            # In a group of its own: Ctrl-C in a terminal is for the server, which ends it. In no session of its own: Linux shares
            # the processor among sessions first (sched(7), autogroups), and `nice` counts within one alone.
            process = subprocess.Popen(command, stdin=theirs.fileno(), process_group=0)  # noqa: S603
        except OSError:
            ours.close()
            raise
    os.setpriority(os.PRIO_PROCESS, process.pid, os.getpriority(os.PRIO_PROCESS, 0) + NICENESS)
    return process, ours
