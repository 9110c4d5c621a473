"""Daphne's connections, held to `Limits`: HTTP/1.1 and WebSockets.

A client that is refused is told why: its connection is closed only when it has read the answer, or has had the time to. A
connection closed while its client still sends is reset, and the answer lost (RFC 9112 section 9.6).
"""

import asyncio
import json
from functools import partial
from http import HTTPStatus
from typing import Any

from daphne.http_protocol import HTTPFactory, WebRequest
from daphne.ws_protocol import WebSocketProtocol
from twisted.web.http import HTTPChannel

from .connection_limits import ConnectionLimits, WriteBackpressure

CONTENT_TOO_LARGE = "content_too_large"  # its name in Python changed with the version


class _ContentTooLarge(Exception):
    pass


class HttpRequest(WebRequest):  # type: ignore[misc]  # Daphne has no types
    """One request. Its form is left to the application: Twisted would take it apart in memory, for nobody."""

    def __init__(self, channel: Any, queued: int) -> None:
        super().__init__(channel, queued, parsePOSTFormSubmission=False)
        self.outlet: WriteBackpressure = channel.outlet

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802  # Twisted's name
        """Keep a part of the body, unless that makes it too long."""
        if self.content.tell() + len(data) > self.channel.limits.body:
            raise _ContentTooLarge
        super().handleContentChunk(data)


class HttpConnection(HTTPChannel):  # type: ignore[misc]  # Twisted has no types
    """One HTTP connection: refuses what is too long or too slow."""

    def __init__(self, limits: ConnectionLimits) -> None:
        super().__init__()
        self.limits = limits
        self._patience: float | None = limits.header_timeout  # None while we are the one that is waited for
        self._deadline: asyncio.TimerHandle | None = None
        self._refused = False

    def connectionMade(self) -> None:  # noqa: N802  # Twisted's name
        """Ask the transport to tell when the client does not read."""
        super().connectionMade()
        self.outlet = WriteBackpressure(self.transport, self.limits.send_timeout)
        self.registerProducer(self.outlet, True)

    def connectionLost(self, reason: Any) -> None:  # noqa: N802  # Twisted's name
        """Wait no longer."""
        self._expect(None)
        self.outlet.stopProducing()
        super().connectionLost(reason)

    # Reading

    def dataReceived(self, data: bytes) -> None:  # noqa: N802  # Twisted's name
        """Read on; a request that did not come at once has a deadline."""
        if self._refused:
            return
        super().dataReceived(data)
        if self._patience is not None and self._deadline is None:
            self._deadline = asyncio.get_running_loop().call_later(self._patience, self._lose_patience)

    def allHeadersReceived(self) -> None:  # noqa: N802  # Twisted's name
        """Refuse a body that is announced to be too long, before `100 Continue` asks for it."""
        if self.length is not None and self.length > self.limits.body:
            self._refuse_length()
        else:
            self._expect(self.limits.body_timeout)
            super().allHeadersReceived()

    def rawDataReceived(self, data: bytes) -> None:  # noqa: N802  # Twisted's name
        """Read a part of the body, and refuse one that turns out to be too long."""
        if self._refused:
            return
        try:
            super().rawDataReceived(data)
        except _ContentTooLarge:
            self._refuse_length()

    def allContentReceived(self) -> None:  # noqa: N802  # Twisted's name
        """Hand the request over."""
        self._expect(None)
        super().allContentReceived()

    def requestDone(self, request: WebRequest) -> None:  # noqa: N802  # Twisted's name
        """Wait for the next."""
        self._expect(self.limits.header_timeout)
        super().requestDone(request)

    # Refusing

    def _expect(self, patience: float | None) -> None:
        self._patience = patience
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _lose_patience(self) -> None:
        if self.requests:
            self._refuse(408, f"The request did not come within {self._patience:g} seconds.", "request_timeout")
        else:
            self.loseConnection()

    def _refuse_length(self) -> None:
        self._refuse(413, f"A request has up to {self.limits.body} bytes.", CONTENT_TOO_LARGE)

    def _refuse(self, status: int, detail: str, code: str) -> None:
        self._refused = True
        self._expect(None)
        self.setTimeout(None)
        self.transport.write(_error_response(status, {"detail": detail, "code": code}))
        self.transport.loseWriteConnection()
        self._deadline = asyncio.get_running_loop().call_later(self.limits.linger, self.transport.abortConnection)


class ConnectionFactory(HTTPFactory):  # type: ignore[misc]  # Daphne has no types
    """Makes the channels of a server. They speak HTTP/1.1 alone: Twisted's HTTP/2 knows none of these limits."""

    def __init__(self, server: Any, limits: ConnectionLimits) -> None:
        super().__init__(server)
        self.protocol = partial(HttpConnection, limits)

    def buildProtocol(self, addr: Any) -> HttpConnection:  # noqa: N802  # Twisted's name
        """A channel, with requests of our own."""
        channel: HttpConnection = super().buildProtocol(addr)
        channel.requestFactory = HttpRequest
        return channel

    def acceptableProtocols(self) -> list[bytes]:  # noqa: N802  # Twisted's name
        """What TLS may negotiate."""
        return [b"http/1.1"]


class WebSocketConnection(WebSocketProtocol):  # type: ignore[misc]  # Daphne has no types
    """One socket, taken over from the channel that it was asked for on."""

    def connectionMade(self) -> None:  # noqa: N802  # Twisted's name
        """Ask the transport to tell us, no longer the channel, when the client does not read."""
        super().connectionMade()
        self.outlet = WriteBackpressure(self.transport, self.factory.server_class.limits.send_timeout)
        self.transport.unregisterProducer()
        self.transport.registerProducer(self.outlet, True)

    def connectionLost(self, reason: Any) -> None:  # noqa: N802  # Twisted's name
        """Wait no longer."""
        self.outlet.stopProducing()
        super().connectionLost(reason)

    def onAutoPingTimeout(self) -> None:  # noqa: N802  # Autobahn's name
        """Drop a client that answers no ping. Its answer may be among what we do not read now: then it is asked again."""
        if self.application_queue.is_full:
            self.autoPingPending = self.autoPingTimeoutCall = None
        else:
            super().onAutoPingTimeout()


def _error_response(status: int, problem: dict[str, str]) -> bytes:
    body = json.dumps(problem)
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "Connection: close",
    )
    return "\r\n".join((*head, "", body)).encode()
