"""Handing over background tasks. What needs a real server process is in tests/servers/test_server.py."""

import asyncio

import pytest
from fastapi import APIRouter, BackgroundTasks, FastAPI
from starlette.background import BackgroundTask
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from project.bridge.background.background_tasks import BackgroundRoute, BackgroundTaskRunner, background_tasks_owned_by

pytestmark = pytest.mark.anyio


def app_that_notes(done: list[str]) -> FastAPI:
    """Its tasks say that they ran."""
    router = APIRouter(route_class=BackgroundRoute)

    async def note(what: str) -> None:
        await asyncio.sleep(0)
        done.append(what)

    @router.get("/two")
    async def two(tasks: BackgroundTasks) -> None:
        tasks.add_task(note, "first")
        tasks.add_task(done.append, "second")

    @router.get("/own")
    async def own() -> PlainTextResponse:
        return PlainTextResponse("", background=BackgroundTask(note, "of the response"))

    app = FastAPI()
    app.include_router(router)
    return app


@pytest.mark.pitfall(25)
def test_without_a_lifespan_tasks_run_before_the_call_returns_and_in_order() -> None:
    done: list[str] = []

    TestClient(app_that_notes(done)).get("/two")

    assert done == ["first", "second"]


async def test_with_a_lifespan_the_call_returns_before_they_run() -> None:
    done: list[str] = []
    app = app_that_notes(done)

    async with background_tasks_owned_by(app, grace=5):
        await _call(app, "/two")
        when_answered = list(done)

    assert (when_answered, done) == ([], ["first", "second"])


async def test_a_task_of_the_response_itself_is_handed_over_too() -> None:
    done: list[str] = []
    app = app_that_notes(done)

    async with background_tasks_owned_by(app, grace=5):
        await _call(app, "/own")
        when_answered = list(done)

    assert (when_answered, done) == ([], ["of the response"])


async def test_a_task_may_hand_over_another_during_the_grace() -> None:
    done: list[str] = []
    runner = BackgroundTaskRunner()

    def more() -> None:
        done.append("first")

    async def begin() -> None:
        runner.hand_over(BackgroundTask(more))

    runner.hand_over(BackgroundTask(begin))
    await runner.stop(grace=5)

    assert done == ["first"]


async def _call(app: FastAPI, path: str) -> None:
    """One request as a server makes it: the call has returned when this does."""
    scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b"", "headers": []}
    sent: list[object] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: object) -> None:
        sent.append(message)

    await app(scope, receive, send)
    assert len(sent) == 2
