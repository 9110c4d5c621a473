"""Server class for Daphne. It adds features for production, and patches neither Daphne nor Twisted.

- A root task: the loop runs under `run_until_complete`, so AnyIO finds a task that outlives requests. Without a root task,
  each call of a `def` endpoint gets a new thread, which ends with the request.
- The application's lifespan: it starts before the first socket listens, and ends after the last request in flight is answered.
- Finished requests are dropped, and failed requests are answered, at once. Daphne does both only once a second. Until then the
  garbage collector visits the finished requests, which leads to a p99 of 100 ms.
- Limits, and backpressure in both directions: `send` waits for a slow client, and clients wait for a slow application.
"""

import asyncio
import contextvars
import logging
import re
import signal
import time
from collections.abc import Iterable
from functools import partial
from typing import Any

from daphne.server import Server as StockDaphneServer
from daphne.ws_protocol import WebSocketProtocol
from starlette.types import Message, Scope
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString

from ..middleware.request_id import current_client_address
from ..notifications.local import server_stopping
from ..notifications.systemd import READY, STOPPING, notify_systemd
from .access_log import AccessLogger, select_access_logger, with_client_address
from .connection_limits import DEFAULT_LIMITS, ConnectionLimits, ReceiveQueue
from .endings import close_after_response, close_unclosed_websocket, is_closed_websocket, send_error_response
from .http_protocol import ConnectionFactory
from .interpreter_tuning import tune_interpreter
from .lifespan import run_lifespan
from .listening_ports import stop_listening
from .open_connections import OpenConnections
from .open_files import log_accept_failures, max_connections, raise_open_files_limit
from .websocket_protocol import WebSocketConnection

logger = logging.getLogger(__name__)

WEBSOCKET_CLOSE_TIMEOUT_SECONDS = 1.0  # for WebSockets that close themselves after `server_stopping`
# Matches an email address: plain, percent-encoded once or several times, or quoted by Django's admin.
EMAIL_ADDRESS_IN_PATH = re.compile(
    "(?<![^/])[^/]+(?:[@＠﹫]|[%_](?:25)*40|%(?:25)*EF%(?:25)*(?:BC%(?:25)*A0|B9%(?:25)*AB))[^/]+", re.IGNORECASE
)
CREDENTIAL_IN_PATH = re.compile(r"[\w-]{40,}")  # any word as long as a credential
MAX_WRITE_BYTES = 256 * 1024  # maximum size of each chunk of a response body


