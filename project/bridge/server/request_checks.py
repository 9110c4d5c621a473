"""Checks of a request's target, Host and Transfer-Encoding (RFC 9112). Pure.

A server and a proxy that read the same ambiguous request differently let a client hide one request in another (request
smuggling). So an ambiguous request is rejected, never interpreted.
"""

import re
from collections.abc import Sequence

from .raw_responses import RequestRejected

_ABSOLUTE_FORM = re.compile(rb"https?://([^/?#@]+)([/?].*)?", re.IGNORECASE)


def bad_request(detail: str) -> RequestRejected:
    """Return the rejection of a malformed request."""
    return RequestRejected(400, "bad_request", detail)


def split_target(method: bytes, target: bytes) -> tuple[bytes, bytes | None]:
    """Return the path with its query, and the authority if the target is an absolute URL. Raises `RequestRejected`."""
    if target.startswith(b"/") or (target == b"*" and method == b"OPTIONS"):
        return target, None
    absolute = _ABSOLUTE_FORM.fullmatch(target)
    if absolute is None:
        raise bad_request("The request target must be a path or an http URL.")
    path = absolute[2] or b"/"
    return (path if path.startswith(b"/") else b"/" + path), absolute[1]


def check_host(version: bytes, hosts: Sequence[bytes]) -> None:
    """Check the number of Host headers (RFC 9112 section 3.2). Raises `RequestRejected`."""
    if len(hosts) > 1 or (not hosts and version == b"HTTP/1.1"):
        raise bad_request("An HTTP/1.1 request must have exactly one Host header.")


def check_transfer_encoding(version: bytes, codings: Sequence[bytes]) -> None:
    """Accept no transfer coding except one `chunked`, and only in HTTP/1.1 (RFC 9112 section 6.1). Raises `RequestRejected`."""
    if codings and (version != b"HTTP/1.1" or [coding.lower() for coding in codings] != [b"chunked"]):
        raise bad_request("The only supported Transfer-Encoding is chunked, in HTTP/1.1.")
