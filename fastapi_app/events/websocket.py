"""The conversation on the events' socket: who is it, what does it want, and the events."""

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
from fastapi_app.events.reauthorization import Reauthenticate, authorize_stream, wait_until_revoked
from fastapi_app.events.schemas import Authenticate, ClientMessage, Ping, Pong, Ready, SocketError, Subscribe
from fastapi_app.rate_limit import client_network
from project.auth.principal import InsufficientScope, NotAuthenticated, Principal
from project.errors import DomainError
from project.events.selectors import EventFilter
from project.events.stream import EventStream, SlowConsumer, Subscriber, Subscription, subscribe_to_events
from project.limits.connection_slots import TooManyConnections, connection_slot

logger = logging.getLogger(__name__)

UNAUTHENTICATED, FORBIDDEN, TOO_SLOW, SERVICE_RESTART, TRY_AGAIN_LATER = 4401, 4403, 4408, 1012, 1013
AUTH_TIMEOUT_SECONDS = 10.0  # seconds for a client to say who it is
CLOSE_TIMEOUT_SECONDS = 5.0  # seconds for a client to take what waits for it, and the close
MAX_MESSAGE_LENGTH = 4096  # characters that a client may say at once

_client_message: TypeAdapter[ClientMessage] = TypeAdapter(ClientMessage)


@dataclass(frozen=True)
class SubscriptionQuery:
    """What the URL asked for."""

    after: int | None
    types: list[str] | None
    email_id: UUID | None


class CloseSocket(Exception):
    """The socket ends with this code, and says why."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code, self.reason = code, reason


async def serve_event_socket(websocket: WebSocket, event_stream: EventStream, asked: SubscriptionQuery) -> None:
    """Serve one socket, until it or the server goes."""
    await websocket.accept()
    try:
        with suppress(WebSocketDisconnect):
            await _serve(websocket, event_stream, asked)
    except TooManyConnections as refusal:
        await _close(websocket, TRY_AGAIN_LATER, refusal.detail)
    except CloseSocket as closed:
        if closed.code == TOO_SLOW:
            logger.warning("A socket that follows events was too slow")
        await _close(websocket, closed.code, closed.reason)


async def _close(websocket: WebSocket, code: int, reason: str) -> None:
    with suppress(TimeoutError, WebSocketDisconnect, RuntimeError):  # it may be gone meanwhile
        async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
            await websocket.close(code, reason)


async def _serve(websocket: WebSocket, event_stream: EventStream, asked: SubscriptionQuery) -> None:
    ask = await _authenticate(websocket)
    principal = await _authorize(ask)
    wanted = EventFilter.by(principal, types=asked.types, email_id=asked.email_id)
    with connection_slot(principal.owner_id):
        async with subscribe_to_events(event_stream, wanted, after=asked.after) as subscription:
            await websocket.send_text(Ready(cursor=subscription.cursor).model_dump_json())
            await _run_until_first(
                _receive_commands(websocket, subscription.subscriber, principal),
                _send_events(websocket, subscription),
                _watch_authorization(ask, principal),
                _close_if_slow(subscription.subscriber),
            )


async def _authenticate(websocket: WebSocket) -> Reauthenticate:
    """How to ask who this is: by the header or the session, else by what it says first."""
    try:
        if await authenticate(websocket) is not None:
            return partial(authenticate, websocket)
        with connection_slot(client_network(websocket)):  # whose it is will be seen: until then it is its address's
            async with asyncio.timeout(AUTH_TIMEOUT_SECONDS):
                return partial(authenticate_bearer, websocket, await _first_token(websocket))
    except NotAuthenticated as refusal:
        raise _close_for(refusal) from None
    except TimeoutError:
        raise CloseSocket(UNAUTHENTICATED, f"Not authenticated within {AUTH_TIMEOUT_SECONDS:g} s.") from None


async def _first_token(websocket: WebSocket) -> str:
    while not isinstance(said := await _receive(websocket), Authenticate):
        await _send_error(websocket, said if isinstance(said, str) else "Say who you are first: authenticate.")
    return said.token


async def _authorize(ask: Reauthenticate) -> Principal:
    try:
        return await authorize_stream(ask)
    except (NotAuthenticated, InsufficientScope) as refusal:
        raise _close_for(refusal) from None


async def _receive_commands(websocket: WebSocket, subscriber: Subscriber, principal: Principal) -> None:
    while True:
        said = await _receive(websocket)
        if isinstance(said, Subscribe):
            subscriber.wanted = EventFilter.by(principal, types=said.types, email_id=said.email_id)
        elif isinstance(said, Ping):
            await websocket.send_text(Pong().model_dump_json())
        else:
            await _send_error(websocket, said if isinstance(said, str) else "You are authenticated already.")


async def _send_events(websocket: WebSocket, subscription: Subscription) -> None:
    try:
        async for batch in subscription.batches():
            for told in batch:
                await websocket.send_text(told.json)
    except SlowConsumer:
        raise CloseSocket(TOO_SLOW, "Too slow: come again with the id of the last event.") from None
    raise CloseSocket(SERVICE_RESTART, "The server restarts.")


async def _watch_authorization(ask: Reauthenticate, principal: Principal) -> None:
    raise _close_for(await wait_until_revoked(ask, principal))


async def _close_if_slow(subscriber: Subscriber) -> None:
    """A client that takes nothing keeps `_tell` from noticing that it is too slow."""
    await subscriber.overflowed.wait()
    raise CloseSocket(TOO_SLOW, "Too slow: come again with the id of the last event.")


async def _receive(websocket: WebSocket) -> ClientMessage | str:
    """What the client says or, if that cannot be understood, why."""
    message = await websocket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1005))
    text = message.get("text")
    if text is None or len(text) > MAX_MESSAGE_LENGTH:
        return f"A message is a text of up to {MAX_MESSAGE_LENGTH} characters."
    try:
        return _client_message.validate_json(text)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        return ": ".join([".".join(str(step) for step in problem["loc"]), problem["msg"]]).removeprefix(": ")


async def _send_error(websocket: WebSocket, detail: str) -> None:
    await websocket.send_text(SocketError(detail=detail).model_dump_json())


def _close_for(refusal: DomainError) -> CloseSocket:
    return CloseSocket(FORBIDDEN if isinstance(refusal, InsufficientScope) else UNAUTHENTICATED, refusal.detail)


async def _run_until_first(*works: Coroutine[Any, Any, None]) -> None:
    """Do these at the same time until one ends or fails, and then none."""
    tasks = [asyncio.create_task(work) for work in works]
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
