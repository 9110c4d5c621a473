"""The WebSocket of live events: authentication, the client's commands, and the events."""

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from fastapi import WebSocket, WebSocketDisconnect
from pydantic import TypeAdapter, ValidationError

from fastapi_app.dependencies import authenticate, authenticate_bearer
from fastapi_app.events.reauthorization import Reauthenticate, authorize_stream, credential_of, share_checks, wait_until_revoked
from fastapi_app.events.schemas import Authenticate, ClientMessage, Ping, Pong, Ready, SocketError, Subscribe, Subscribed
from fastapi_app.rate_limit import client_network, enforce_caller_limit
from project.auth.principal import InsufficientScope, NotAuthenticated, Principal
from project.bridge.database.transactions import DATABASE_UNAVAILABLE_ERRORS
from project.errors import DomainError, RetryLater
from project.events.selectors import EventFilter
from project.events.stream import EventStream, SlowConsumer, Subscriber, Subscription, subscribe_to_events
from project.limits.connection_slots import connection_slot
from project.limits.rate_limits import RateLimited

logger = logging.getLogger(__name__)

UNAUTHENTICATED, FORBIDDEN, TOO_SLOW, SERVICE_RESTART, TRY_AGAIN_LATER = 4401, 4403, 4408, 1012, 1013
AUTH_TIMEOUT_SECONDS = 10.0  # for the client's message with its token
CLOSE_TIMEOUT_SECONDS = 5.0  # for the client to receive buffered messages and the close frame
MAX_MESSAGE_LENGTH = 4096  # characters of one message of a client
DATABASE_UNAVAILABLE_REASON = "The database is unavailable. Reconnect with the id of the last event you received."
TOO_SLOW_REASON = "Too slow. Reconnect with the id of the last event you received."

_client_message: TypeAdapter[ClientMessage] = TypeAdapter(ClientMessage)


@dataclass(frozen=True)
class SubscriptionQuery:
    """The query parameters of the URL."""

    after: int | None
    types: list[str] | None
    email_id: UUID | None


