"""Reads request bodies: within the limit of their route, and beside the event loop.

Parsing and validating a large body takes up to seconds, so it happens in a thread. A small body takes less time than passing it
to a thread.
"""

from json import JSONDecodeError
from typing import Any

from fastapi import HTTPException, Request
from fastapi._compat import ModelField
from fastapi.exceptions import RequestValidationError
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from fastapi_app.body_limit import MAX_REQUEST_BYTES
from fastapi_app.json_body import DuplicateName, JsonTooComplex, has_more_values, parse_json
from project.bridge.background.thread_pool import ThreadPool

DEFAULT_MAX_BYTES = 64 * 1024
MAX_BYTES = {  # by operation id
    "send_email": MAX_REQUEST_BYTES,
    "send_emails": MAX_REQUEST_BYTES,
    "put_template": min(4 * 1024 * 1024, MAX_REQUEST_BYTES),  # two parts of 256 Ki characters, with escapes
    "preview_template": min(4 * 1024 * 1024, MAX_REQUEST_BYTES),  # variables of 1 Mi characters
}
TINY_BODY_BYTES = 4 * 1024
SMALL_BODY_BYTES = 64 * 1024
MAX_SMALL_BODY_VALUES = 1000
BODY_THREADS = 2  # the work is CPU-bound; the second thread is for the bodies that arrive while the first is busy

_threads = ThreadPool("request-body", BODY_THREADS)


class ValidatedRequest(Request):
    """A request whose body is already validated. FastAPI's own validation accepts the value as it is."""

    def __init__(self, request: Request, body: bytes, value: Any) -> None:
        super().__init__(request.scope, request.receive)
        self._body, self._value = body, value

    async def json(self) -> Any:
        """Return the validated value."""
        return self._value


def max_body_bytes(operation_id: str | None) -> int:
    """Return the maximum size of a request body of a route."""
    return MAX_BYTES.get(operation_id or "", DEFAULT_MAX_BYTES)


def limit_body(request: Request, maximum: int) -> Request:
    """Return the request with a body that raises a 413 when it becomes larger than `maximum` bytes."""
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > maximum:
        raise _too_large(maximum)
    return Request(request.scope, _within(request.receive, maximum))


async def validate_body(request: Request, field: ModelField) -> Request:
    """Read, parse and validate the JSON of a request. Raises `RequestValidationError` and `HTTPException`."""
    try:
        body = await request.body()
    except ClientDisconnect:
        raise HTTPException(400, "The client disconnected before the body was complete.") from None
    if not body:
        return request
    value, problems = _load(body, field) if _is_small(body) else await _threads.run(_load, body, field)
    if problems:
        raise RequestValidationError(problems)
    return ValidatedRequest(request, body, value)


def close_body_threads() -> None:
    """Stop the threads."""
    _threads.close()


def _is_small(body: bytes) -> bool:
    if len(body) > SMALL_BODY_BYTES:
        return False
    try:
        return len(body) <= TINY_BODY_BYTES or not has_more_values(body, MAX_SMALL_BODY_VALUES)
    except JsonTooComplex:
        return False


def _load(body: bytes, field: ModelField) -> tuple[Any, list[Any]]:
    try:
        parsed = parse_json(body)
    except JsonTooComplex as error:
        return None, [{"type": "json_too_complex", "loc": ("body",), "msg": str(error)}]
    except DuplicateName as error:
        return None, [{"type": "json_duplicate_name", "loc": ("body",), "msg": str(error)}]
    except JSONDecodeError as error:
        return None, [{"type": "json_invalid", "loc": ("body", error.pos), "msg": "JSON decode error"}]
    except (ValueError, RecursionError):
        raise HTTPException(400, "There was an error parsing the body") from None
    return field.validate(parsed, {}, loc=("body",))


def _within(receive: Receive, maximum: int) -> Receive:
    received = 0

    async def receive_within_limit() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > maximum:
            raise _too_large(maximum)
        return message

    return receive_within_limit


def _too_large(maximum: int) -> HTTPException:
    return HTTPException(413, f"The request body is larger than {maximum} bytes.")