class DaphneServer(StockDaphneServer):  # type: ignore[misc]  # Daphne has no types
    """One Daphne process. After SIGTERM, requests in flight have `shutdown_grace` seconds to be answered."""

    endpoints: list[str]

    def __init__(
        self,
        *args: Any,
        shutdown_grace: float = 25.0,
        limits: ConnectionLimits = DEFAULT_LIMITS,
        access_logger: AccessLogger | None = None,
        **kwargs: Any,
    ) -> None:
        """Create a server. `access_logger` replaces Daphne's access log on stdout, but not one in a file."""
        super().__init__(*args, **kwargs)
        self.action_logger: Any = select_access_logger(kwargs.get("action_logger"), access_logger)
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
        loop.run_forever()  # until the reactor has also ended: it waits for the root task

    async def _serve(self) -> None:
        async with run_lifespan(self.application) as self._state:
            self._listen()
            if self.abort_start:
                if not self._stopping.is_set():  # if it is set, a signal has already stopped the reactor
                    reactor.stop()
            else:
                tune_interpreter()
                notify_systemd(READY)
                await self._stopping.wait()
                notify_systemd(STOPPING)
                await self._drain()

    def _listen(self) -> None:
        # Daphne's own run() prepares everything. With `abort_start` it does not call reactor.run(), which has no root task.
        self.abort_start = True
        endpoints, self.endpoints = self.endpoints, []  # this method listens below, with connections that enforce the limits
        super().run()
        self.open_connections = OpenConnections(self.limits, max_total=max_connections(raise_open_files_limit()))
        self.http_factory = ConnectionFactory(self, self.limits, self.open_connections)
        log_accept_failures()
        self.ws_factory.protocol = WebSocketConnection
        self.ws_factory.failByDrop = False  # send the close code 1009 or 1007 before disconnecting
        self.ws_factory.closeHandshakeTimeout = self.limits.linger_timeout  # for a slow client to read the close code
        # This must happen before listening, because a SIGTERM may arrive as soon as the port is open.
        reactor.startRunning(installSignalHandlers=self.signal_handlers)
        if self.signal_handlers and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # nohup ignores SIGHUP
            signal.signal(signal.SIGHUP, reactor.sigTerm)  # SIGHUP is sent when the terminal is closed
        self.open_ports(endpoints)
        self.abort_start = self._listen_failed

    def open_ports(self, endpoints: Iterable[str]) -> None:
        """Listen on Daphne's endpoints."""
        for endpoint in endpoints:
            listening = serverFromString(reactor, endpoint).listen(self.http_factory)
            listening.addCallback(self.listen_success).addErrback(self.listen_error)

    def listen_success(self, port: Any) -> None:
        """Store the listening port, which the drain will close first."""
        self._ports.append(port)
        if self.verbosity <= 1:
            self.http_factory.logFile = None  # Twisted's access log formats a line for each request, but Daphne discards it
        super().listen_success(port)

    def listen_error(self, failure: Any) -> None:
        """Log the failure and set `_listen_failed`. Daphne's own method would stop the reactor once for each failure."""
        self._listen_failed = True
        logger.critical("Listen failure: %s", failure.getErrorMessage())

    # Serving

    def create_application(self, protocol: Any, scope: Scope) -> Any:
        """Call the application for one request or WebSocket. Return the queue into which Daphne puts the client's messages."""
        if protocol not in self.connections:
            return None  # the client has already disconnected
        if self._state:
            scope["state"] = self._state.copy()
        scope["asgi"] = {"version": "3.0"}
        queue = self._create_queue(protocol) if scope["type"] == "websocket" else protocol.create_queue()
        # The end of the call runs in the call's own context, so that a logged error has the request's context variables.
        context = contextvars.copy_context()
        application = self.application(scope, queue.get, partial(self.handle_reply, protocol))
        call = asyncio.get_running_loop().create_task(application, context=context)
        self.connections[protocol]["application_instance"] = call
        call.add_done_callback(partial(self._application_ended, protocol), context=context)
        if self._stopping.is_set():
            close_after_response(protocol)
        return queue

    def _create_queue(self, protocol: Any) -> "asyncio.Queue[Message]":
        return ReceiveQueue(protocol.read_gate, messages_per_second=self.limits.messages_per_second)

    async def handle_reply(self, protocol: Any, message: Message) -> None:
        """Send a message of the application to the client. Long bodies are sent in chunks, as fast as the client reads."""
        self.check_headers_type(message)
        # A close frame does not wait: a slow client receives it after the data that was sent before.
        waits = message["type"] != "websocket.close"
        for chunk in _split_body(message):
            if waits and not protocol.backpressure.is_writable:
                await protocol.backpressure.wait_until_writable()
            details = self.connections.get(protocol)
            if details is None or "disconnected" in details or is_closed_websocket(protocol):
                await asyncio.sleep(0)  # so that an application that sends in a loop receives the disconnect
                return
            protocol.handle_reply(chunk)

    def protocol_disconnected(self, protocol: Any) -> None:
        """Drop the connection if its application has ended too. Daphne may call this twice for one connection."""
        if protocol in self.connections:
            super().protocol_disconnected(protocol)
            self._drop_if_finished(protocol)

    def _application_ended(self, protocol: Any, call: "asyncio.Task[None]") -> None:
        error = None if call.cancelled() else call.exception()
        details = self.connections.get(protocol)
        if details is None:
            return
        del details["application_instance"]
        if error is not None:
            logger.error("Exception inside application: %s", error, exc_info=error)
            if "disconnected" not in details:
                send_error_response(protocol, error)
        elif isinstance(protocol, WebSocketProtocol) and "disconnected" not in details:
            close_unclosed_websocket(protocol)
        self._drop_if_finished(protocol)

    def _drop_if_finished(self, protocol: Any) -> None:
        details = self.connections.get(protocol, {})
        if "disconnected" in details and "application_instance" not in details:
            del self.connections[protocol]

    def log_action(self, protocol: Any, action: str, details: dict[str, Any]) -> None:
        """Log only the path, without email addresses and credentials. A query could also contain the text of an email."""
        if self.action_logger:
            path = CREDENTIAL_IN_PATH.sub("…", EMAIL_ADDRESS_IN_PATH.sub("…@…", details["path"].partition("?")[0]))
            super().log_action(protocol, action, with_client_address({**details, "path": path}, current_client_address()))

    # Stopping

    def kill_all_applications(self) -> Deferred:
        """Start the drain. Daphne calls this on shutdown, and the reactor waits for the returned Deferred."""
        self._stopping.set()
        return Deferred.fromFuture(asyncio.shield(self._root))

    async def _drain(self) -> None:
        deadline = time.monotonic() + self.shutdown_grace
        await stop_listening(self._ports)
        server_stopping.send()
        sockets = [protocol for protocol in self.connections if isinstance(protocol, WebSocketProtocol)]
        for protocol in self.connections.keys() - sockets:
            close_after_response(protocol)
        if calls := self._calls(sockets):  # WebSockets may close themselves after `server_stopping`
            await asyncio.wait(calls, timeout=min(WEBSOCKET_CLOSE_TIMEOUT_SECONDS, self.shutdown_grace))
        for protocol in list(self.connections):
            close_after_response(protocol)
        await self.open_connections.drain_idle(deadline)
        while (calls := self._calls()) and (left := deadline - time.monotonic()) > 0:
            await asyncio.wait(calls, timeout=left)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        if calls:
            logger.warning("Closed %d unfinished requests or WebSockets after %g s of grace", len(calls), self.shutdown_grace)

    def _calls(self, protocols: Iterable[Any] | None = None) -> "list[asyncio.Task[None]]":
        details = (self.connections[protocol] for protocol in (self.connections if protocols is None else protocols))
        return [each["application_instance"] for each in details if "application_instance" in each]


def _split_body(message: Message) -> Iterable[Message]:
    body = message.get("body", b"")
    if len(body) <= MAX_WRITE_BYTES:
        return (message,)
    more = message.get("more_body", False)
    starts = range(0, len(body), MAX_WRITE_BYTES)
    return ({**message, "body": body[at : at + MAX_WRITE_BYTES], "more_body": more or at != starts[-1]} for at in starts)
