"""Background tasks that outlive their request.

Starlette runs background tasks inside the request's ASGI call, and Daphne cancels that call about ten seconds after the response
is complete. So the call only submits the tasks to a runner. The lifespan owns the runner, and waits for its tasks when the server
stops.
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

from .shutdown_deadline import Grace, seconds_left
from .thread_pool import ThreadPool

logger = logging.getLogger(__name__)

BACKGROUND_THREADS = 10  # for synchronous tasks; separate, so that slow tasks do not use up the threads for requests


class BackgroundTaskRunner:
    """Runs submitted tasks. Tasks of one response run in order, and tasks of different responses run concurrently."""

    def __init__(self) -> None:
        self._threads = ThreadPool("background", BACKGROUND_THREADS)
        self._running: set[asyncio.Task[None]] = set()
        self._unfinished: dict[BackgroundTask, str] = {}

    def submit(self, background: BackgroundTask) -> None:
        """Start a response's background tasks, and return at once."""
        task = asyncio.get_running_loop().create_task(self.run(background))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def run(self, background: BackgroundTask) -> None:
        """Run the tasks in order. A failing task is logged with its traceback, and the next task still runs."""
        tasks = _tasks_of(background)
        self._unfinished.update({task: _name_of(task) for task in tasks})
        for task in tasks:
            try:
                await self._run_one(task)
            except Exception:
                logger.exception("Background task %s failed", _name_of(task))
            del self._unfinished[task]

    async def stop(self, grace: float) -> None:
        """Wait up to `grace` seconds for running tasks, then cancel the rest and log their names."""
        deadline = time.monotonic() + grace
        while self._running and (left := deadline - time.monotonic()) > 0:  # a task may submit more tasks
            await asyncio.wait(self._running, timeout=left)
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        if self._unfinished:
            logger.error("Background tasks canceled after %g s of grace: %s", grace, ", ".join(self._unfinished.values()))
        self._threads.close(timeout=0)

    async def _run_one(self, task: BackgroundTask) -> None:
        if task.is_async:
            await task.func(*task.args, **task.kwargs)
        else:
            await self._threads.run(task.func, *task.args, **task.kwargs)


class BackgroundRoute(APIRoute):
    """Route that submits the background tasks of its response to the runner. For `APIRouter(route_class=…)`.

    Without a lifespan (httpx's ASGITransport, a bare TestClient), the tasks run before the call returns, as with Starlette. The
    route also rejects a path that ends with a newline.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            # Starlette's path patterns end with `$`, which also matches before a final newline. If the newline is in a path
            # parameter, the parameter's own validation decides.
            in_parameter = any(str(value).endswith("\n") for value in request.path_params.values())
            if request.scope["path"].endswith("\n") and not in_parameter:
                raise HTTPException(404)
            response = await handler(request)
            if response.background is not None:
                response.background = _submit_to_runner(request.app, response.background)
            return response

        return handle


@asynccontextmanager
async def background_tasks_lifespan(app: FastAPI, *, grace: Grace) -> AsyncIterator[BackgroundTaskRunner]:
    """Accept background tasks while this context is open, then wait for them until `grace` ends. For the lifespan."""
    runner = app.state.background = BackgroundTaskRunner()
    try:
        yield runner
    finally:
        del app.state.background
        await runner.stop(seconds_left(grace))


def _submit_to_runner(app: FastAPI, background: BackgroundTask) -> BackgroundTask:
    runner: BackgroundTaskRunner | None = getattr(app.state, "background", None)
    if runner is None:
        return BackgroundTask(BackgroundTaskRunner().run, background)

    async def submit() -> None:
        runner.submit(background)

    return BackgroundTask(submit)


def _tasks_of(background: BackgroundTask) -> list[BackgroundTask]:
    return background.tasks if isinstance(background, BackgroundTasks) else [background]


def _name_of(task: BackgroundTask) -> str:
    return getattr(task.func, "__qualname__", repr(task.func))
