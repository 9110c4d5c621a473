"""Server on listening sockets that the process has inherited, and perhaps shares with other server processes."""

import asyncio
import socket
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from twisted.internet import reactor, tcp, unix
from twisted.internet.error import ReactorNotRunning

from ..processes.control_pipe import ControlPipe
from ..processes.supervisor_connection import connect_server_to_supervisor
from .daphne_server import DaphneServer

# A connection that is idle when the drain begins may have its next request on the way. The request is answered if it arrives
# within this time.
IDLE_DRAIN_SECONDS = 1.0


class SharedSocketServer(DaphneServer):
    """Listens on `sockets`. With `is_supervised`, its standard input is the pipe to a `Supervisor`."""

    def __init__(self, *args: Any, sockets: Sequence[socket.socket], is_supervised: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._sockets = sockets
        self._is_supervised = is_supervised
        self._pipe: ControlPipe | None = None
        self._heartbeats: asyncio.Task[None] | None = None
        self._stop_requested = False

    async def _serve(self) -> None:
        if not self._is_supervised:
            await super()._serve()
            return
        async with connect_server_to_supervisor(self._on_stop) as self._pipe:
            try:
                await super()._serve()
            finally:
                if self._heartbeats is not None:
                    self._heartbeats.cancel()

    def open_ports(self, endpoints: Iterable[str]) -> None:
        """Listen on the sockets, and report the start to the supervisor. The endpoints are ignored."""
        for each in self._sockets:
            self.listen_success(_listen(each, self.http_factory))
        if self._stop_requested:  # the supervisor stops before this process has started
            reactor.callLater(0, reactor.stop)
        elif self._pipe is not None:
            self._heartbeats = asyncio.create_task(_send_heartbeats(self._pipe))

    def _on_stop(self, grace: float | None) -> None:
        if grace is not None:
            self.shutdown_grace = grace
        self._stop_requested = True
        if not self._stopping.is_set():
            with suppress(ReactorNotRunning):  # the process has not started yet
                reactor.stop()

    async def drain_idle_connections(self) -> None:
        """Let connections that are idle send one more request, for a moment. Then close them."""
        if self.open_connections.has_idle:
            await asyncio.sleep(min(IDLE_DRAIN_SECONDS, self.shutdown_grace))
            self.open_connections.close_idle()


async def _send_heartbeats(pipe: ControlPipe) -> None:
    async with pipe.heartbeats(lambda: True):
        await asyncio.Event().wait()


class _FairAccept:
    """Accepts one connection for each iteration of the event loop.

    All processes are notified of a new connection. By default, Twisted accepts up to 100 connections at once, so the first
    process would take all connections of a burst.
    """

    def doRead(self) -> None:  # noqa: N802  # Twisted's name
        """Accept one connection."""
        self.numberAccepts = 1
        super().doRead()  # type: ignore[misc]  # of Twisted's Port


class _TcpPort(_FairAccept, tcp.Port):  # type: ignore[misc]  # Twisted has no types
    """TCP port that shares its connections with other processes."""


class _UnixPort(_FairAccept, unix.Port):  # type: ignore[misc]  # Twisted has no types
    """Unix socket that shares its connections with other processes."""


def _listen(listener: socket.socket, factory: Any) -> Any:
    if listener.family == socket.AF_UNIX:
        port = _UnixPort._fromListeningDescriptor(reactor, listener.fileno(), factory)
    else:
        port = _TcpPort._fromListeningDescriptor(reactor, listener.fileno(), listener.family, factory)
    port.startListening()
    return port
