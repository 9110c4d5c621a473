"""Daphne as it should be: a server class for its own command line. Nothing of Daphne's or Twisted's is patched.

- A root task: the loop runs under `run_until_complete`, which is how AnyIO recognises a task that outlives requests.
  Without one, each `def` endpoint gets a new thread that dies with its request.
- The application's lifespan: started before the first socket listens, stopped after the last request in flight was
  answered.
- Finished requests are dropped at once, failed ones answered at once. Daphne sweeps both up once a second; until then
  the garbage collector walks them, which is where a p99 of 100 ms comes from.
- Limits, and backpressure both ways: `send` waits for a client that does not read, and a client for an application that
  does not `receive`.
"""

import asyncio
import gc
import logging
import re
import signal
import sys
import time
from collections.abc import Iterable
from functools import partial
from typing import Any

from daphne.cli import CommandLineInterface
from daphne.http_protocol import WebRequest
from daphne.server import Server as StockDaphneServer
from daphne.ws_protocol import WebSocketProtocol
from starlette.types import Message, Scope
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString

from ..notifications.local import server_stopping
from .connection_limits import DEFAULT_LIMITS, ConnectionLimits, ReceiveQueue
from .http_protocol import ConnectionFactory, WebSocketConnection
from .lifespan import run_lifespan

logger = logging.getLogger(__name__)

SERVICE_RESTART = 1012  # https://www.iana.org/assignments/websocket/websocket.xml
# What a request leaves behind is freed by reference counts: cycles are rare, and walks in search of them dear.
GC_THRESHOLDS = (50_000, 20, 20)
# Seconds after which a thread that computes lets another have the interpreter. Python's own 5 ms are the loop's wait, several
# times for each answer, while a database thread works.
GIL_SWITCH_INTERVAL_SECONDS = 0.0002
WEBSOCKET_CLOSE_TIMEOUT_SECONDS = (
    1.0  # seconds that sockets which hear that the server stops have for what they still want to say
)
# An address as it comes, quoted once or more, and as Django's admin quotes it; and what is as long as a credential.
EMAIL_ADDRESS_IN_PATH = re.compile(
    "(?<![^/])[^/]+(?:[@＠﹫]|[%_](?:25)*40|%(?:25)*EF%(?:25)*(?:BC%(?:25)*A0|B9%(?:25)*AB))[^/]+", re.IGNORECASE
)
CREDENTIAL_IN_PATH = re.compile(r"[\w-]{40,}")
MAX_WRITE_BYTES = 256 * 1024  # bytes of an answer that go to the transport at once


