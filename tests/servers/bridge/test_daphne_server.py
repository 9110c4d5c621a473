"""The bridge's server class, lifespan and background tasks, in real server processes.

These tests need real servers, because Starlette's TestClient and httpx's ASGITransport run background tasks before they return,
and never cancel running tasks.
"""

import asyncio
import socket
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.conftest import StartServer
from tests.processes import BRIDGE_APP_SERVERS, WAIT_TIMEOUT_SECONDS, Server, wait_for

DAPHNE_KINDS = ["serve", "daphne"]


@pytest.mark.pitfall(1)
@pytest.mark.parametrize("kind", ["serve", "daphne", "uvicorn"])
def test_lifespan_runs_exactly_once(start_bridge_app: StartServer, kind: str) -> None:
    server = start_bridge_app(kind, BRIDGE_APP_STARTUP_SECONDS="0.3")

    response = server.get("/started")
    server.terminate()

    assert response.json() == {"started": True, "answer": 42}
    assert [line for line in server.log.splitlines() if line.startswith("lifespan")] == [
        "lifespan: starting",
        "lifespan: started",
        "lifespan: stopped",
    ]


@pytest.mark.pitfall(1)
@pytest.mark.parametrize("kind", DAPHNE_KINDS)
def test_a_failed_startup_exits_with_the_error(tmp_path: Path, kind: str) -> None:
    server = Server(
        BRIDGE_APP_SERVERS[kind], log=tmp_path / "log", env={"DATA_DIR": str(tmp_path), "BRIDGE_APP_FAIL_STARTUP": "yes"}
    )

    assert server.wait() == 1
    assert "RuntimeError: this start was set to fail" in server.log
    assert "lifespan: started" not in server.log
    assert server.log.count("Traceback") == (2 if kind == "serve" else 1)  # bridge_app has no command that catches the exception


def test_a_sigterm_right_after_startup_stops_the_server_cleanly(tmp_path: Path) -> None:
    server = Server(BRIDGE_APP_SERVERS["serve"], log=tmp_path / "log", env={"DATA_DIR": str(tmp_path)})
    while not server.listens:  # without a pause, to catch the first moment
        assert server.process.poll() is None, server.log

    assert server.terminate() == 0
    assert "lifespan: stopped" in server.log


@pytest.mark.pitfall(2)
def test_background_tasks_outlive_daphnes_ten_seconds_and_their_client(start_bridge_app: StartServer) -> None:
    servers = [start_bridge_app(kind) for kind in DAPHNE_KINDS]

    for server in servers:
        for kind in ("async", "sync"):
            _post_and_leave(server, f"/tasks?kind={kind}&seconds=12")

    for server in servers:
        for kind in ("async", "sync"):
            server.wait_for_log(f"{kind} second: finished")
        assert "was killed" not in server.log


@pytest.mark.pitfall(2)
def test_a_failed_background_task_is_logged_and_does_not_stop_the_next(share_bridge_app: StartServer) -> None:
    server = share_bridge_app()

    server.post("/tasks", params={"kind": "async", "seconds": "0", "fail_first": "true"})

    server.wait_for_log("async second: finished")
    assert "Background task failing_task failed" in server.log
    assert "RuntimeError: this task was set to fail" in server.log


@pytest.mark.pitfall(4)
@pytest.mark.parametrize("kind", DAPHNE_KINDS)
def test_sigterm_waits_for_background_tasks(start_bridge_app: StartServer, kind: str) -> None:
    server = start_bridge_app(kind)
    server.post("/tasks", params={"kind": "sync", "seconds": "2"})
    server.wait_for_log("sync first: started")

    code = server.terminate()

    assert code == 0
    assert "sync second: finished" in server.log
    assert server.log.rstrip().endswith("lifespan: stopped")


@pytest.mark.pitfall(4)
@pytest.mark.parametrize("task", ["async", "sync"])
def test_background_tasks_that_exceed_the_grace_period_are_canceled_and_logged(start_bridge_app: StartServer, task: str) -> None:
    server = start_bridge_app(BRIDGE_APP_GRACE="0.5")
    server.post("/tasks", params={"kind": task, "seconds": "600"})
    server.wait_for_log(f"{task} first: started")

    code = server.terminate()

    assert code == 0
    name = "sleeper" if task == "async" else "sync_sleeper"
    assert f"Background tasks canceled after 0.5 s of grace: {name}, {name}" in server.log


@pytest.mark.pitfall(4)
def test_sigterm_waits_for_requests_in_flight(start_bridge_app: StartServer) -> None:
    server = start_bridge_app()
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"GET /slow?seconds=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        server.wait_for_log("slow: started")

        server.process.terminate()
        response = _read_all(client)

    assert response.startswith(b"HTTP/1.1 200")
    assert b"connection: close" in response.lower()
    assert server.wait() == 0


