"""FastAPI's lifespan, where the server sends no lifespan events.

Daphne has sent none since 2019 (django/daphne#264). `LifespanUnderDaphne` wraps the application and speaks the ASGI
lifespan protocol (https://asgi.readthedocs.io/en/latest/specs/lifespan.html) to it from Daphne's own Twisted reactor.
On a server that sends the events (Uvicorn, Hypercorn, `manage.py serve`) it passes them through and does nothing of
its own.
"""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger(__name__)


class StartupFailed(Exception):
    """The application's start-up failed: the last line of why. The whole is in the log."""


@asynccontextmanager
async def run_lifespan(app: ASGIApp) -> AsyncIterator[dict[str, Any]]:
    """Start `app` as a server does, and stop it at the end. Gives the lifespan's state; raises `StartupFailed`.

    An application that knows no lifespan (it raises, or ends, without an answer) is served without one, as the protocol has it.
    """
    state: dict[str, Any] = {}
    to_app: asyncio.Queue[Message] = asyncio.Queue()
    from_app: asyncio.Queue[Message] = asyncio.Queue()
    scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": state}
    task = asyncio.ensure_future(app(scope, to_app.get, from_app.put))
    to_app.put_nowait({"type": "lifespan.startup"})
    answer = await _first_reply(from_app, task)
    if answer["type"] == "lifespan.startup.failed":
        why = answer.get("message", "").strip()
        logger.critical("The application's start-up failed:\n%s", why)
        task.cancel()  # it may wait for a shutdown, which never comes
        await asyncio.gather(task, return_exceptions=True)  # what it raises, it has said
        raise StartupFailed(why.rpartition("\n")[2])
    try:
        yield state
    finally:
        if answer["type"] == "lifespan.startup.complete":
            to_app.put_nowait({"type": "lifespan.shutdown"})
            await task


async def _first_reply(from_app: asyncio.Queue[Message], task: "asyncio.Future[None]") -> Message:
    answer = asyncio.ensure_future(from_app.get())
    either: set[asyncio.Future[Any]] = {answer, task}
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if answer.done():
        return answer.result()
    answer.cancel()
    logger.info("The application has no lifespan", exc_info=task.exception())
    return {"type": "lifespan.unsupported"}


class LifespanUnderDaphne:
    """An ASGI application that starts and stops with the server, also under plain `daphne`."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._driven_by_server = False
        self._state: dict[str, Any] = {}
        self._started = asyncio.Event()
        self._stopping = asyncio.Event()
        self._life: asyncio.Task[None] | None = None
        if "daphne.server" in sys.modules:
            self._watch_reactor()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            self._driven_by_server = True
        elif self._life is not None:
            await self._started.wait()
            if self._state:
                scope["state"] = self._state.copy()
        await self.app(scope, receive, send)

    def _watch_reactor(self) -> None:
        # Importing Daphne installs a reactor, only running it starts one: under another server neither call ever comes.
        from twisted.internet import reactor

        reactor.callWhenRunning(self._begin)
        reactor.addSystemEventTrigger("before", "shutdown", self._end)

    def _begin(self) -> None:
        if not self._driven_by_server:
            self._life = asyncio.get_event_loop().create_task(self._live())

    async def _live(self) -> None:
        try:
            async with run_lifespan(self) as self._state:
                self._started.set()
                await self._stopping.wait()
        except Exception as error:
            if not isinstance(error, StartupFailed):  # which is in the log
                logger.critical("The application's lifespan failed", exc_info=True)
            raise SystemExit(1) from None  # through Daphne's loop: no half-started process may go on

    def _end(self) -> Any:
        from twisted.internet.defer import Deferred

        self._stopping.set()
        return Deferred.fromFuture(self._life) if self._life is not None else None
