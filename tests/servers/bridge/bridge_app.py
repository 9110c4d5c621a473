"""A small application around the bridge, with routes that Mailrail itself does not need. It is independent of email.

The command to serve it with the bridge's server class is in `tests/processes.py`.
"""

import asyncio
import json
import os
import resource
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
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from project.bridge.background.background_tasks import BackgroundRoute, background_tasks_lifespan
from project.bridge.middleware.close_codes import CloseCodeMiddleware
from project.bridge.middleware.request_id import RequestIdMiddleware
from project.bridge.server.lifespan import LifespanUnderDaphne

router = APIRouter(route_class=BackgroundRoute)
MEBIBYTE = 1024 * 1024
may_receive = asyncio.Event()


def log(text: str) -> None:
    """Print the text to the log, and flush."""
    print(text, flush=True)  # noqa: T201


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    """Log each phase. Environment variables can make the start slow, or make it fail."""
    log("lifespan: starting")
    await asyncio.sleep(float(os.environ.get("BRIDGE_APP_STARTUP_SECONDS", "0")))
    if os.environ.get("BRIDGE_APP_FAIL_STARTUP"):
        raise RuntimeError("this start was set to fail")
    app.state.started = True
    async with background_tasks_lifespan(app, grace=float(os.environ.get("BRIDGE_APP_GRACE", "25"))):
        log("lifespan: started")
        yield {"answer": 42}
    await asyncio.sleep(0.2)
    log("lifespan: stopped")


@router.get("/started")
async def started(request: Request) -> dict[str, Any]:
    """Return the state that the lifespan stored for requests."""
    return {"started": request.app.state.started, "answer": request.state.answer}


async def sleeper(name: str, seconds: float) -> None:
    """Log, sleep, and log again, as a coroutine."""
    log(f"{name}: started")
    await asyncio.sleep(seconds)
    log(f"{name}: finished")


def sync_sleeper(name: str, seconds: float) -> None:
    """Log, sleep, and log again, as a synchronous function."""
    log(f"{name}: started")
    time.sleep(seconds)
    log(f"{name}: finished")


def failing_task() -> None:
    """Raise RuntimeError."""
    raise RuntimeError("this task was set to fail")


TASKS = {"async": sleeper, "sync": sync_sleeper}


@router.post("/tasks")
async def tasks(background_tasks: BackgroundTasks, kind: str, seconds: float, fail_first: bool = False) -> dict[str, str]:
    """Queue a long background task, and a short background task after it."""
    if fail_first:
        background_tasks.add_task(failing_task)
    background_tasks.add_task(TASKS[kind], f"{kind} first", seconds)
    background_tasks.add_task(TASKS[kind], f"{kind} second", 0)
    return {"message": "queued"}


def sync_dependency() -> Iterator[int]:
    """A synchronous dependency with `yield`."""
    yield threading.get_ident()


@router.get("/thread")
def thread(dependency: Annotated[int, Depends(sync_dependency)]) -> dict[str, int]:
    """Return the threads that a `def` endpoint and its dependency run on."""
    return {"endpoint": threading.get_ident(), "dependency": dependency}


@router.get("/slow")
async def slow(seconds: float) -> dict[str, float]:
    """Respond after `seconds`."""
    log("slow: started")
    await asyncio.sleep(seconds)
    return {"slept": seconds}


@router.get("/fail-halfway")
async def fail_halfway() -> StreamingResponse:
    """Fail in the middle of a response."""

    async def body() -> AsyncIterator[bytes]:
        yield b"the first half"
        raise RuntimeError("the second half was set to fail")

    return StreamingResponse(body())


@router.post("/size")
async def size(request: Request) -> int:
    """Return the length of the request body."""
    log("size: called")
    return len(await request.body())


@router.post("/wait-for-body")
async def wait_for_body(request: Request) -> None:
    """Log what happens while the body is read."""
    log("wait-for-body: called")
    try:
        await request.body()
    except ClientDisconnect:
        log("wait-for-body: the client left")


@router.get("/stream")
async def stream(mebibytes: int) -> StreamingResponse:
    """Return a long response in chunks."""

    async def body() -> AsyncIterator[bytes]:
        for number in range(mebibytes):
            yield bytes([number % 256]) * MEBIBYTE
        log("stream: finished")

    return StreamingResponse(body())


@router.get("/long")
async def long(mebibytes: int) -> Response:
    """Return a long response in one chunk."""
    return Response(b"".join(bytes([number % 256]) * MEBIBYTE for number in range(mebibytes)))


@router.websocket("/flood")
async def flood(websocket: WebSocket, mebibytes: int) -> None:
    """Send messages as fast as possible."""
    await websocket.accept()
    for _ in range(mebibytes):
        await websocket.send_bytes(bytes(MEBIBYTE))
    log("flood: finished")
    await websocket.close()


@router.websocket("/receive-later")
async def receive_later(websocket: WebSocket) -> None:
    """Wait until `/start-receiving` is called. Then count the messages before the first empty message, and send the count."""
    await websocket.accept()
    await may_receive.wait()
    count = 0
    while await websocket.receive_bytes():
        count += 1
    await websocket.send_text(str(count))


@router.post("/start-receiving")
async def start_receiving() -> None:
    """Let `/receive-later` receive its messages."""
    may_receive.set()


@router.websocket("/close/{code}")
async def close(websocket: WebSocket, code: int) -> None:
    """Close with `code`."""
    await websocket.accept()
    await websocket.close(code, "as requested")


@router.websocket("/forget")
async def forget(websocket: WebSocket, accept: bool) -> None:
    """Return without closing the WebSocket, and perhaps without accepting it."""
    if accept:
        await websocket.accept()


@router.websocket("/echo")
async def echo(websocket: WebSocket) -> None:
    """Echo messages until the client disconnects."""
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(text)


def create_app() -> FastAPI:
    """Return the application."""
    app = FastAPI(lifespan=lifespan)
    app.include_router(router)
    return app


_app = create_app()


async def _router(scope: Scope, receive: Receive, send: Send) -> None:
    if scope.get("path") == "/raise":
        raise RuntimeError("outside FastAPI")
    if scope.get("path") == "/work-after-response":
        await PlainTextResponse("done")(scope, receive, send)
        await sleeper("after response", 1)
        return
    await CloseCodeMiddleware(_app)(scope, receive, send) if scope["type"] == "websocket" else await _app(scope, receive, send)


application = LifespanUnderDaphne(RequestIdMiddleware(_router))


if __name__ == "__main__":
    from project.bridge.server.reactor import install_reactor

    install_reactor()
    from project.bridge.server.command_line import DaphneCommandLine
    from project.bridge.server.connection_limits import ConnectionLimits

    if "BRIDGE_APP_OPEN_FILES" in os.environ:  # the soft and the hard limit
        soft, hard = map(int, os.environ["BRIDGE_APP_OPEN_FILES"].split(":"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    limits = ConnectionLimits(**json.loads(os.environ.get("BRIDGE_APP_LIMITS", "{}")))
    DaphneCommandLine(shutdown_grace=float(os.environ.get("BRIDGE_APP_GRACE", "25")), limits=limits).run(sys.argv[1:])
