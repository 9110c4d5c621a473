"""The examples of the FastAPI notes. The tests run on every server that the notes name, and on Mailrail's own server."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.conftest import PASSWORD, run_server
from tests.processes import SERVERS, WAIT_TIMEOUT_SECONDS, Server, wait_for

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module", params=sorted(SERVERS))
def server_kind(request: pytest.FixtureRequest) -> str:
    """Run all tests of this module against each server."""
    return str(request.param)


@pytest.fixture(scope="module")
def running_server(
    server_kind: str, installation: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], Server]]:
    """Return a function that returns the running server of this module, or starts another one if a test has stopped it."""
    started: list[Server] = []

    with ExitStack() as servers:

        def running_server() -> Server:
            if not started or started[-1].process.poll() is not None:
                folder = tmp_path_factory.mktemp(server_kind)
                started.append(servers.enter_context(run_server(server_kind, {}, installation, folder)))
            return started[-1]

        yield running_server


@pytest.fixture
def server(running_server: Callable[[], Server]) -> Server:
    """Return a running server, which the tests of this module share."""
    return running_server()


def test_asyncio_greets_many_in_one_pause(server: Server) -> None:
    answer = server.get("/api/greet?pause=0.5&" + "&".join(f"name=Guest{i}" for i in range(50))).json()

    last_hello = max(greeting["hello_at"] for greeting in answer["greetings"])
    first_goodbye = min(greeting["goodbye_at"] for greeting in answer["greetings"])
    assert last_hello < first_goodbye
    assert len(answer["greetings"]) == 50
    assert 0.5 <= answer["elapsed"] < 25


def test_openapi_names_the_server_prefix(server: Server) -> None:
    document = server.get("/api/openapi.json").json()

    assert document["servers"] == [{"url": "/api"}]
    assert {server.get(f"/api{path}").status_code for path in ("/docs", "/redoc", "/redoc/redoc.js")} == {200}


def test_types_reject_a_value_that_is_not_an_integer(server: Server) -> None:
    good, bad = server.get("/api/add?x=3&y=5"), server.get("/api/add?x=3&y=five")

    assert good.json() == {"result": 8}
    assert (bad.status_code, bad.json()["detail"][0]["loc"]) == (422, ["query", "y"])


def test_depends_provides_the_message_of_the_root(server: Server) -> None:
    assert server.get("/api/").json() == {"message": "Hello, Dependency Injection"}


async def test_websocket_echoes_two_hundred_clients_at_once(server: Server) -> None:
    together = asyncio.Barrier(200)

    async def client(number: int) -> str | bytes:
        async with connect(f"{server.ws_url}/api/ws", open_timeout=30) as socket:
            await together.wait()
            await socket.send(f"I am {number}")
            return await socket.recv()

    answers = await asyncio.gather(*(client(number) for number in range(200)))

    assert answers == [f"Message text was: I am {number}" for number in range(200)]


async def test_websocket_keeps_the_order_of_many_messages(server: Server) -> None:
    async with connect(f"{server.ws_url}/api/ws") as socket:
        for number in range(100):
            await socket.send(str(number))
        answers = [await socket.recv() for _ in range(100)]

    assert answers == [f"Message text was: {number}" for number in range(100)]


@pytest.mark.parametrize(("message", "code"), [(b"\x00\x01", 1003), ("x" * (64 * 1024 + 1), 1009)])
async def test_websocket_closes_cleanly_on_a_bad_frame(server: Server, message: str | bytes, code: int) -> None:
    async with connect(f"{server.ws_url}/api/ws") as socket:
        await socket.send(message)
        with pytest.raises(ConnectionClosed):
            await socket.recv()

    assert socket.close_code == code
    assert "Traceback" not in server.log


@pytest.mark.pitfall(16)
@pytest.mark.parametrize("path", ["/ws", "/api/nothing", "/apix/ws", "/api"])
async def test_websocket_rejects_an_unknown_path(server: Server, path: str) -> None:
    with pytest.raises(InvalidStatus) as rejection:
        await connect(server.ws_url + path)

    assert rejection.value.response.status_code == 403
    assert "Traceback" not in server.log


@pytest.mark.pitfall(18)
async def test_websocket_rejects_foreign_origins(server: Server) -> None:
    for origin in ("http://evil.example", f"http://127.0.0.1:{server.port + 1}", f"https://127.0.0.1:{server.port}", "null"):
        with pytest.raises(InvalidStatus) as rejection:
            await connect(f"{server.ws_url}/api/ws", additional_headers={"Origin": origin})
        assert rejection.value.response.status_code == 403


@pytest.mark.pitfall(18)
async def test_websocket_accepts_our_own_pages_and_clients_without_an_origin(server: Server) -> None:
    for headers in ({"Origin": server.url}, {}):
        async with connect(f"{server.ws_url}/api/ws", additional_headers=headers) as socket:
            await socket.send("hello")
            assert await socket.recv() == "Message text was: hello"


def test_background_tasks_send_the_email(server: Server) -> None:
    before = server.log.count("Email sent successfully")

    answer = server.post("/api/send-email/", params={"email": "ada@example.com", "message": "Hi"})

    assert answer.json() == {"message": "Email will be sent in the background"}
    server.wait_for_log("Sending email to ada@example.com: Hi")
    wait_for(lambda: server.log.count("Email sent successfully") == before + 1, "the email is sent")


def test_security_rejects_missing_and_invalid_credentials(server: Server) -> None:
    token = server.post("/api/token", data={"username": "admin", "password": PASSWORD}).json()["access_token"]

    def me(**headers: str) -> httpx.Response:
        return server.get("/api/me", headers=headers)

    assert me().status_code == 401
    assert me(Authorization="Bearer nonsense").headers["www-authenticate"] == "Bearer"
    assert me(Authorization=f"Bearer {token}").json()["kind"] == "token"
    assert server.post("/api/token", data={"username": "admin"}).status_code == 422


@pytest.mark.pitfall(16)
def test_the_prefix_ends_at_a_slash(server: Server) -> None:
    statuses = {path: server.get(path).status_code for path in ("/api", "/apix", "/apix/", "/api/nothing", "/nothing")}

    assert statuses == {"/api": 307, "/apix": 404, "/apix/": 404, "/api/nothing": 404, "/nothing": 404}
    assert server.get("/api").headers["location"].endswith("/api/")
    assert server.get("/api/nothing").headers["content-type"] == "application/json"
    assert server.get("/apix").headers["content-type"].startswith("text/html")


@pytest.mark.pitfall(16)
def test_no_ambiguous_path_crosses_from_one_half_to_the_other(server: Server) -> None:
    for path in ("/api/../admin/login/", "/api/%2e%2e/admin/login/", "//admin/login/", "/api//add?x=1&y=1", "/%2fapi/add"):
        client = HTTPConnection("127.0.0.1", server.port, timeout=WAIT_TIMEOUT_SECONDS)  # httpx would normalize the path
        client.request("GET", path)
        assert (path, client.getresponse().status) == (path, 404)
        client.close()


@pytest.mark.pitfall(22)
def test_the_admin_is_styled(server: Server) -> None:
    login = server.get("/admin/login/")
    style = server.get("/static/admin/css/base.css")

    assert "/static/admin/css/base.css" in login.text
    assert (style.status_code, style.headers["content-type"].partition(";")[0]) == (200, "text/css")


def test_reports_that_the_server_is_live_and_ready(server: Server) -> None:
    assert server.get("/api/health/live").json() == {"status": "ok"}
    assert server.get("/api/health/ready").json() == {
        "status": "ok",
        "checks": {"database": "ok", "channel_layer": "ok", "delivery": "ok"},
    }


def test_shuts_down_cleanly(server: Server) -> None:  # the last test, because a later test would start another server
    server.post("/api/send-email/", params={"email": "ada@example.com", "message": "Goodbye"})

    code = server.terminate()

    assert code in (0, -15)  # Uvicorn re-raises the signal after its shutdown
    assert server.log.rpartition("Sending email to ada@example.com: Goodbye")[2].count("Email sent successfully") == 1
    assert "Traceback" not in server.log
    assert "never awaited" not in server.log
