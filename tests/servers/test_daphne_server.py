"""The bridge's server class, lifespan and background tasks, in processes of their own.

Starlette's TestClient and httpx's ASGITransport would hide all of it: they run background tasks before they return,
and kill nothing.
"""

import asyncio
import socket
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect

from tests.conftest import StartServer
from tests.processes import PATIENCE, PROBES, Server, wait_for

DAPHNES = ["serve", "daphne"]


@pytest.mark.pitfall(1)
@pytest.mark.parametrize("kind", ["serve", "daphne", "uvicorn"])
def test_lifespan_runs_exactly_once(probe: StartServer, kind: str) -> None:
    server = probe(kind, PROBE_STARTUP="0.3")

    answer = server.get("/started")
    server.terminate()

    assert answer.json() == {"started": True, "answer": 42}
    assert [line for line in server.log.splitlines() if line.startswith("lifespan")] == [
        "lifespan: starting",
        "lifespan: started",
        "lifespan: stopped",
    ]


@pytest.mark.pitfall(1)
@pytest.mark.parametrize("kind", DAPHNES)
def test_a_failing_start_up_stops_the_process_with_the_error(tmp_path: Path, kind: str) -> None:
    server = Server(PROBES[kind], log=tmp_path / "log", env={"DATA_DIR": str(tmp_path), "PROBE_FAILS": "yes"})

    assert server.wait() == 1
    assert "RuntimeError: the start-up was told to fail" in server.log
    assert "lifespan: started" not in server.log
    assert server.log.count("Traceback") == (2 if kind == "serve" else 1)  # the probe has no command that catches it


def test_who_sees_that_it_listens_may_end_it(tmp_path: Path) -> None:
    server = Server(PROBES["serve"], log=tmp_path / "log", env={"DATA_DIR": str(tmp_path)})
    while not server.listens:  # without a pause: the first moment is what matters
        assert server.process.poll() is None, server.log

    assert server.terminate() == 0
    assert "lifespan: stopped" in server.log


@pytest.mark.pitfall(2)
def test_background_tasks_outlive_daphnes_ten_seconds_and_a_client_that_has_gone(probe: StartServer) -> None:
    servers = [probe(kind) for kind in DAPHNES]

    for server in servers:
        for kind in ("async", "sync"):
            _post_and_leave(server, f"/tasks?kind={kind}&seconds=12")

    for server in servers:
        for kind in ("async", "sync"):
            server.wait_for_log(f"{kind} second: ended")
        assert "was killed" not in server.log


@pytest.mark.pitfall(2)
def test_a_background_task_that_fails_is_logged_and_does_not_stop_the_next(probe: StartServer) -> None:
    server = probe()

    server.post("/tasks", params={"kind": "async", "seconds": "0", "fail_first": "true"})

    server.wait_for_log("async second: ended")
    assert "Background task failing_task failed" in server.log
    assert "RuntimeError: the task was told to fail" in server.log


@pytest.mark.pitfall(4)
@pytest.mark.parametrize("kind", DAPHNES)
def test_sigterm_lets_background_tasks_end(probe: StartServer, kind: str) -> None:
    server = probe(kind)
    server.post("/tasks", params={"kind": "sync", "seconds": "2"})
    server.wait_for_log("sync first: begun")

    code = server.terminate()

    assert code == 0
    assert "sync second: ended" in server.log
    assert server.log.rstrip().endswith("lifespan: stopped")


@pytest.mark.pitfall(4)
@pytest.mark.parametrize("task", ["async", "sync"])
def test_background_tasks_that_outlast_the_grace_are_cancelled_and_named(probe: StartServer, task: str) -> None:
    server = probe(PROBE_GRACE="0.5")
    server.post("/tasks", params={"kind": task, "seconds": "600"})
    server.wait_for_log(f"{task} first: begun")

    code = server.terminate()

    assert code == 0
    name = "sleeper" if task == "async" else "sync_sleeper"
    assert f"Cancelled after 0.5 s of grace: {name}, {name}" in server.log


@pytest.mark.pitfall(4)
def test_requests_in_flight_are_answered_before_sigterm_ends_the_process(probe: StartServer) -> None:
    server = probe()
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"GET /slow?seconds=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        server.wait_for_log("slow: begun")

        server.process.terminate()
        answer = _read_all(client)

    assert answer.startswith(b"HTTP/1.1 200")
    assert b"connection: close" in answer.lower()
    assert server.wait() == 0


