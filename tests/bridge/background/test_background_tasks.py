"""Background tasks. Tests that need a server process are in tests/servers/bridge/test_daphne_server.py."""

import asyncio

import pytest
from fastapi import APIRouter, BackgroundTasks, FastAPI
from starlette.background import BackgroundTask
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from project.bridge.background.background_tasks import BackgroundRoute, BackgroundTaskRunner, background_tasks_lifespan

pytestmark = pytest.mark.anyio


def recording_app(done: list[str]) -> FastAPI:
    """Return an application whose background tasks append to `done`."""
    router = APIRouter(route_class=BackgroundRoute)

    async def record(text: str) -> None:
        await asyncio.sleep(0)
        done.append(text)

    @router.get("/two")
    async def two(tasks: BackgroundTasks) -> None:
        tasks.add_task(record, "first")
        tasks.add_task(done.append, "second")

    @router.get("/own")
    async def own() -> PlainTextResponse:
        return PlainTextResponse("", background=BackgroundTask(record, "of the response"))

    app = FastAPI()
    app.include_router(router)
    return app


@pytest.mark.pitfall(25)
def test_without_a_lifespan_tasks_run_in_order_before_the_call_returns() -> None:
    done: list[str] = []

    TestClient(recording_app(done)).get("/two")

    assert done == ["first", "second"]


async def test_with_a_lifespan_tasks_run_after_the_call_returns() -> None:
    done: list[str] = []
    app = recording_app(done)

    async with background_tasks_lifespan(app, grace=5):
        await _call(app, "/two")
        when_the_call_returned = list(done)

    assert (when_the_call_returned, done) == ([], ["first", "second"])


async def test_a_background_task_set_on_the_response_runs_after_the_call_returns() -> None:
    done: list[str] = []
    app = recording_app(done)

    async with background_tasks_lifespan(app, grace=5):
        await _call(app, "/own")
        when_the_call_returned = list(done)

    assert (when_the_call_returned, done) == ([], ["of the response"])


async def test_a_task_may_submit_another_during_the_grace() -> None:
    done: list[str] = []
    runner = BackgroundTaskRunner()

    def second() -> None:
        done.append("second")

    async def first() -> None:
        runner.submit(BackgroundTask(second))

    runner.submit(BackgroundTask(first))
    await runner.stop(grace=5)

    assert done == ["second"]


async def _call(app: FastAPI, path: str) -> None:
    """Send one request as a server does, and wait until the ASGI call returns."""
    scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b"", "headers": []}
    sent: list[object] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: object) -> None:
        sent.append(message)

    await app(scope, receive, send)
    assert len(sent) == 2
