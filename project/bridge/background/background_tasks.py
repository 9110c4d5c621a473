"""Background tasks that outlive their request.

Starlette runs them inside the request's ASGI call, and Daphne kills that call about ten seconds after the response is
complete. So the call only hands them over here: the lifespan owns them, and waits for them when the server stops.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.routing import APIRoute
from starlette.background import BackgroundTask, BackgroundTasks

from .thread_pool import ThreadPool

logger = logging.getLogger(__name__)

BACKGROUND_THREADS = (
    10  # for synchronous tasks; a pool of their own, so that slow ones never take the threads that serve requests
)


class BackgroundTaskRunner:
    """Runs handed-over tasks: those of one response in their order, those of different responses side by side."""

    def __init__(self) -> None:
        self._threads = ThreadPool("background", BACKGROUND_THREADS)
        self._running: set[asyncio.Task[None]] = set()
        self._unfinished: dict[BackgroundTask, str] = {}

    def hand_over(self, background: BackgroundTask) -> None:
        """Take over a response's background tasks. Returns at once."""
        task = asyncio.get_running_loop().create_task(self.run(background))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def run(self, background: BackgroundTask) -> None:
        """Run them one after the other. One that fails is logged with its traceback, and does not stop the next."""
        tasks = _tasks_of(background)
        self._unfinished.update({task: _name_of(task) for task in tasks})
        for task in tasks:
            try:
                await self._run_one(task)
            except Exception:
                logger.exception("Background task %s failed", _name_of(task))
            del self._unfinished[task]

    async def stop(self, grace: float) -> None:
        """Wait `grace` seconds for what still runs, then cancel it and name it in the log."""
        deadline = time.monotonic() + grace
        while self._running and (left := deadline - time.monotonic()) > 0:  # a task may hand over another
            await asyncio.wait(self._running, timeout=left)
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        if self._unfinished:
            logger.error("Cancelled after %g s of grace: %s", grace, ", ".join(self._unfinished.values()))
        self._threads.close(timeout=0)

    async def _run_one(self, task: BackgroundTask) -> None:
        if task.is_async:
            await task.func(*task.args, **task.kwargs)
        else:
            await self._threads.run(task.func, *task.args, **task.kwargs)


class BackgroundRoute(APIRoute):
    """Hands over the background tasks of its response, and is asked by its own path alone. For `APIRouter(route_class=…)`.

    Where no lifespan runs (httpx's ASGITransport, a bare TestClient), they run before the call returns, as Starlette has it.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            # `$`, with which Starlette's patterns end, overlooks it; but in a parameter, it is for that to be refused.
            in_parameter = any(str(value).endswith("\n") for value in request.path_params.values())
            if request.scope["path"].endswith("\n") and not in_parameter:
                raise HTTPException(404)
            response = await handler(request)
            if response.background is not None:
                response.background = _hand_to_runner(request.app, response.background)
            return response

        return handle


@asynccontextmanager
async def background_tasks_owned_by(app: FastAPI, *, grace: float) -> AsyncIterator[BackgroundTaskRunner]:
    """For the lifespan: while this is open, `app`'s background tasks belong to it. `grace` in seconds."""
    runner = app.state.background = BackgroundTaskRunner()
    try:
        yield runner
    finally:
        del app.state.background
        await runner.stop(grace)


def _hand_to_runner(app: FastAPI, background: BackgroundTask) -> BackgroundTask:
    runner: BackgroundTaskRunner | None = getattr(app.state, "background", None)
    if runner is None:
        return BackgroundTask(BackgroundTaskRunner().run, background)

    async def hand_over() -> None:
        runner.hand_over(background)

    return BackgroundTask(hand_over)


def _tasks_of(background: BackgroundTask) -> list[BackgroundTask]:
    return background.tasks if isinstance(background, BackgroundTasks) else [background]


def _name_of(task: BackgroundTask) -> str:
    return getattr(task.func, "__qualname__", repr(task.func))