class DaphneServer(StockDaphneServer):  # type: ignore[misc]  # Daphne has no types
    """One Daphne process. `shutdown_grace`: seconds that requests in flight have to be answered after SIGTERM."""

    endpoints: list[str]

    def __init__(
        self, *args: Any, shutdown_grace: float = 25.0, limits: ConnectionLimits = DEFAULT_LIMITS, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.shutdown_grace = shutdown_grace
        self.limits = limits
        self._ports: list[Any] = []
        self._listen_failed = False

    # Starting

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT. Raises `lifespan.StartupFailed`."""
        loop = reactor._asyncioEventloop
        asyncio.set_event_loop(loop)
        self._stopping = asyncio.Event()
        self._root = loop.create_task(self._serve())
        loop.run_until_complete(self._root)
        loop.run_forever()  # until the reactor, which has waited for the root task, has ended too

    async def _serve(self) -> None:
        async with run_lifespan(self.application) as self._state:
            self._listen()
            if self.abort_start:
                if not self._stopping.is_set():  # by a signal
                    reactor.stop()
            else:
                _tune_garbage_collector()
                sys.setswitchinterval(GIL_SWITCH_INTERVAL_SECONDS)
                await self._stopping.wait()
                await self._drain()

    def _listen(self) -> None:
        # Daphne's own run() prepares everything; told that the start is aborted, it stops short of reactor.run(), under which
        # AnyIO would find no root task.
        self.abort_start = True
        endpoints, self.endpoints = self.endpoints, []  # ours to listen on, with connections that know limits
        super().run()
        self.http_factory = ConnectionFactory(self, self.limits)
        self.ws_factory.protocol = WebSocketConnection
        self.ws_factory.failByDrop = False  # say 1009 or 1007 before it is closed
        self.ws_factory.closeHandshakeTimeout = self.limits.linger  # a slow one has that long to read why
        # First, since whoever sees that it listens may end it.
        reactor.startRunning(installSignalHandlers=self.signal_handlers)
        if self.signal_handlers and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # under nohup it is ignored
            signal.signal(signal.SIGHUP, reactor.sigTerm)  # the terminal is gone
        for endpoint in endpoints:
            listening = serverFromString(reactor, endpoint).listen(self.http_factory)
            listening.addCallback(self.listen_success).addErrback(self.listen_error)
        self.abort_start = self._listen_failed

    def listen_success(self, port: Any) -> None:
        """Keep the port, to close it first when the server stops."""
        self._ports.append(port)
        if self.verbosity <= 1:
            self.http_factory.logFile = None  # Twisted's own access log: a line a request, which Daphne sends nowhere
        super().listen_success(port)

    def listen_error(self, failure: Any) -> None:
        """Say which address could not be had, and remember it. Daphne would stop the reactor for each of them."""
        self._listen_failed = True
        logger.critical("Listen failure: %s", failure.getErrorMessage())

    # Serving

    def create_application(self, protocol: Any, scope: Scope) -> Any:
        """Call the application for one request or socket, and look after its end when it comes."""
        if protocol not in self.connections:
            return None  # gone before it was ours to serve
        if self._state:
            scope["state"] = self._state.copy()
        scope["asgi"] = {"version": "3.0"}
        inbox = (
            ReceiveQueue(protocol.transport, messages=self.limits.messages) if scope["type"] == "websocket" else asyncio.Queue()
        )
        call = asyncio.ensure_future(self.application(scope, inbox.get, partial(self.handle_reply, protocol)))
        self.connections[protocol]["application_instance"] = call
        call.add_done_callback(partial(self._application_ended, protocol))
        if self._stopping.is_set():
            _close_after_response(protocol)
        return inbox

    async def handle_reply(self, protocol: Any, message: Message) -> None:
        """The application's `send`: waits while the client does not read. A long body goes piece by piece, each in its time."""
        self.check_headers_type(message)
        for piece in _split_body(message):
            if (
                not protocol.outlet.is_open and message["type"] != "websocket.close"
            ):  # who is too slow is told so, and when it reads
                await protocol.outlet.wait()
            details = self.connections.get(protocol)
            if details is None or "disconnected" in details:
                await asyncio.sleep(0)  # else one that sends on and on hears of no disconnect, and nobody else is served
                return
            protocol.handle_reply(piece)

    def protocol_disconnected(self, protocol: Any) -> None:
        """Forget a connection whose application has ended. Daphne may tell one end twice."""
        if protocol in self.connections:
            super().protocol_disconnected(protocol)
            self._drop_if_over(protocol)

    def _application_ended(self, protocol: Any, call: "asyncio.Task[None]") -> None:
        error = None if call.cancelled() else call.exception()
        details = self.connections.get(protocol)
        if details is None:
            return
        del details["application_instance"]
        if error is not None:
            logger.error("Exception inside application: %s", error, exc_info=error)
            if "disconnected" not in details:
                _send_error_response(protocol, error)
        self._drop_if_over(protocol)

    def _drop_if_over(self, protocol: Any) -> None:
        details = self.connections.get(protocol, {})
        if "disconnected" in details and "application_instance" not in details:
            del self.connections[protocol]

    def log_action(self, protocol: Any, action: str, details: dict[str, Any]) -> None:
        """Log the path alone, without an address or a credential in it: a query may hold any, or a text."""
        if self.action_logger:
            path = CREDENTIAL_IN_PATH.sub("…", EMAIL_ADDRESS_IN_PATH.sub("…@…", details["path"].partition("?")[0]))
            super().log_action(protocol, action, {**details, "path": path})

    # Stopping

    def kill_all_applications(self) -> Deferred:
        """What Daphne calls on shutdown: here, the moment to drain. The reactor waits for what is returned."""
        self._stopping.set()
        return Deferred.fromFuture(asyncio.shield(self._root))

    async def _drain(self) -> None:
        for port in self._ports:
            port.stopListening()
        deadline = time.monotonic() + self.shutdown_grace
        server_stopping.send()
        sockets = [protocol for protocol in self.connections if isinstance(protocol, WebSocketProtocol)]
        for protocol in self.connections.keys() - sockets:
            _close_after_response(protocol)
        if ends := self._calls(sockets):  # of those who heard it, and take leave themselves
            await asyncio.wait(ends, timeout=min(WEBSOCKET_CLOSE_TIMEOUT_SECONDS, self.shutdown_grace))
        for protocol in list(self.connections):
            _close_after_response(protocol)
        while (calls := self._calls()) and (left := deadline - time.monotonic()) > 0:
            await asyncio.wait(calls, timeout=left)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        if calls:
            logger.warning("Cut off %d requests or sockets after %g s of grace", len(calls), self.shutdown_grace)

    def _calls(self, protocols: Iterable[Any] | None = None) -> "list[asyncio.Task[None]]":
        details = (self.connections[protocol] for protocol in (self.connections if protocols is None else protocols))
        return [each["application_instance"] for each in details if "application_instance" in each]


class DaphneCommandLine(CommandLineInterface):  # type: ignore[misc]  # Daphne has no types
    """Daphne's command line, with this server."""

    def __init__(self, *, shutdown_grace: float, limits: ConnectionLimits = DEFAULT_LIMITS) -> None:
        super().__init__()
        self.server_class = partial(DaphneServer, shutdown_grace=shutdown_grace, limits=limits)


def _split_body(message: Message) -> Iterable[Message]:
    body = message.get("body", b"")
    if len(body) <= MAX_WRITE_BYTES:
        return (message,)
    more = message.get("more_body", False)
    starts = range(0, len(body), MAX_WRITE_BYTES)
    return ({**message, "body": body[at : at + MAX_WRITE_BYTES], "more_body": more or at != starts[-1]} for at in starts)


def _close_after_response(protocol: Any) -> None:
    if isinstance(protocol, WebSocketProtocol):
        if protocol.state == protocol.STATE_OPEN:
            protocol.sendCloseFrame(code=SERVICE_RESTART)
    elif not protocol.finished and protocol.channel is not None:  # a finished one has none at all
        protocol.channel.persistent = False  # answer this request, then close
        protocol.responseHeaders.setRawHeaders(b"connection", [b"close"])


def _send_error_response(protocol: Any, error: BaseException) -> None:
    if isinstance(protocol, WebRequest) and protocol._response_started:
        protocol.loseConnection()  # half an answer: the client must see that it is not whole
    else:
        protocol.handle_exception(error)


def _tune_garbage_collector() -> None:
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
