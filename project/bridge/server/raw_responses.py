"""Parts of HTTP responses that the server writes itself: reason phrases, the Date header, and error responses as bytes."""

import json
import time
from functools import lru_cache
from http import HTTPStatus

from twisted.web.http import datetimeToString
from twisted.web.http_headers import Headers

from ..middleware.request_id import new_request_id

# The phrases of RFC 9110 for the statuses that older Python versions name differently.
_RENAMED = {413: "Content Too Large", 414: "URI Too Long", 416: "Range Not Satisfiable", 422: "Unprocessable Content"}
REASON_PHRASES = {status.value: status.phrase for status in HTTPStatus} | _RENAMED


class RequestRejected(Exception):
    """The server rejects a request before the application sees the request."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(status, code, detail)
        self.status, self.code, self.detail = status, code, detail


def reason_phrase(status: int) -> bytes:
    """Return the reason phrase of a status. It is empty for a status that is not registered, as RFC 9112 section 4 allows."""
    return REASON_PHRASES.get(status, "").encode()


def http_date() -> bytes:
    """Return the current time as the value of a Date header."""
    return _format_date(int(time.time()))


@lru_cache(maxsize=1)  # all responses of one second have the same date
def _format_date(seconds: int) -> bytes:
    return datetimeToString(seconds)  # type: ignore[no-any-return]  # Twisted has no types


def head_bytes(version: bytes, code: bytes, reason: bytes, headers: Headers) -> bytes:
    """Return the head of a response."""
    lines = [b"%b: %b" % (name, value) for name, values in headers.getAllRawHeaders() for value in values]
    return b"\r\n".join((b"%b %b %b" % (version, code, reason), *lines, b"", b""))


def error_bytes(rejection: RequestRejected) -> bytes:
    """Return a complete error response, after which the server closes the connection."""
    body = json.dumps({"detail": rejection.detail, "code": rejection.code}).encode()
    head = (
        b"HTTP/1.1 %d %s" % (rejection.status, reason_phrase(rejection.status)),
        b"Date: " + http_date(),
        b"Content-Type: application/json",
        b"Content-Length: %d" % len(body),
        b"Cache-Control: no-store",
        b"X-Request-ID: " + new_request_id().encode(),
        b"Connection: close",
    )
    return b"\r\n".join((*head, b"", body))
