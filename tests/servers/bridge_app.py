"""A small application around the bridge, with what Mailrail has no route for. It knows nothing of mail: so may yours.

`python -m tests.servers.bridge_app -p PORT tests.servers.bridge_app:application` serves it with the bridge's server class.
"""

import asyncio
import json
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
if __name__ != "__main__":
    django.setup()

from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, Request, Response, WebSocket
from fastapi.responses import PlainTextResponse, StreamingResponse
from starlette.types import Receive, Scope, Send

from project.bridge.background.background_tasks import BackgroundRoute, background_tasks_owned_by
from project.bridge.middleware.close_codes import CloseCodeMiddleware
from project.bridge.server.lifespan import LifespanUnderDaphne

router = APIRouter(route_class=BackgroundRoute)
MEBIBYTE = 1024 * 1024
app_hears = asyncio.Event()


def say(text: str) -> None:
    """To the log, at once."""
    print(text, flush=True)  # noqa: T201


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    """Tells of its phases, and fails or dawdles when it is told to."""
    say("lifespan: starting")
    await asyncio.sleep(float(os.environ.get("PROBE_STARTUP", "0")))
    if os.environ.get("PROBE_FAILS"):
        raise RuntimeError("the start-up was told to fail")
    app.state.started = True
    async with background_tasks_owned_by(app, grace=float(os.environ.get("PROBE_GRACE", "25"))):
        say("lifespan: started")
        yield {"answer": 42}
    await asyncio.sleep(0.2)
    say("lifespan: stopped")


@router.get("/started")
async def started(request: Request) -> dict[str, Any]:
    """What the lifespan left for requests."""
    return {"started": request.app.state.started, "answer": request.state.answer}


async def sleeper(name: str, seconds: float) -> None:
    """An asynchronous task."""
    say(f"{name}: begun")
    await asyncio.sleep(seconds)
    say(f"{name}: ended")


def sync_sleeper(name: str, seconds: float) -> None:
    """A synchronous task."""
    say(f"{name}: begun")
    time.sleep(seconds)
    say(f"{name}: ended")


def failing_task() -> None:
    """A task that fails."""
    raise RuntimeError("the task was told to fail")


TASKS = {"async": sleeper, "sync": sync_sleeper}


@router.post("/tasks")
async def tasks(background_tasks: BackgroundTasks, kind: str, seconds: float, fail_first: bool = False) -> dict[str, str]:
    """Queue a long task, and a short one behind it."""
    if fail_first:
        background_tasks.add_task(failing_task)
    background_tasks.add_task(TASKS[kind], f"{kind} first", seconds)
    background_tasks.add_task(TASKS[kind], f"{kind} second", 0)
    return {"message": "queued"}


def sync_dependency() -> Iterator[int]:
    """A synchronous dependency with an end."""
    yield threading.get_ident()


@router.get("/thread")
def thread(dependency: Annotated[int, Depends(sync_dependency)]) -> dict[str, int]:
    """Which thread a `def` endpoint runs on."""
    return {"endpoint": threading.get_ident(), "dependency": dependency}


@router.get("/slow")
async def slow(seconds: float) -> dict[str, float]:
    """Answer after a while."""
    say("slow: begun")
    await asyncio.sleep(seconds)
    return {"slept": seconds}


@router.get("/half")
async def half() -> StreamingResponse:
    """Fail in the middle of an answer."""

    async def body() -> AsyncIterator[bytes]:
        yield b"half of it"
        raise RuntimeError("the other half was told to fail")

    return StreamingResponse(body())


@router.post("/size")
async def size(request: Request) -> int:
    """How long the body is."""
    say("size: called")
    return len(await request.body())


@router.get("/stream")
async def stream(mebibytes: int) -> StreamingResponse:
    """A long answer, piece by piece."""

    async def body() -> AsyncIterator[bytes]:
        for number in range(mebibytes):
            yield bytes([number % 256]) * MEBIBYTE
        say("stream: ended")

    return StreamingResponse(body())


@router.get("/long")
async def long(mebibytes: int) -> Response:
    """A long answer, in one piece."""
    return Response(b"".join(bytes([number % 256]) * MEBIBYTE for number in range(mebibytes)))


@router.websocket("/flood")
async def flood(websocket: WebSocket, mebibytes: int) -> None:
    """Send and send."""
    await websocket.accept()
    for _ in range(mebibytes):
        await websocket.send_bytes(bytes(MEBIBYTE))
    say("flood: ended")
    await websocket.close()


@router.websocket("/deaf")
async def deaf(websocket: WebSocket) -> None:
    """Hear nothing for a while, then count what was said until the first empty message."""
    await websocket.accept()
    await app_hears.wait()
    count = 0
    while await websocket.receive_bytes():
        count += 1
    await websocket.send_text(str(count))


@router.post("/hear")
async def hear() -> None:
    """End the deafness of `/deaf`."""
    app_hears.set()


@router.websocket("/close/{code}")
async def close(websocket: WebSocket, code: int) -> None:
    """Close with a code."""
    await websocket.accept()
    await websocket.close(code, "as you wish")


@router.websocket("/echo")
async def echo(websocket: WebSocket) -> None:
    """Echo for ever."""
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(text)


def create_app() -> FastAPI:
    """The application."""
    app = FastAPI(lifespan=lifespan)
    app.include_router(router)
    return app


_app = create_app()


async def _router(scope: Scope, receive: Receive, send: Send) -> None:
    if scope.get("path") == "/raise":
        raise RuntimeError("outside FastAPI")
    if scope.get("path") == "/tarry":
        await PlainTextResponse("done")(scope, receive, send)
        await sleeper("tarry", 1)
        return
    await CloseCodeMiddleware(_app)(scope, receive, send) if scope["type"] == "websocket" else await _app(scope, receive, send)


application = LifespanUnderDaphne(_router)


if __name__ == "__main__":
    from project.bridge.server.reactor import install_reactor

    install_reactor()
    from project.bridge.server.connection_limits import ConnectionLimits
    from project.bridge.server.daphne_server import DaphneCommandLine

    limits = ConnectionLimits(**json.loads(os.environ.get("PROBE_LIMITS", "{}")))
    DaphneCommandLine(shutdown_grace=float(os.environ.get("PROBE_GRACE", "25")), limits=limits).run(sys.argv[1:])