@pytest.mark.pitfall(4)
def test_a_request_on_a_keep_alive_connection_is_answered_during_the_drain(start_bridge_app: StartServer) -> None:
    server = start_bridge_app()
    with (
        socket.create_connection(("127.0.0.1", server.port)) as slow,
        socket.create_connection(("127.0.0.1", server.port)) as keep_alive,
    ):
        slow.sendall(b"GET /slow?seconds=3 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        server.wait_for_log("slow: started")
        server.process.terminate()
        wait_for(lambda: not server.listens, "it accepts no new connections")

        keep_alive.sendall(b"GET /slow?seconds=0 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        response = _read_all(keep_alive)

        assert response.startswith(b"HTTP/1.1 200")
        assert b"connection: close" in response.lower()
        assert _read_all(slow).startswith(b"HTTP/1.1 200")
    assert server.wait() == 0


@pytest.mark.pitfall(4)
def test_a_request_that_exceeds_the_grace_period_is_closed(start_bridge_app: StartServer) -> None:
    server = start_bridge_app(BRIDGE_APP_GRACE="0.5")
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"GET /slow?seconds=600 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        server.wait_for_log("slow: started")

        code = server.terminate()

    assert code == 0
    assert "Closed 1 unfinished requests or WebSockets after 0.5 s of grace" in server.log
    assert "lifespan: stopped" in server.log


@pytest.mark.pitfall(4)
def test_sigterm_waits_for_work_after_the_response(start_bridge_app: StartServer) -> None:
    server = start_bridge_app()
    server.get("/work-after-response")

    code = server.terminate()

    assert code == 0
    assert "after response: finished" in server.log
    assert server.log.rstrip().endswith("lifespan: stopped")


@pytest.mark.pitfall("7c")
def test_a_response_that_the_server_writes_itself_has_a_request_id(share_bridge_app: StartServer) -> None:
    server = share_bridge_app()

    failed = server.get("/raise", headers={"X-Request-ID": "request-1"})
    rejected = server.get(f"/{'a' * 20_000}")

    assert (failed.status_code, failed.headers.get_list("X-Request-ID")) == (500, ["request-1"])
    assert (rejected.status_code, len(rejected.headers["X-Request-ID"])) == (414, 32)


def test_an_exception_outside_fastapi_gets_a_500_at_once(share_bridge_app: StartServer) -> None:
    server = share_bridge_app()
    responses = [server.get("/raise") for _ in range(8)]

    assert {response.status_code for response in responses} == {500}
    # Stock Daphne sends such a response only in its sweep, once a second. Eight responses would take six seconds or more.
    assert sum(response.elapsed.total_seconds() for response in responses) < 2
    assert "RuntimeError: outside FastAPI" in server.log


@pytest.mark.pitfall("7c")
def test_a_response_that_fails_halfway_is_recognized_as_incomplete(share_bridge_app: StartServer) -> None:
    server = share_bridge_app()

    with pytest.raises(httpx.RemoteProtocolError):
        server.get("/fail-halfway")

    assert server.get("/slow?seconds=0").status_code == 200


@pytest.mark.pitfall("7b")
def test_def_endpoints_reuse_a_few_threads(share_bridge_app: StartServer) -> None:
    server = share_bridge_app()

    with server.client() as client:
        threads = {client.get("/thread").json()["endpoint"] for _ in range(200)}

    assert len(threads) <= 4


def test_an_address_in_use_stops_the_start_with_an_error(start_bridge_app: StartServer) -> None:
    first = start_bridge_app()

    second = Server(
        [argument.format(port=first.port) for argument in BRIDGE_APP_SERVERS["serve"]],
        log=first._log.with_name("log.second"),
        env={},
    )

    assert second.wait() == 1
    assert "Listen failure" in second.log
    assert "lifespan: stopped" in second.log
    assert "Traceback" not in second.log


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["serve", "daphne", "uvicorn"])
async def test_a_websocket_is_closed_with_the_requested_code(start_bridge_app: StartServer, kind: str) -> None:
    server = start_bridge_app(kind)
    codes = [1000, 1003, 1008, 1009, 1011, 1012, 4401]

    closed = []
    for code in codes:
        async with connect(f"{server.ws_url}/close/{code}") as websocket:
            await asyncio.wait_for(websocket.wait_closed(), WAIT_TIMEOUT_SECONDS)
        closed.append((websocket.close_code, websocket.close_reason))

    assert closed == [(code, "as requested") for code in codes]
    assert "Traceback" not in server.log


@pytest.mark.anyio
async def test_open_websockets_are_closed_with_1012_at_shutdown(start_bridge_app: StartServer) -> None:
    server = start_bridge_app()

    async with connect(f"{server.ws_url}/echo") as websocket:
        await websocket.send("hello")
        await websocket.recv()
        server.process.terminate()
        await asyncio.wait_for(websocket.wait_closed(), WAIT_TIMEOUT_SECONDS)

    assert websocket.close_code == 1012
    assert server.wait() == 0


def _post_and_leave(server: Server, path: str) -> None:
    """Send a request, and close the connection without waiting for the response."""
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n".encode())
        client.shutdown(socket.SHUT_WR)


def _read_all(client: socket.socket) -> bytes:
    response = b""
    while chunk := client.recv(65536):
        response += chunk
    return response


@pytest.mark.anyio
async def test_a_websocket_that_the_application_has_not_closed_is_closed(share_bridge_app: StartServer) -> None:
    server = share_bridge_app()

    async with connect(f"{server.ws_url}/forget?accept=true") as websocket:
        async with asyncio.timeout(WAIT_TIMEOUT_SECONDS):
            await websocket.wait_closed()
    with pytest.raises(InvalidStatus) as rejected:
        await connect(f"{server.ws_url}/forget?accept=false")

    assert (websocket.close_code, rejected.value.response.status_code) == (1000, 403)
