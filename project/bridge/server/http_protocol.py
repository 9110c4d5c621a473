"""Daphne's HTTP/1.1 connections with `ConnectionLimits`.

A rejected client gets an error response, and time to read the response before the connection is closed. Closing the connection
while the client still sends would reset it, and the client could lose the response (RFC 9112 section 9.6).
"""

import asyncio
from functools import partial
from typing import Any

from daphne.http_protocol import HTTPFactory
from twisted.web.http import HTTPChannel
from twisted.web.http_headers import Headers

from .connection_limits import ConnectionLimits, WriteBackpressure
from .http_request import HttpRequest, too_large
from .open_connections import OpenConnections
from .raw_responses import RequestRejected, error_bytes, head_bytes
from .request_checks import bad_request, check_host, check_transfer_encoding, split_target

CREDENTIAL_HEADERS = (b"authorization", b"cookie")
REFUSED_LINGER_SECONDS = 1.0  # short, because refused connections must not use up the file descriptors themselves


class HttpConnection(HTTPChannel):  # type: ignore[misc]  # Twisted has no types
    """One HTTP connection. Rejects requests that are too large or that arrive too slowly."""

    _path: bytes  # the request target; Twisted sets it

    def __init__(self, limits: ConnectionLimits, open_connections: OpenConnections) -> None:
        super().__init__()
        self.limits, self._open_connections = limits, open_connections
        self._has_received_data = self._is_rejected = False
        self._read_timeout: float | None = limits.first_byte_timeout  # None while the application handles a request
        self._deadline: asyncio.TimerHandle | None = None
        self._unread: list[bytes] | None = None  # data that waits until the application asks for the body
        self._expects_continue = False

    def connectionMade(self) -> None:  # noqa: N802  # Twisted's name
        """Register with the transport for backpressure, and start the timeout for the first byte."""
        super().connectionMade()
        self.backpressure = WriteBackpressure(self.transport, self.limits.write_timeout)
        self.registerProducer(self.backpressure, True)
        self._start_read_timeout(self.limits.first_byte_timeout)
        if not self._open_connections.add(self.transport):
            self._reject(_TOO_MANY_CONNECTIONS, linger=min(REFUSED_LINGER_SECONDS, self.limits.linger_timeout))

    def connectionLost(self, reason: Any) -> None:  # noqa: N802  # Twisted's name
        """Cancel all timeouts."""
        self._set_read_timeout(None)
        self.backpressure.stopProducing()
        self._open_connections.remove(self.transport)
        super().connectionLost(reason)

    # Reading

    def dataReceived(self, data: bytes) -> None:  # noqa: N802  # Twisted's name
        """Parse data, and start the read timeout if the request is still incomplete."""
        if self._is_rejected:
            return
        if not self._has_received_data:
            self._has_received_data = True
            self._set_read_timeout(self.limits.header_timeout)
        super().dataReceived(data)
        if self._read_timeout is not None and self._deadline is None:
            self._start_read_timeout(self._read_timeout)

    def lineReceived(self, line: bytes) -> None:  # noqa: N802  # Twisted's name
        """Parse a line of the head. Reject a folded header, which servers and proxies may read differently."""
        if self._is_rejected:
            return
        if line[:1] in (b" ", b"\t"):
            self._reject(bad_request("A header must not continue on a second line."))
        else:
            super().lineReceived(line)

    def lineLengthExceeded(self, line: bytes) -> None:  # noqa: N802  # Twisted's name
        """Reject a request line or a header that is too long."""
        self._reject(_HEADERS_TOO_LARGE if self._is_in_headers else _URI_TOO_LONG)

    def allHeadersReceived(self) -> None:  # noqa: N802  # Twisted's name
        """Check the head, before `100 Continue` invites the client to send the body."""
        try:
            request = self.requests[-1]
            self._check_head(request)
        except RequestRejected as rejection:
            self._reject(rejection)
        else:
            self._open_connections.set_idle(self.transport, is_idle=False)
            is_early = self._is_body_on_demand(request)
            self._unread = [] if is_early else None
            self._set_read_timeout(None if is_early else self.limits.body_timeout)
            super().allHeadersReceived()
            if is_early:
                self._savedTimeOut = self.setTimeout(None)
                self._networkProducer.pauseProducing()
                request.call_application_early(self._command, self._path, self._version)

    def _check_head(self, request: HttpRequest) -> None:
        headers = request.requestHeaders
        check_transfer_encoding(self._version, headers.getRawHeaders(b"transfer-encoding", ()))
        check_host(self._version, headers.getRawHeaders(b"host", ()))
        self._path, authority = split_target(self._command, self._path)
        if authority is not None:  # it replaces the Host header (RFC 9112 section 3.2.2)
            headers.setRawHeaders(b"host", [authority])
        anonymous_limit = self.limits.max_anonymous_body_bytes
        if anonymous_limit is not None and not any(map(headers.hasHeader, CREDENTIAL_HEADERS)):
            request.max_body_bytes = min(anonymous_limit, request.max_body_bytes)
        if self.length is not None and self.length > request.max_body_bytes:
            raise too_large(request.max_body_bytes)

    def _is_body_on_demand(self, request: HttpRequest) -> bool:
        """Return whether the body is large, and thus read only if the application accepts the credential of the request."""
        small = self.limits.max_anonymous_body_bytes
        is_large = small is not None and (self.length is None or self.length > small)
        return is_large and request.max_body_bytes != small and not request.requestHeaders.hasHeader(b"upgrade")

    def _send100Continue(self) -> None:  # noqa: N802  # Twisted's name
        """Invite the client to send the body, now or when the application asks for the body."""
        self._expects_continue = self._unread is not None
        if not self._expects_continue:
            super()._send100Continue()

    def read_body(self) -> None:
        """Read the body: the application has asked for it."""
        unread, self._unread = self._unread, None
        if unread is None or self._is_rejected:
            return
        if self._expects_continue:
            self._expects_continue = False
            super()._send100Continue()
        self.setTimeout(self._savedTimeOut)
        self._set_read_timeout(self.limits.body_timeout)
        self._start_read_timeout(self.limits.body_timeout)
        self._networkProducer.resumeProducing()
        if data := b"".join(unread):
            self.rawDataReceived(data)

    def rawDataReceived(self, data: bytes) -> None:  # noqa: N802  # Twisted's name
        """Read a part of the body, and reject a body that becomes too large."""
        if self._is_rejected:
            return
        if self._unread is None:
            try:
                super().rawDataReceived(data)
            except RequestRejected as rejection:
                self._reject(rejection)
        else:
            self._unread.append(data)
            self._networkProducer.pauseProducing()

    def allContentReceived(self) -> None:  # noqa: N802  # Twisted's name
        """Cancel the read timeout, and pass the complete request to the application."""
        if self._is_rejected:
            return
        self._set_read_timeout(None)
        super().allContentReceived()

    def requestDone(self, request: HttpRequest) -> None:  # noqa: N802  # Twisted's name
        """Prepare for the next request on this connection. Close the connection if the body of this request was not read."""
        if self._is_rejected:
            return
        if not request.has_body:
            del self.requests[0]
            self._close_for_writing(self.limits.linger_timeout)
            return
        self._set_read_timeout(self.limits.header_timeout)
        self._open_connections.set_idle(self.transport, is_idle=True)
        super().requestDone(request)

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Headers) -> None:  # noqa: N802  # Twisted's name
        """Send the head of a response in one piece. Twisted would check and queue each of its many pieces."""
        self.transport.write(head_bytes(version, code, reason, headers))

    # Rejecting

    def _set_read_timeout(self, seconds: float | None) -> None:
        self._read_timeout = seconds
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _start_read_timeout(self, seconds: float) -> None:
        self._deadline = asyncio.get_running_loop().call_later(seconds, self._on_read_timeout)

    def _on_read_timeout(self) -> None:
        if self.requests:
            detail = f"The request was not received within {self._read_timeout:g} seconds."
            self._reject(RequestRejected(408, "request_timeout", detail))
        else:
            self.loseConnection()

    def _respondToBadRequestAndDisconnect(self) -> None:  # noqa: N802  # Twisted's name
        is_too_large = self._receivedHeaderSize > self.totalHeadersSize or self._receivedHeaderCount > self.maxHeaders
        self._reject(_HEADERS_TOO_LARGE if is_too_large else bad_request("The request is malformed."))

    @property
    def _is_in_headers(self) -> bool:
        return hasattr(self, "_command")  # set by the request line, deleted at the end of the request

    def _reject(self, rejection: RequestRejected, *, linger: float | None = None) -> None:
        if self._is_rejected:
            return
        if any(request.has_started_response for request in self.requests):
            self.transport.abortConnection()  # the client must notice that the response is incomplete
            return
        self.transport.write(error_bytes(rejection))
        self._close_for_writing(self.limits.linger_timeout if linger is None else linger)
        for request in self.requests:
            request.abandon()

    def _close_for_writing(self, linger_seconds: float) -> None:
        """Send what is written, and discard what the client still sends, until it disconnects or the time is over."""
        self._is_rejected = True
        self._set_read_timeout(None)
        self.setTimeout(None)
        self.transport.loseWriteConnection()
        self._networkProducer.resumeProducing()
        self._deadline = asyncio.get_running_loop().call_later(linger_seconds, self.transport.abortConnection)


