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

from fastapi_app.deps import principal_of, principal_of_bearer
from fastapi_app.events.follow import Ask, allowed, refused
from fastapi_app.events.schemas import Authenticate, Ping, Pong, Problem, Ready, Said, Subscribe
from fastapi_app.throttle import address_of
from project.accounts.places import TooManySockets, place
from project.accounts.principal import MissingScope, NotAuthenticated, Principal
from project.errors import Refusal
from project.outbox.live import Follower, Following, Tail, TooSlow, following
from project.outbox.queries import Wanted

logger = logging.getLogger(__name__)

UNAUTHENTICATED, FORBIDDEN, TOO_SLOW, RESTART, TRY_LATER = 4401, 4403, 4408, 1012, 1013
PATIENCE = 10.0  # seconds for a client to say who it is
GOODBYE = 5.0  # seconds for a client to take what waits for it, and the close
MESSAGE = 4096  # characters that a client may say at once

_said: TypeAdapter[Said] = TypeAdapter(Said)


@dataclass(frozen=True)
class Asked:
    """What the URL asked for."""

    after: int | None
    types: list[str] | None
    email_id: UUID | None


class Closed(Exception):
    """The socket ends with this code, and says why."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code, self.reason = code, reason


async def converse(websocket: WebSocket, tail: Tail, asked: Asked) -> None:
    """Serve one socket, until it or the server goes."""
    await websocket.accept()
    try:
        with suppress(WebSocketDisconnect):
            await _serve(websocket, tail, asked)
    except TooManySockets as refusal:
        await _close(websocket, TRY_LATER, refusal.detail)
    except Closed as closed:
        if closed.code == TOO_SLOW:
            logger.warning("A socket that follows events was too slow")
        await _close(websocket, closed.code, closed.reason)


async def _close(websocket: WebSocket, code: int, reason: str) -> None:
    with suppress(TimeoutError, WebSocketDisconnect, RuntimeError):  # it may be gone meanwhile
        async with asyncio.timeout(GOODBYE):
            await websocket.close(code, reason)


async def _serve(websocket: WebSocket, tail: Tail, asked: Asked) -> None:
    ask = await _credential(websocket)
    principal = await _checked(ask)
    wanted = Wanted.by(principal, types=asked.types, email_id=asked.email_id)
    with place(principal.caller_id):
        async with following(tail, wanted, after=asked.after) as followed:
            await websocket.send_text(Ready(cursor=followed.cursor).model_dump_json())
            await _first_of(
                _listen(websocket, followed.follower, principal),
                _tell(websocket, followed),
                _watch(ask, principal),
                _mind_the_slow(followed.follower),
            )


async def _credential(websocket: WebSocket) -> Ask:
    """How to ask who this is: by the header or the session, else by what it says first."""
    try:
        if await principal_of(websocket) is not None:
            return partial(principal_of, websocket)
        with place(address_of(websocket)):  # whose it is will be seen: until then it is its address's
            async with asyncio.timeout(PATIENCE):
                return partial(principal_of_bearer, websocket, await _first_token(websocket))
    except NotAuthenticated as refusal:
        raise _closed_by(refusal) from None
    except TimeoutError:
        raise Closed(UNAUTHENTICATED, f"Not authenticated within {PATIENCE:g} s.") from None


async def _first_token(websocket: WebSocket) -> str:
    while not isinstance(said := await _heard(websocket), Authenticate):
        await _complain(websocket, said if isinstance(said, str) else "Say who you are first: authenticate.")
    return said.token


async def _checked(ask: Ask) -> Principal:
    try:
        return await allowed(ask)
    except (NotAuthenticated, MissingScope) as refusal:
        raise _closed_by(refusal) from None


async def _listen(websocket: WebSocket, follower: Follower, principal: Principal) -> None:
    while True:
        said = await _heard(websocket)
        if isinstance(said, Subscribe):
            follower.wanted = Wanted.by(principal, types=said.types, email_id=said.email_id)
        elif isinstance(said, Ping):
            await websocket.send_text(Pong().model_dump_json())
        else:
            await _complain(websocket, said if isinstance(said, str) else "You are authenticated already.")


async def _tell(websocket: WebSocket, followed: Following) -> None:
    try:
        async for batch in followed.batches():
            for told in batch:
                await websocket.send_text(told.json)
    except TooSlow:
        raise Closed(TOO_SLOW, "Too slow: come again with the id of the last event.") from None
    raise Closed(RESTART, "The server restarts.")


async def _watch(ask: Ask, who: Principal) -> None:
    raise _closed_by(await refused(ask, who))


async def _mind_the_slow(follower: Follower) -> None:
    """A client that takes nothing keeps `_tell` from noticing that it is too slow."""
    await follower.overflowed.wait()
    raise Closed(TOO_SLOW, "Too slow: come again with the id of the last event.")


async def _heard(websocket: WebSocket) -> Said | str:
    """What the client says or, if that cannot be understood, why."""
    message = await websocket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1005))
    text = message.get("text")
    if text is None or len(text) > MESSAGE:
        return f"A message is a text of up to {MESSAGE} characters."
    try:
        return _said.validate_json(text)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        return ": ".join([".".join(str(step) for step in problem["loc"]), problem["msg"]]).removeprefix(": ")


async def _complain(websocket: WebSocket, detail: str) -> None:
    await websocket.send_text(Problem(detail=detail).model_dump_json())


def _closed_by(refusal: Refusal) -> Closed:
    return Closed(FORBIDDEN if isinstance(refusal, MissingScope) else UNAUTHENTICATED, refusal.detail)


async def _first_of(*works: Coroutine[Any, Any, None]) -> None:
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
