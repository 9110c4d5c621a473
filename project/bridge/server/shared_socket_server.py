"""Server on listening sockets that the process has inherited, and perhaps shares with other server processes."""

import asyncio
import socket
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from twisted.internet import reactor, tcp, unix
from twisted.internet.defer import Deferred
from twisted.internet.error import ReactorNotRunning

from ..notifications.local import connection_counts
from ..processes.connection_counts import WRITE_INTERVAL_SECONDS, SharedConnectionCounts
from ..processes.control_pipe import ControlPipe
from ..processes.supervisor_connection import connect_server_to_supervisor
from .daphne_server import DaphneServer

ACCEPT_DELAY_SECONDS = 0.001  # of a process with more connections than another one


class SharedSocketServer(DaphneServer):
    """Listens on `sockets`. If a `Supervisor` started the process, there are `counts`, and standard input is the control pipe."""

    def __init__(
        self, *args: Any, sockets: Sequence[socket.socket], counts: SharedConnectionCounts | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._sockets = sockets
        self._counts = counts
        self._pipe: ControlPipe | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._stop_requested = False

    async def _serve(self) -> None:
        if self._counts is None:
            await super()._serve()
            return
        with connection_counts.subscribed(self._counts.write):
            async with connect_server_to_supervisor(self._on_stop) as self._pipe:
                try:
                    await super()._serve()
                finally:
                    for task in self._tasks:
                        task.cancel()

    def open_ports(self, endpoints: Iterable[str]) -> None:
        """Listen on the sockets, and report the start to the supervisor. The endpoints are ignored."""
        for each in self._sockets:
            self.listen_success(_listen(each, self.http_factory, self._counts))
        if self._stop_requested:  # the supervisor stops before this process has started
            reactor.callLater(0, reactor.stop)
        elif self._pipe is not None and self._counts is not None:
            self._tasks = [
                asyncio.create_task(_send_heartbeats(self._pipe)),
                asyncio.create_task(_write_regularly(self._counts)),
            ]

    def kill_all_applications(self) -> Deferred:
        """Start the drain."""
        if self._counts is not None:
            self._counts.withdraw()
        return super().kill_all_applications()

    def _on_stop(self, grace: float | None) -> None:
        if grace is not None:
            self.shutdown_grace = grace
        self._stop_requested = True
        if not self._stopping.is_set():
            with suppress(ReactorNotRunning):  # the process has not started yet
                reactor.stop()


async def _send_heartbeats(pipe: ControlPipe) -> None:
    async with pipe.heartbeats(lambda: True):
        await asyncio.Event().wait()


async def _write_regularly(counts: SharedConnectionCounts) -> None:
    while True:
        counts.write()
        await asyncio.sleep(WRITE_INTERVAL_SECONDS)


class _FairAccept:
    """Accepts one connection for each iteration of the event loop, and later than a process with fewer connections.

    All processes are notified of a new connection. By default, Twisted accepts up to 100 connections at once, so the first
    process would take all connections of a burst.
    """

    counts: SharedConnectionCounts | None = None
    connected: Any  # of Twisted's Port, as the next two
    startReading: Any  # noqa: N815
    stopReading: Any  # noqa: N815

    def doRead(self) -> None:  # noqa: N802  # Twisted's name
        """Accept one connection, now or in a moment."""
        if self.counts is not None and self.counts.is_ahead:
            self.stopReading()
            reactor.callLater(ACCEPT_DELAY_SECONDS, self._accept_later)
        else:
            self._accept()

    def _accept_later(self) -> None:
        if self.connected:  # and not closed meanwhile
            self._accept()
            self.startReading()

    def _accept(self) -> None:
        self.numberAccepts = 1
        super().doRead()  # type: ignore[misc]  # of Twisted's Port


class _TcpPort(_FairAccept, tcp.Port):  # type: ignore[misc]  # Twisted has no types
    """TCP port that shares its connections with other processes."""


class _UnixPort(_FairAccept, unix.Port):  # type: ignore[misc]  # Twisted has no types
    """Unix socket that shares its connections with other processes."""


def _listen(listener: socket.socket, factory: Any, counts: SharedConnectionCounts | None) -> Any:
    if listener.family == socket.AF_UNIX:
        port = _UnixPort._fromListeningDescriptor(reactor, listener.fileno(), factory)
    else:
        port = _TcpPort._fromListeningDescriptor(reactor, listener.fileno(), listener.family, factory)
    port.counts = counts
    port.startListening()
    return port