@pytest.mark.pitfall(4)
def test_a_request_on_a_kept_connection_is_answered_during_the_drain_and_is_its_last(probe: StartServer) -> None:
    server = probe()
    with (
        socket.create_connection(("127.0.0.1", server.port)) as slow,
        socket.create_connection(("127.0.0.1", server.port)) as kept,
    ):
        slow.sendall(b"GET /slow?seconds=3 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        server.wait_for_log("slow: begun")
        server.process.terminate()
        wait_for(lambda: not server.listens, "it takes no new connections")

        kept.sendall(b"GET /slow?seconds=0 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = _read_all(kept)

        assert answer.startswith(b"HTTP/1.1 200")
        assert b"connection: close" in answer.lower()
        assert _read_all(slow).startswith(b"HTTP/1.1 200")
    assert server.wait() == 0


@pytest.mark.pitfall(4)
def test_a_request_that_outlasts_the_grace_is_cut_off(probe: StartServer) -> None:
    server = probe(PROBE_GRACE="0.5")
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"GET /slow?seconds=600 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        server.wait_for_log("slow: begun")

        code = server.terminate()

    assert code == 0
    assert "Cut off 1 requests or sockets after 0.5 s of grace" in server.log
    assert "lifespan: stopped" in server.log


@pytest.mark.pitfall(4)
def test_what_an_application_does_after_its_answer_ends_before_the_process(probe: StartServer) -> None:
    server = probe()
    server.get("/tarry")

    code = server.terminate()

    assert code == 0
    assert "tarry: ended" in server.log
    assert server.log.rstrip().endswith("lifespan: stopped")


@pytest.mark.pitfall("7c")
def test_an_exception_outside_fastapi_is_answered_at_once(probe: StartServer) -> None:
    server = probe()
    answers = [server.get("/raise") for _ in range(8)]

    assert {answer.status_code for answer in answers} == {500}
    # Daphne answers in its sweep, once a second: eight would take six seconds and more.
    assert sum(answer.elapsed.total_seconds() for answer in answers) < 2
    assert "RuntimeError: outside FastAPI" in server.log


@pytest.mark.pitfall("7c")
def test_an_answer_that_fails_half_way_is_not_taken_for_whole(probe: StartServer) -> None:
    server = probe()

    with pytest.raises(httpx.RemoteProtocolError):
        server.get("/half")

    assert server.get("/slow?seconds=0").status_code == 200


@pytest.mark.pitfall("7b")
def test_def_endpoints_reuse_a_handful_of_threads(probe: StartServer) -> None:
    server = probe()

    with server.client() as client:
        threads = {client.get("/thread").json()["endpoint"] for _ in range(200)}

    assert len(threads) <= 4


def test_an_address_in_use_ends_the_start_with_an_error(probe: StartServer) -> None:
    first = probe()

    second = Server(
        ["-m", "tests.servers.bridge_app", "-b", "127.0.0.1", "-p", str(first.port), "tests.servers.bridge_app:application"],
        log=first._log.with_name("log.second"),
        env={},
    )

    assert second.wait() == 1
    assert "Listen failure" in second.log
    assert "lifespan: stopped" in second.log
    assert "Traceback" not in second.log


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["serve", "daphne", "uvicorn"])
async def test_a_socket_closes_with_the_code_it_was_given(probe: StartServer, kind: str) -> None:
    server = probe(kind)
    wanted = [1000, 1003, 1008, 1009, 1011, 1012, 4401]

    closed = []
    for code in wanted:
        async with connect(f"{server.ws_url}/close/{code}") as socket:
            await asyncio.wait_for(socket.wait_closed(), PATIENCE)
        closed.append((socket.close_code, socket.close_reason))

    assert closed == [(code, "as you wish") for code in wanted]
    assert "Traceback" not in server.log


@pytest.mark.anyio
async def test_open_sockets_are_told_of_a_restart(probe: StartServer) -> None:
    server = probe()

    async with connect(f"{server.ws_url}/echo") as socket:
        await socket.send("hello")
        await socket.recv()
        server.process.terminate()
        await asyncio.wait_for(socket.wait_closed(), PATIENCE)

    assert socket.close_code == 1012
    assert server.wait() == 0


def _post_and_leave(server: Server, path: str) -> None:
    """Send a request, and close the connection without waiting for the answer."""
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n".encode())
        client.shutdown(socket.SHUT_WR)


def _read_all(client: socket.socket) -> bytes:
    answer = b""
    while chunk := client.recv(65536):
        answer += chunk
    return answer
