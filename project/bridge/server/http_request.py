"""Daphne's HTTP request with a size limit, and with a body that is read only if the application asks for it.

Daphne reads the whole body before it calls the application. So a client with an invalid credential could make the server store
many megabytes before the application rejects the request.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from daphne.http_protocol import WebRequest
from starlette.types import Message
from twisted.web.http import Request

from ..middleware.request_id import HEADER, current_request_id
from .connection_limits import WriteBackpressure
from .raw_responses import RequestRejected, http_date, reason_phrase


class BodyOnDemandQueue(asyncio.Queue[Message]):
    """Messages to an application that is called before the body is read. The first `receive` starts reading."""

    def __init__(self, start_reading: Callable[[], None]) -> None:
        super().__init__()
        self._start_reading: Callable[[], None] | None = start_reading
        self._has_body = False

    def put_nowait(self, item: Message) -> None:
        """Add a message. Drop Daphne's message about an empty body while the body has not been read."""
        if self._has_body or item["type"] != "http.request":
            super().put_nowait(item)

    def put_body(self, content: Any, piece_bytes: int) -> None:
        """Add the body in pieces, as Daphne does."""
        self._has_body, more = True, True
        while more:
            piece = content.read(piece_bytes)
            more = len(piece) == piece_bytes
            self.put_nowait({"type": "http.request", "body": piece, "more_body": more})

    async def get(self) -> Message:
        """Wait for the next message and return it."""
        if self._start_reading is not None:
            start_reading, self._start_reading = self._start_reading, None
            start_reading()
        return await super().get()


class HttpRequest(WebRequest):  # type: ignore[misc]  # Daphne has no types
    """One HTTP request. Form parsing is off: the application parses the body, and Twisted's copy would only use memory."""

    __hash__ = object.__hash__  # by identity, as Daphne's own method, but without a call of Python code

    def __init__(self, channel: Any, queued: int) -> None:
        super().__init__(channel, queued, parsePOSTFormSubmission=False)
        self.backpressure: WriteBackpressure = channel.backpressure
        self.max_body_bytes: int = channel.limits.max_body_bytes
        self.is_early = False  # whether the application is called before the body is read
        self.has_body = False  # whether the whole body has been read

    @property
    def has_started_response(self) -> bool:
        """Return whether the application has started its response."""
        return bool(self._response_started)

    def call_application_early(self, command: bytes, path: bytes, version: bytes) -> None:
        """Call the application before the body is read."""
        self.is_early = True
        super().requestReceived(command, path, version)

    def create_queue(self) -> "asyncio.Queue[Message]":
        """Return the queue for the messages to the application."""
        return BodyOnDemandQueue(self.channel.read_body) if self.is_early else asyncio.Queue()

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:  # noqa: N802  # Twisted's name
        """Call the application with the complete request, or pass the body to the application that was called early."""
        self.has_body = True
        if not self.is_early:
            super().requestReceived(command, path, version)
        elif isinstance(self.application_queue, BodyOnDemandQueue):
            self.content.seek(0)
            self.application_queue.put_body(self.content, self.server.request_buffer_size)

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802  # Twisted's name
        """Store a chunk of the body. Raises `RequestRejected` if the body becomes too large."""
        if self.content.tell() + len(data) > self.max_body_bytes:
            raise too_large(self.max_body_bytes)
        super().handleContentChunk(data)

    def setResponseCode(self, code: int, message: bytes | None = None) -> None:  # noqa: N802  # Twisted's name
        """Set the status, with the reason phrase of RFC 9110. Twisted has no phrase for newer statuses."""
        super().setResponseCode(code, reason_phrase(code) if message is None else message)

    def handle_reply(self, message: Message) -> None:
        """Send a message of the application or of Daphne. Add the Date header, and the request id to Daphne's own errors."""
        if message["type"] == "http.response.body" and self._response_started and not self.server.action_logger:
            self._send_body(message)
            return
        super().handle_reply(message)
        if message["type"] != "http.response.start":
            return
        if self.is_early and not self.has_body:
            # The server cannot know where the next request would start, so it reads no more from this connection.
            self.channel.persistent = False
            self.setHeader(b"connection", b"close")
        if not self.responseHeaders.hasHeader(b"date"):
            self.setHeader(b"date", http_date())
        if (request_id := current_request_id()) and not self.responseHeaders.hasHeader(HEADER):
            self.setHeader(HEADER, request_id.encode())

    def _send_body(self, message: Message) -> None:
        """Send a part of the body. Daphne's own method also collects what an access log needs."""
        if self.finished or self.channel is None:
            return
        self.write(message.get("body", b""))
        if not message.get("more_body", False):
            self.finish()

    def finish(self) -> None:
        """End the response, as Daphne does, but without its way through a proxy of Twisted's module."""
        if self.application_queue:
            self.send_disconnect()
        Request.finish(self)
        self.server.protocol_disconnected(self)

    def abandon(self) -> None:
        """End the call of the application: the server itself has answered the request."""
        if self.is_early and self.application_queue is not None and not self.finished:
            self.send_disconnect()
            self.server.protocol_disconnected(self)


def too_large(maximum: int) -> RequestRejected:
    """Return the rejection of a body that is larger than `maximum` bytes."""
    return RequestRejected(413, "content_too_large", f"The request body is larger than {maximum} bytes.")
