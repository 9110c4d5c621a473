"""The request id: which ids are taken from the client, and where the id and the client's address are known."""

import asyncio
from collections.abc import Callable

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket

from project.bridge.background.thread_pool import ThreadPool
from project.bridge.middleware.request_id import (
    RequestIdMiddleware,
    current_client_address,
    current_request_id,
    running_for_request,
    set_request_id,
)


async def endpoint(_request: Request) -> JSONResponse:
    """Return the request id and the client's address, as a thread knows them."""
    threads = ThreadPool("test", 1)
    try:
        return JSONResponse(await threads.run(lambda: [current_request_id(), current_client_address()]))
    finally:
        threads.close()


async def websocket_endpoint(socket: WebSocket) -> None:
    """Send the request id."""
    await socket.accept()
    await socket.send_json(current_request_id())


@pytest.fixture
def client() -> TestClient:
    """Return a client of an application with the middleware."""
    app = Starlette(routes=[Route("/", endpoint), WebSocketRoute("/ws", websocket_endpoint)])
    return TestClient(RequestIdMiddleware(app), client=("192.0.2.7", 1))


@pytest.mark.parametrize("request_id", ["checkout-4711", "Root=1-67891233-abcdef012345678912345678", "a" * 128, "YWJj/+=="])
def test_returns_a_valid_request_id(client: TestClient, request_id: str) -> None:
    response = client.get("/", headers={"X-Request-ID": request_id})

    assert response.headers.get_list("X-Request-ID") == [request_id]
    assert response.json() == [request_id, "192.0.2.7"]


@pytest.mark.parametrize("request_id", ["", "a" * 129, "two words", "ada@example.com", 'a"b', "a\tb", "é", "{}", "a,b"])
def test_replaces_an_invalid_request_id(client: TestClient, request_id: str) -> None:
    response = client.get("/", headers=[(b"X-Request-ID", request_id.encode())])

    assert len(response.headers["X-Request-ID"]) == 32
    assert response.json()[0] == response.headers["X-Request-ID"]


@pytest.mark.parametrize("headers", [[], [("X-Request-ID", "one"), ("X-Request-ID", "two")]])
def test_makes_a_new_request_id(client: TestClient, headers: list[tuple[str, str]]) -> None:
    ids = [client.get("/", headers=headers).headers["X-Request-ID"] for _ in range(2)]

    assert len(set(ids)) == 2
    assert {len(request_id) for request_id in ids} == {32}


def test_a_response_without_a_route_has_a_request_id(client: TestClient) -> None:
    assert client.get("/missing", headers={"X-Request-ID": "a"}).headers["X-Request-ID"] == "a"


def test_a_websocket_has_a_request_id(client: TestClient) -> None:
    with client.websocket_connect("/ws", headers={"X-Request-ID": "socket-1"}) as socket:
        assert socket.receive_json() == "socket-1"
        assert socket.extra_headers == [(b"x-request-id", b"socket-1")]


def test_code_runs_for_an_earlier_request() -> None:
    with running_for_request("earlier"):
        inside = current_request_id()

    assert (inside, current_request_id()) == ("earlier", None)


def test_a_task_works_for_one_request_after_another() -> None:
    async def work() -> list[str | None]:
        seen = []
        for request_id in ("first", None, "second"):
            set_request_id(request_id)
            seen.append(current_request_id())
        return seen

    assert asyncio.run(work()) == ["first", None, "second"]
    assert current_request_id() is None


def test_concurrent_code_keeps_its_own_request() -> None:
    async def run(request_id: str, check: Callable[[], str | None]) -> bool:
        with running_for_request(request_id):
            await asyncio.sleep(0)
            return check() == request_id

    async def run_all() -> list[bool]:
        return await asyncio.gather(*(run(str(number), current_request_id) for number in range(3)))

    assert asyncio.run(run_all()) == [True] * 3
