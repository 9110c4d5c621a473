"""Daphne's connections with `ConnectionLimits`: HTTP/1.1 and WebSockets.

A rejected client gets an error response, and time to read the response before the connection is closed. Closing the connection
while the client still sends would reset it, and the client could lose the response (RFC 9112 section 9.6).
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

CONTENT_TOO_LARGE = "content_too_large"  # not derived from http.HTTPStatus: Python 3.13 renamed the phrase of 413


class _ContentTooLarge(Exception):
    pass


class HttpRequest(WebRequest):  # type: ignore[misc]  # Daphne has no types
    """One HTTP request. Form parsing is off: the application parses the body, and Twisted's copy would only use memory."""

    def __init__(self, channel: Any, queued: int) -> None:
        super().__init__(channel, queued, parsePOSTFormSubmission=False)
        self.backpressure: WriteBackpressure = channel.backpressure

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802  # Twisted's name
        """Store a chunk of the body. Raises `_ContentTooLarge` if the body becomes too large."""
        if self.content.tell() + len(data) > self.channel.limits.max_body_bytes:
            raise _ContentTooLarge
        super().handleContentChunk(data)


class HttpConnection(HTTPChannel):  # type: ignore[misc]  # Twisted has no types
    """One HTTP connection. Rejects requests that are too large or that arrive too slowly."""

    def __init__(self, limits: ConnectionLimits) -> None:
        super().__init__()
        self.limits = limits
        self._read_timeout: float | None = limits.header_timeout  # None while the application handles a request
        self._deadline: asyncio.TimerHandle | None = None
        self._is_rejected = False

    def connectionMade(self) -> None:  # noqa: N802  # Twisted's name
        """Register with the transport for backpressure."""
        super().connectionMade()
        self.backpressure = WriteBackpressure(self.transport, self.limits.write_timeout)
        self.registerProducer(self.backpressure, True)

    def connectionLost(self, reason: Any) -> None:  # noqa: N802  # Twisted's name
        """Cancel all timeouts."""
        self._set_read_timeout(None)
        self.backpressure.stopProducing()
        super().connectionLost(reason)

    # Reading

    def dataReceived(self, data: bytes) -> None:  # noqa: N802  # Twisted's name
        """Parse data, and start the read timeout if the request is still incomplete."""
        if self._is_rejected:
            return
        super().dataReceived(data)
        if self._read_timeout is not None and self._deadline is None:
            self._deadline = asyncio.get_running_loop().call_later(self._read_timeout, self._on_read_timeout)

    def allHeadersReceived(self) -> None:  # noqa: N802  # Twisted's name
        """Reject a body whose Content-Length is too large, before `100 Continue` invites the client to send it."""
        if self.length is not None and self.length > self.limits.max_body_bytes:
            self._reject_too_large()
        else:
            self._set_read_timeout(self.limits.body_timeout)
            super().allHeadersReceived()

    def rawDataReceived(self, data: bytes) -> None:  # noqa: N802  # Twisted's name
        """Read a part of the body, and reject a body that becomes too large."""
        if self._is_rejected:
            return
        try:
            super().rawDataReceived(data)
        except _ContentTooLarge:
            self._reject_too_large()

    def allContentReceived(self) -> None:  # noqa: N802  # Twisted's name
        """Cancel the read timeout, and pass the complete request to the application."""
        self._set_read_timeout(None)
        super().allContentReceived()

    def requestDone(self, request: WebRequest) -> None:  # noqa: N802  # Twisted's name
        """Prepare for the next request on this connection."""
        self._set_read_timeout(self.limits.header_timeout)
        super().requestDone(request)

    # Rejecting

    def _set_read_timeout(self, seconds: float | None) -> None:
        self._read_timeout = seconds
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _on_read_timeout(self) -> None:
        if self.requests:
            self._reject(408, f"The request was not received within {self._read_timeout:g} seconds.", "request_timeout")
        else:
            self.loseConnection()

    def _reject_too_large(self) -> None:
        self._reject(413, f"The request body is larger than {self.limits.max_body_bytes} bytes.", CONTENT_TOO_LARGE)

    def _reject(self, status: int, detail: str, code: str) -> None:
        self._is_rejected = True
        self._set_read_timeout(None)
        self.setTimeout(None)
        self.transport.write(_error_response(status, {"detail": detail, "code": code}))
        self.transport.loseWriteConnection()
        self._deadline = asyncio.get_running_loop().call_later(self.limits.linger_timeout, self.transport.abortConnection)


class ConnectionFactory(HTTPFactory):  # type: ignore[misc]  # Daphne has no types
    """Creates the connections of a server. Offers only HTTP/1.1, because Twisted's HTTP/2 would bypass the limits."""

    def __init__(self, server: Any, limits: ConnectionLimits) -> None:
        super().__init__(server)
        self.protocol = partial(HttpConnection, limits)

    def buildProtocol(self, addr: Any) -> HttpConnection:  # noqa: N802  # Twisted's name
        """Return a new connection that creates `HttpRequest` objects."""
        connection: HttpConnection = super().buildProtocol(addr)
        connection.requestFactory = HttpRequest
        return connection

    def acceptableProtocols(self) -> list[bytes]:  # noqa: N802  # Twisted's name
        """Return the protocols that TLS may negotiate (ALPN)."""
        return [b"http/1.1"]


class WebSocketConnection(WebSocketProtocol):  # type: ignore[misc]  # Daphne has no types
    """One WebSocket, on the transport of the HTTP connection that it was upgraded from."""

    def connectionMade(self) -> None:  # noqa: N802  # Twisted's name
        """Register with the transport for backpressure, in place of the HTTP connection."""
        super().connectionMade()
        self.backpressure = WriteBackpressure(self.transport, self.factory.server_class.limits.write_timeout)
        self.transport.unregisterProducer()
        self.transport.registerProducer(self.backpressure, True)

    def connectionLost(self, reason: Any) -> None:  # noqa: N802  # Twisted's name
        """Cancel the write timeout."""
        self.backpressure.stopProducing()
        super().connectionLost(reason)

    def onAutoPingTimeout(self) -> None:  # noqa: N802  # Autobahn's name
        """Disconnect a client that does not answer pings.

        While reading from the client is paused, the client's pong may be waiting unread. So the client gets another ping.
        """
        if self.application_queue.is_full:
            self.autoPingPending = self.autoPingTimeoutCall = None
        else:
            super().onAutoPingTimeout()


def _error_response(status: int, content: dict[str, str]) -> bytes:
    body = json.dumps(content)
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "Connection: close",
    )
    return "\r\n".join((*head, "", body)).encode()