class ConnectionFactory(HTTPFactory):  # type: ignore[misc]  # Daphne has no types
    """Creates the connections of a server. Offers only HTTP/1.1, because Twisted's HTTP/2 would bypass the limits."""

    def __init__(self, server: Any, limits: ConnectionLimits, open_connections: OpenConnections) -> None:
        super().__init__(server)
        self._open_connections = open_connections
        self.timeOut = limits.keep_alive_timeout
        self.protocol = partial(HttpConnection, limits, open_connections)

    def buildProtocol(self, addr: Any) -> HttpConnection | None:  # noqa: N802  # Twisted's name
        """Return a new connection that creates `HttpRequest` objects, or None to close the socket at once."""
        if self._open_connections.is_full:
            return None
        connection: HttpConnection = super().buildProtocol(addr)
        connection.requestFactory = HttpRequest
        return connection

    def acceptableProtocols(self) -> list[bytes]:  # noqa: N802  # Twisted's name
        """Return the protocols that TLS may negotiate (ALPN)."""
        return [b"http/1.1"]


_URI_TOO_LONG = RequestRejected(414, "uri_too_long", f"The request line is longer than {HttpConnection.MAX_LENGTH} bytes.")
_HEADERS_TOO_LARGE = RequestRejected(
    431,
    "request_header_fields_too_large",
    f"The head of a request may have up to {HttpConnection.totalHeadersSize} bytes and {HttpConnection.maxHeaders} headers.",
)
_TOO_MANY_CONNECTIONS = RequestRejected(429, "too_many_connections", "Too many open connections from your IP address.")