class CloseSocket(Exception):
    """Close the WebSocket with this code and reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code, self.reason = code, reason


async def serve_event_socket(websocket: WebSocket, event_stream: EventStream, query: SubscriptionQuery) -> None:
    """Serve one WebSocket until the client disconnects or the server stops."""
    await websocket.accept()
    try:
        with suppress(WebSocketDisconnect):
            await _serve(websocket, event_stream, query)
    except RetryLater as rejection:  # too many connections or requests
        await _close(websocket, TRY_AGAIN_LATER, rejection.detail)
    except DATABASE_UNAVAILABLE_ERRORS as error:
        logger.error("An event WebSocket was closed", exc_info=error)  # noqa: TRY400  # without a traceback in an outage
        await _close(websocket, TRY_AGAIN_LATER, DATABASE_UNAVAILABLE_REASON)
    except CloseSocket as close:
        if close.code == TOO_SLOW:
            logger.warning("Closed an event WebSocket because its client was too slow")
        await _close(websocket, close.code, close.reason)


async def _close(websocket: WebSocket, code: int, reason: str) -> None:
    with suppress(TimeoutError, WebSocketDisconnect, RuntimeError):  # the client may have disconnected
        async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
            await websocket.close(code, reason)


async def _serve(websocket: WebSocket, event_stream: EventStream, query: SubscriptionQuery) -> None:
    reauthenticate = await _authenticate(websocket)
    principal = await _authorize(websocket, reauthenticate)
    event_filter = EventFilter.for_principal(principal, types=query.types, email_id=query.email_id)
    with connection_slot(principal.owner_id):
        async with subscribe_to_events(event_stream, event_filter, after=query.after) as subscription:
            await websocket.send_text(Ready(cursor=subscription.cursor).model_dump_json())
            await _run_until_first(
                _receive_commands(websocket, subscription.subscriber, principal),
                _send_events(websocket, subscription),
                _watch_authorization(reauthenticate, principal),
                _close_if_slow(subscription.subscriber),
            )


async def _authenticate(websocket: WebSocket) -> Reauthenticate:
    """Authenticate by header or session, or else by the first message. Return a function that authenticates again.

    The handshake counts against the rate limit of the caller, like a request. A credential in the first message, too.
    """
    try:
        if await authenticate(websocket) is not None:
            return share_checks(partial(authenticate, websocket), credential=credential_of(websocket))
        await enforce_caller_limit(websocket, None)
        with connection_slot(client_network(websocket)):  # unauthenticated connections are counted by network
            async with asyncio.timeout(AUTH_TIMEOUT_SECONDS):
                token = await _first_token(websocket)
                return share_checks(partial(authenticate_bearer, websocket, token), credential=f"Bearer {token}")
    except NotAuthenticated as rejection:
        await enforce_caller_limit(websocket, None)
        raise _close_for(rejection) from None
    except TimeoutError:
        raise CloseSocket(UNAUTHENTICATED, f"Not authenticated within {AUTH_TIMEOUT_SECONDS:g} s.") from None


async def _first_token(websocket: WebSocket) -> str:
    while not isinstance(message := await _receive(websocket), Authenticate):
        await enforce_caller_limit(websocket, None)
        await _send_error(websocket, message if isinstance(message, str) else "Authenticate first.")
    return message.token


async def _authorize(websocket: WebSocket, reauthenticate: Reauthenticate) -> Principal:
    try:
        principal = await authorize_stream(reauthenticate)
    except NotAuthenticated as rejection:
        await enforce_caller_limit(websocket, None)
        raise _close_for(rejection) from None
    except InsufficientScope as rejection:
        raise _close_for(rejection) from None
    await enforce_caller_limit(websocket, principal)
    return principal


async def _receive_commands(websocket: WebSocket, subscriber: Subscriber, principal: Principal) -> None:
    while True:
        message = await _receive(websocket)
        if isinstance(message, Ping):  # not counted, so that a caller over its limit does not take the connection for broken
            await websocket.send_text(Pong().model_dump_json())
            continue
        try:
            await enforce_caller_limit(websocket, principal)
        except RateLimited as rejection:
            await _send_error(websocket, rejection.detail)
            continue
        if isinstance(message, Subscribe):
            subscriber.filter = EventFilter.for_principal(principal, types=message.types, email_id=message.email_id)
            await websocket.send_text(Subscribed(types=message.types, email_id=message.email_id).model_dump_json())
        else:
            await _send_error(websocket, message if isinstance(message, str) else "You are already authenticated.")


async def _send_events(websocket: WebSocket, subscription: Subscription) -> None:
    try:
        async for batch in subscription.batches():
            for streamed in batch:
                await websocket.send_text(streamed.json)
    except SlowConsumer:
        raise CloseSocket(TOO_SLOW, TOO_SLOW_REASON) from None
    raise CloseSocket(SERVICE_RESTART, "The server is restarting.")


async def _watch_authorization(reauthenticate: Reauthenticate, principal: Principal) -> None:
    raise _close_for(await wait_until_revoked(reauthenticate, principal))


async def _close_if_slow(subscriber: Subscriber) -> None:
    """Close if the buffer overflows. `_send_events` cannot detect this, because it is blocked while the client does not read."""
    await subscriber.overflowed.wait()
    raise CloseSocket(TOO_SLOW, TOO_SLOW_REASON)


async def _receive(websocket: WebSocket) -> ClientMessage | str:
    """Return the client's message or, if it is not valid, the reason as text."""
    message = await websocket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1005))
    text = message.get("text")
    if text is None or len(text) > MAX_MESSAGE_LENGTH:
        return f"Messages must be text of at most {MAX_MESSAGE_LENGTH} characters."
    try:
        return _client_message.validate_json(text)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        if problem["type"].startswith("union_tag_"):
            return 'A message needs "action": "authenticate", "subscribe" or "ping".'
        return ": ".join([".".join(str(step) for step in problem["loc"]), problem["msg"]]).removeprefix(": ")


async def _send_error(websocket: WebSocket, detail: str) -> None:
    await websocket.send_text(SocketError(detail=detail).model_dump_json())


def _close_for(rejection: DomainError) -> CloseSocket:
    return CloseSocket(FORBIDDEN if isinstance(rejection, InsufficientScope) else UNAUTHENTICATED, rejection.detail)


async def _run_until_first(*coroutines: Coroutine[Any, Any, None]) -> None:
    """Run the coroutines concurrently until one ends or fails, then cancel the rest. Raises the first exception."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    failures = [task.exception() for task in tasks if not task.cancelled()]
    for failure in failures:
        if failure is not None:
            raise failure
