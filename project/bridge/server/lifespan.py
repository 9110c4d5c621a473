"""FastAPI's lifespan on servers that send no lifespan events.

Daphne does not send these events (requested in 2019: django/daphne#264). `LifespanUnderDaphne` wraps the application, and runs
the ASGI lifespan protocol (https://asgi.readthedocs.io/en/latest/specs/lifespan.html) from Daphne's Twisted reactor. On a server
that sends lifespan events (Uvicorn, Hypercorn, `manage.py serve`), the wrapper only passes the events through.
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
    """The application failed to start. The text is the last line of the application's message. The log has the whole message."""


@asynccontextmanager
async def run_lifespan(app: ASGIApp) -> AsyncIterator[dict[str, Any]]:
    """Start `app` as an ASGI server does, yield the lifespan state, and stop `app` at the end. Raises `StartupFailed`.

    If the application raises or returns without a response, it does not support the lifespan protocol. It then runs without a
    lifespan, as the specification requires.
    """
    state: dict[str, Any] = {}
    to_app: asyncio.Queue[Message] = asyncio.Queue()
    from_app: asyncio.Queue[Message] = asyncio.Queue()
    scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": state}
    task = asyncio.ensure_future(app(scope, to_app.get, from_app.put))
    to_app.put_nowait({"type": "lifespan.startup"})
    response = await _first_response(from_app, task)
    if response["type"] == "lifespan.startup.failed":
        reason = response.get("message", "").strip()
        logger.critical("Application startup failed:\n%s", reason)
        task.cancel()  # the application may wait for a shutdown event, which is never sent
        await asyncio.gather(task, return_exceptions=True)  # the exception is already in the log
        raise StartupFailed(reason.rpartition("\n")[2])
    try:
        yield state
    finally:
        if response["type"] == "lifespan.startup.complete":
            to_app.put_nowait({"type": "lifespan.shutdown"})
            await task


async def _first_response(from_app: asyncio.Queue[Message], task: "asyncio.Future[None]") -> Message:
    response = asyncio.ensure_future(from_app.get())
    either: set[asyncio.Future[Any]] = {response, task}
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if response.done():
        return response.result()
    response.cancel()
    logger.info("The application does not support the lifespan protocol", exc_info=task.exception())
    return {"type": "lifespan.unsupported"}


class LifespanUnderDaphne:
    """ASGI application whose lifespan starts and ends with the server, also under plain `daphne`."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._driven_by_server = False
        self._state: dict[str, Any] = {}
        self._started = asyncio.Event()
        self._stopping = asyncio.Event()
        self._lifespan: asyncio.Task[None] | None = None
        if "daphne.server" in sys.modules:
            self._watch_reactor()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            self._driven_by_server = True
        elif self._lifespan is not None:
            await self._started.wait()
            if self._state:
                scope["state"] = self._state.copy()
        await self.app(scope, receive, send)

    def _watch_reactor(self) -> None:
        # Importing Daphne installs a reactor, but only Daphne runs it. Under other servers, these callbacks are never called.
        from twisted.internet import reactor

        reactor.callWhenRunning(self._start)
        reactor.addSystemEventTrigger("before", "shutdown", self._stop)

    def _start(self) -> None:
        if not self._driven_by_server:
            self._lifespan = asyncio.get_event_loop().create_task(self._run())

    async def _run(self) -> None:
        try:
            async with run_lifespan(self) as self._state:
                self._started.set()
                await self._stopping.wait()
        except Exception as error:
            if not isinstance(error, StartupFailed):  # already logged
                logger.critical("The application's lifespan failed", exc_info=True)
            raise SystemExit(1) from None  # stops Daphne's loop: the process must not serve without a lifespan

    def _stop(self) -> Any:
        from twisted.internet.defer import Deferred

        self._stopping.set()
        return Deferred.fromFuture(self._lifespan) if self._lifespan is not None else None
